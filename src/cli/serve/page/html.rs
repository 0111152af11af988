//! HTML in which what others wrote is text and never markup: only constants go in as they are.

use std::fmt::Display;

use host::text;
use jiff::{Timestamp, tz::TimeZone};

/// A piece of HTML.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup, which only this program's constants have.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0 += markup;
        self
    }

    /// Adds a text, whatever it has. It is safe between tags, and in an attribute in double quotes.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        let text = text.to_string();
        for c in text::one_line(&text).chars() {
            match c {
                '&' => self.0 += "&amp;",
                '<' => self.0 += "&lt;",
                '>' => self.0 += "&gt;",
                '"' => self.0 += "&quot;",
                '\'' => self.0 += "&#39;",
                c => self.0.push(c),
            }
        }
        self
    }

    /// Adds a time, and how long ago it was; a dash where it is not known.
    pub(super) fn time(
        &mut self,
        at: Option<Timestamp>,
        now: Timestamp,
        zone: &TimeZone,
    ) -> &mut Self {
        match at {
            None => self.raw("-"),
            Some(at) => {
                self.raw("<time datetime=\"").text(at).raw("\">");
                self.text(host::time::ago(at, now, zone)).raw("</time>")
            }
        }
    }

    /// Adds a command for copying.
    pub(super) fn command(&mut self, command: impl Display) -> &mut Self {
        self.raw("<code class=\"command\">")
            .text(command)
            .raw("</code>")
    }

    /// Begins a table with these columns, of which a screen reader knows by the name what it is.
    pub(super) fn table(&mut self, name: impl Display, columns: &[&'static str]) -> &mut Self {
        self.raw("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"");
        self.text(&name).raw("\" data-key=\"").text(&name);
        self.raw("\"><table><thead><tr>");
        for column in columns {
            self.raw("<th scope=\"col\">").raw(column).raw("</th>");
        }
        self.raw("</tr></thead><tbody>\n")
    }

    /// Ends a table.
    pub(super) fn end_table(&mut self) -> &mut Self {
        self.raw("</tbody></table></div>\n")
    }

    /// Adds a picture that this program has drawn, the texts in it escaped already.
    pub(super) fn drawn(&mut self, svg: &str) -> &mut Self {
        self.0 += svg;
        self
    }

    /// The whole.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_text() {
        let mut html = Html::default();
        html.raw("<p title=\"").text("\"onload='x'").raw("\">");
        html.text("<script>alert(1)</script>&amp;\u{1b}[2J\u{202e}\n");
        assert_eq!(
            html.finish(),
            "<p title=\"&quot;onload=&#39;x&#39;\">&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;\\u{1b}[2J\\u{202e}\\n"
        );
    }
}
