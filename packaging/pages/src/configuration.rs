//! The manual page pointsman.yaml(5), and an example with every setting: both from the tables of docs/reference/configuration.md.

use std::fmt::Write as _;

use roff::{Roff, bold, roman};

const PAGE: &str = include_str!("../../../docs/reference/configuration.md");

/// What stands in the example for a setting without a default.
const EXAMPLES: [(&str, &str); 22] = [
    ("group", "web"),
    ("checks.ignore-units", "[a.service, b.mount]"),
    ("slots.disk", "/dev/sda"),
    ("slots.booted", "A"),
    ("etcd.cafile", "/etc/ssl/etcd/ca.pem"),
    ("etcd.certfile", "/etc/ssl/etcd/node.pem"),
    ("etcd.keyfile", "/etc/ssl/etcd/node-key.pem"),
    ("etcd.username", "pointsman-agent"),
    ("etcd.password-file", "/etc/pointsman/etcd-password"),
    ("fleet-lock.url", "https://locks.example.com/"),
    ("fleet-lock.cafile", "/etc/ssl/locks/ca.pem"),
    ("fleet-lock.certfile", "/etc/ssl/locks/node.pem"),
    ("fleet-lock.keyfile", "/etc/ssl/locks/node-key.pem"),
    ("window.start", "Thu 04:00"),
    ("window.length", "2h"),
    (
        "windows",
        "[{at: \"Sat,Sun 02:00\", for: 4h, zone: Europe/Berlin}]",
    ),
    (
        "notify",
        "[{command: /usr/local/bin/tell, events: [quarantined, fell-back]}]",
    ),
    ("metrics.listen", "127.0.0.1:9120"),
    (
        "metrics.textfile",
        "/var/lib/prometheus/node-exporter/pointsman.prom",
    ),
    ("serve.tls-cert", "/etc/ssl/pointsman/server.pem"),
    ("serve.tls-key", "/etc/ssl/pointsman/server-key.pem"),
    ("serve.client-ca", "/etc/ssl/pointsman/clients.pem"),
];

/// A setting, as its row of a table tells.
#[derive(Debug)]
struct Row {
    /// The heading above its table.
    section: String,
    key: String,
    variable: String,
    flag: String,
    default: String,
    least: String,
    text: String,
}

/// Text without the marks of Markdown.
fn plain(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::new();
    // A link is its text.
    while let Some((before, after)) = rest.split_once("](") {
        let (label_before, label) = before.rsplit_once('[').unwrap_or(("", before));
        plain += label_before;
        plain += label;
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    (plain + rest).replace(['`', '*'], "")
}

/// All settings, in the order of the page.
fn rows() -> Vec<Row> {
    let (mut section, mut columns) = (String::new(), Vec::new());
    let mut rows = Vec::new();
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = plain(heading);
        }
        if line.starts_with("|---") {
            continue;
        }
        let Some(cells) = line.strip_prefix('|') else {
            columns.clear();
            continue;
        };
        let cells = cells.replace("\\|", "\u{0}");
        let cells: Vec<String> = cells
            .trim_end_matches('|')
            .split('|')
            .map(|cell| plain(&cell.replace('\u{0}', "|")).trim().to_owned())
            .collect();
        if columns.is_empty() {
            columns = cells;
            continue;
        }
        let cell = |name: &str| {
            let at = columns.iter().position(|column| column == name);
            at.and_then(|at| cells.get(at)).cloned().unwrap_or_default()
        };
        if columns.first().is_some_and(|column| column == "key") {
            rows.push(Row {
                section: section.clone(),
                key: cell("key"),
                variable: cell("environment"),
                flag: cell("flag"),
                default: cell("default"),
                least: cell("least"),
                text: cell(""),
            });
        }
    }
    rows
}

/// Lines of comments, at most 100 columns wide.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > 100 {
            lines = lines + &line + "\n";
            line = "#".into();
        }
        line = line + " " + word;
    }
    lines + &line + "\n"
}

/// The value of a setting in the example: its default, or one that it could have.
fn value(key: &str) -> String {
    let example = EXAMPLES.iter().find(|(name, _)| *name == key);
    let setting = settings::SETTINGS.iter().find(|one| one.key == key);
    let default = setting.and_then(|setting| setting.default).unwrap_or("");
    let value = example.map_or(default, |(_, value)| value);
    let is_list = ["etcd.endpoints", "checks.cluster-units"].contains(&key);
    match is_list {
        true => format!("[{}]", value.replace(',', ", ")),
        false => value.to_owned(),
    }
}

/// The example: every setting, as a comment, with its default or an example of a value.
pub(crate) fn example() -> String {
    let mut text = comment(
        "The configuration of pointsman, /etc/pointsman/config.yaml: every setting, as a comment. Where a setting has a default, \
         that is shown; other values are examples. To set one, remove the # before it and before its section. pointsman.yaml(5) \
         says more; `pointsman config` shows what is in force, and where each value is from.",
    );
    let mut open = String::new();
    for row in rows() {
        let (section, name) = row.key.split_once('.').unwrap_or(("", &row.key));
        text.push('\n');
        if section != open {
            open = section.to_owned();
            if !section.is_empty() {
                let _ = writeln!(text, "#{section}:");
            }
        }
        let indent = if section.is_empty() { "" } else { "  " };
        text += &comment(&row.text);
        let _ = writeln!(text, "#{indent}{name}: {}", value(&row.key));
    }
    text
}

/// pointsman.yaml(5).
pub(crate) fn manual(version: &str) -> String {
    let mut page = Roff::new();
    page.control(
        "TH",
        [
            "pointsman.yaml",
            "5",
            "",
            &format!("pointsman {version}"),
            "",
        ],
    );
    page.control("SH", ["NAME"]);
    page.text([roman(
        "pointsman.yaml - configuration of the pointsman agent and its commands",
    )]);
    page.control("SH", ["SYNOPSIS"]);
    for file in [
        "/etc/pointsman/config.yaml",
        "/etc/pointsman/config.d/*.yaml",
    ] {
        page.text([roman(file)]).control("br", []);
    }
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "A file in YAML. A key with a dot is in a section: window.start is start in window. Durations have units, such as 30s, 5m or \
         1h30m. Files in config.d are read in the order of their names, a later one over an earlier one, and all of them over \
         config.yaml. Each file is looked for in /etc/pointsman, /run/pointsman and /usr/lib/pointsman; the first one found counts. \
         Flags and the environment are above the files, and the variables and files of locksmith below them. An unknown key or a \
         wrong value is an error. \"pointsman config\" shows every setting, its value and where it comes from; \"systemctl reload \
         pointsman\" makes the agent read all again.",
    )]);
    let mut section = String::new();
    for row in rows() {
        if row.section != section {
            section.clone_from(&row.section);
            page.control("SH", [section.to_uppercase().as_str()]);
        }
        page.control("TP", []);
        page.text([bold(&row.key)]);
        page.text([roman(row.text.trim_end_matches('.').to_owned() + ".")]);
        let facts: Vec<String> = [
            ("Default", &row.default),
            ("Least", &row.least),
            ("Environment", &row.variable),
            ("Flag", &row.flag),
        ]
        .into_iter()
        .filter(|(_, fact)| !fact.is_empty())
        .map(|(name, fact)| format!("{name}: {fact}."))
        .collect();
        if !facts.is_empty() {
            page.control("br", []);
            page.text([roman(facts.join(" "))]);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([roman(
        "pointsman(1), /usr/share/doc/pointsman/examples/pointsman.yaml, /usr/share/doc/pointsman/docs/reference/configuration.md",
    )]);
    page.to_roff()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn keys() -> BTreeSet<&'static str> {
        settings::SETTINGS.iter().map(|one| one.key).collect()
    }

    #[test]
    fn the_tables_have_every_setting_once_and_no_other() {
        let rows = rows();
        let found: BTreeSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(found, keys());
        assert_eq!(rows.len(), found.len());
        for row in &rows {
            assert!(!row.text.is_empty(), "{row:?}");
        }
    }

    /// Only comments; without their marks, a configuration with every setting that the real parser takes.
    #[test]
    fn the_example_is_a_configuration_with_every_setting() {
        let example = example();
        assert!(
            example
                .lines()
                .all(|line| line.is_empty() || line.starts_with('#'))
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pointsman.yaml");
        let settings_only = example
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| !line.starts_with(' ') || line.starts_with("  "))
            .map(|line| format!("{line}\n"));
        std::fs::write(&file, settings_only.collect::<String>()).unwrap();
        let (given, faults) = given(folder.path(), file.clone());
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(faults.is_empty(), "{faults:?}\n{text}");
        assert_eq!(given, keys(), "{text}");
    }

    /// The settings that a file gives, and its faults.
    fn given(
        root: &std::path::Path,
        file: std::path::PathBuf,
    ) -> (BTreeSet<&'static str>, Vec<String>) {
        let sources = settings::Sources {
            root: host::node::Root::new(root),
            file: Some(file),
            flags: settings::Partial::default(),
            environment: settings::Environment::default(),
            defaults: settings::Partial::default(),
            as_the_agent: false,
        };
        let (config, faults) = sources.load_what_is_right();
        let faults = faults.iter().map(ToString::to_string).collect();
        let is_given = |key: &&str| config.given.origin(key) != settings::Origin::Default;
        (keys().into_iter().filter(is_given).collect(), faults)
    }

    #[test]
    fn the_manual_page_names_every_setting() {
        let page = manual("1.2.3");
        for key in keys() {
            let name = key.replace('-', "\\-");
            assert!(page.contains(&format!("\\fB{name}\\fR")), "{key}: {page}");
        }
        assert!(!page.contains("](") && !page.contains('`'), "{page}");
    }

    #[test]
    fn links_and_marks_are_gone() {
        assert_eq!(
            plain("see [a b](c.md#d), `x` and **y** ([e](f))"),
            "see a b, x and y (e)"
        );
    }
}
