//! The kernel's command line: `cloud-config-url=`.

use host::node::Root;

use super::{Absent, Hope, file, source::Document};

/// The document that the command line names.
pub(super) fn read(root: &Root) -> Result<Document, Absent> {
    let path = root.path("proc/cmdline");
    // It does not come into being later.
    let line = file::read(&path).map_err(|absent| Absent::never(absent.reason).here())?;
    let line = String::from_utf8_lossy(&line);
    let Some(url) = url(&line) else {
        let reason = format!("{path}: found no cloud-config-url=, expected one");
        return Err(Absent::none_here(Hope::Never, reason));
    };
    Document::parse(url)
        .map_err(|why| Absent::never(format!("{path}: cloud-config-url={url}: {why}")).here())
}

/// The last URL that a command line names; hyphens and underscores are the same, as in all of the kernel's parameters.
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
