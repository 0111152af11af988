//! Variables as systemd reads them.

use std::fmt::Write as _;

use super::variables::Variable;

/// Writes a drop-in with variables, as systemd.exec(5) reads `Environment=`: in double quotes
/// backslashes escape. `%` is not escaped: documents rely on systemd's specifiers (`%H` is the host name), and systemd
/// keeps a `%` that begins none.
pub(crate) fn drop_in(variables: &[Variable]) -> String {
    let mut text = "[Service]\n".to_owned();
    for Variable { name, value, .. } in variables {
        let _ = writeln!(text, "Environment=\"{name}={}\"", escape(value));
    }
    text
}

/// Tells whether one of them is a password, or a URL with one.
pub(crate) fn holds_secret(variables: &[Variable]) -> bool {
    let with_user = |url: &str| {
        let host = url.split(['/', '?', '#']).next();
        host.is_some_and(|host| host.contains('@'))
    };
    variables.iter().any(|Variable { name, value, .. }| {
        name.ends_with("PASSWORD") || value.split("://").skip(1).any(with_user)
    })
}

/// Writes an environment file, as systemd.exec(5) reads `EnvironmentFile=`. Plain values are not quoted, because other
/// programs read this file too.
pub(crate) fn file(variables: &[Variable]) -> String {
    let mut text = String::new();
    for Variable { name, value, .. } in variables {
        let plain = |c: char| c.is_alphanumeric() || "-_./:,=@+%~*?!^[]{}()<>|;&".contains(c);
        let _ = if value.chars().all(plain) {
            writeln!(text, "{name}={value}")
        } else {
            writeln!(text, "{name}=\"{}\"", shell_escape(value))
        };
    }
    text
}

fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            other => text.push(other),
        }
    }
    text
}

/// Escapes a value for double quotes in an environment file. A backslash before other characters is itself.
pub(crate) fn shell_escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(value: &str) -> Vec<Variable> {
        vec![Variable {
            key: "k".into(),
            name: "K".into(),
            value: value.into(),
            span: yaml::Span::default(),
        }]
    }

    /// Reads an `Environment=` line as systemd does, except specifiers.
    fn read(line: &str) -> Option<String> {
        let quoted = line.strip_prefix("Environment=\"")?.strip_suffix('"')?;
        let mut text = String::new();
        let mut chars = quoted.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    other @ ('"' | '\\') => text.push(other),
                    _ => return None,
                },
                '"' | '\n' => return None,
                other => text.push(other),
            }
        }
        Some(text)
    }

    #[test]
    fn values_are_escaped() {
        for (value, line) in [
            ("plain", r#"Environment="K=plain""#),
            (r#"a "b" \c"#, r#"Environment="K=a \"b\" \\c""#),
            ("50% $HOME %H", r#"Environment="K=50% $HOME %H""#),
            ("a\nb\tc", r#"Environment="K=a\nb\tc""#),
        ] {
            assert_eq!(drop_in(&variable(value)), format!("[Service]\n{line}\n"));
        }
        for (value, line) in [
            ("http://a:1,http://b:2", "K=http://a:1,http://b:2"),
            ("two words", "K=\"two words\""),
            ("$x \"y\" \\", "K=\"\\$x \\\"y\\\" \\\\\""),
        ] {
            assert_eq!(file(&variable(value)), format!("{line}\n"));
        }
    }

    proptest! {
        #[test]
        fn systemd_reads_what_was_meant(value in "[^\u{0}-\u{8}\u{b}-\u{1f}\u{7f}]{0,40}") {
            let text = drop_in(&variable(&value));
            let line = text.strip_prefix("[Service]\n").unwrap().strip_suffix('\n').unwrap();
            prop_assert_eq!(read(line), Some(format!("K={value}")));
        }
    }
}
