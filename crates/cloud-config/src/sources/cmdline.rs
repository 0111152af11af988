//! The kernel's command line: `cloud-config-url=`.

use host::node::Root;

use super::{Retry, Unavailable, file, source::Document};
use crate::problem::Problem;

/// Reads the command line and the URL that it names.
pub(super) fn read(root: &Root) -> Result<Document, Unavailable> {
    let path = root.path("proc/cmdline");
    // This file does not appear later.
    let line = file::read(&path).map_err(|error| Unavailable::never(error.problem).here())?;
    let line = String::from_utf8_lossy(&line);
    let Some(url) = url(&line) else {
        let problem = Problem::found("no cloud-config-url=")
            .of(path.to_string())
            .expected("one");
        return Err(Unavailable::none_here(Retry::Never, problem));
    };
    Document::parse(url).map_err(|fault| {
        let what = format!("{path}: cloud-config-url={url}");
        Unavailable::never(Problem::said(what, fault)).here()
    })
}

/// Finds the last URL on a command line. Hyphens and underscores are equal, as in all kernel parameters.
fn url(line: &str) -> Option<&str> {
    line.split_ascii_whitespace()
        .filter_map(|word| word.trim_matches('"').split_once('='))
        .filter(|(key, _)| key.replace('_', "-") == "cloud-config-url")
        .map(|(_, value)| value.trim_matches('"'))
        .rfind(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_url_counts_in_either_spelling() {
        for (line, expected) in [
            ("quiet cloud-config-url=http://h/x ro\n", Some("http://h/x")),
            ("cloud_config_url=http://h/x", Some("http://h/x")),
            ("cloud-config_url=a cloud-config-url=b", Some("b")),
            ("cloud-config-url=a cloud-config-url=", Some("a")),
            (
                "cloud-config-url=\"http://h/x?a=b\"",
                Some("http://h/x?a=b"),
            ),
            ("\"cloud-config-url=http://h/x\"", Some("http://h/x")),
            ("cloud-config-url ro", None),
            ("no-cloud-config-url=http://h/x", None),
            ("", None),
        ] {
            assert_eq!(url(line), expected, "{line}");
        }
    }
}
