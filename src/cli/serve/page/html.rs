//! HTML in which what others wrote is text and never markup: only constants go in as they are.

use std::fmt::Display;

use host::text;
use jiff::{Timestamp, tz::TimeZone};

/// The most characters of a name that stays on one line.
const SHORT: usize = 24;

/// A piece of HTML.
#[derive(Debug, Default)]
pub(super) struct Html {
    text: String,
    /// The columns of the table that has begun.
    columns: Vec<&'static str>,
    /// How many cells its row has so far.
    cells: usize,
}

impl Html {
    /// Adds markup, which only this program's constants have.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.text += markup;
        self
    }

    /// Adds a text, whatever it has. It is safe between tags, and in an attribute in double quotes.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        let text = text.to_string();
        for c in text::one_line(&text).chars() {
            match c {
                '&' => self.text += "&amp;",
                '<' => self.text += "&lt;",
                '>' => self.text += "&gt;",
                '"' => self.text += "&quot;",
                '\'' => self.text += "&#39;",
                c => self.text.push(c),
            }
        }
        self
    }

    /// Adds the name of a node or an image, which is not broken at a hyphen where it is short enough.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        match name.chars().count() {
            0..=SHORT => self.raw("<span class=\"name\">").text(name).raw("</span>"),
            _ => self.text(name),
        }
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

    /// Begins a table with these columns, of which a screen reader knows by the name what it is. The roles are said, since on a
    /// narrow screen the rows are no rows of a table any more.
    pub(super) fn table(&mut self, name: impl Display, columns: &[&'static str]) -> &mut Self {
        self.raw("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"");
        self.text(&name).raw("\" data-key=\"").text(&name);
        self.raw("\"><table role=\"table\"><thead role=\"rowgroup\"><tr role=\"row\">");
        for column in columns {
            self.raw("<th role=\"columnheader\" scope=\"col\">")
                .raw(column)
                .raw("</th>");
        }
        columns.clone_into(&mut self.columns);
        self.raw("</tr></thead><tbody role=\"rowgroup\">\n")
    }

    /// Begins a row, and its first cell.
    pub(super) fn row(&mut self) -> &mut Self {
        self.cells = 0;
        self.raw("<tr role=\"row\">").begin_cell()
    }

    /// Ends a cell, and begins the next one of the row.
    pub(super) fn cell(&mut self) -> &mut Self {
        self.raw("</td>").begin_cell()
    }

    /// Ends a row.
    pub(super) fn end_row(&mut self) -> &mut Self {
        self.raw("</td></tr>\n")
    }

    fn begin_cell(&mut self) -> &mut Self {
        let column = self.columns.get(self.cells).copied().unwrap_or_default();
        self.cells += 1;
        self.raw("<td role=\"cell\" data-label=\"")
            .raw(column)
            .raw("\">")
    }

    /// Ends a table.
    pub(super) fn end_table(&mut self) -> &mut Self {
        self.raw("</tbody></table></div>\n")
    }

    /// Adds a picture that this program has drawn, the texts in it escaped already.
    pub(super) fn drawn(&mut self, svg: &str) -> &mut Self {
        self.text += svg;
        self
    }

    /// The whole.
    pub(super) fn finish(self) -> String {
        self.text
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
