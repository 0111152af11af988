//! Taking secrets out of a text. Pure.
//!
//! What is known to be secret is replaced wherever it stands, also as JSON and URLs escape it; what looks like a secret by the
//! words around it is replaced as well, because hooks and other programs write into the log what they like.

use std::{borrow::Cow, ffi::OsStr, path::Path};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use regex_lite::Regex;
use serde_json::Value;

/// What stands for a secret.
const HIDDEN: &str = "***";

/// What looks like a secret, and what is left of it.
const PATTERNS: [(&str, &str); 7] = [
    // A private key in PEM, also where its end is missing.
    (
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
        "***",
    ),
    // The user and password of a URL.
    (r#"([A-Za-z][A-Za-z0-9+.-]*://)[^\s"'/?#]*@"#, "${1}***@"),
    // What follows `?` or `#` in a URL.
    (
        r#"([A-Za-z][A-Za-z0-9+.-]*://[^\s"'?#]*[?#])[^\s"'\\]+"#,
        "${1}***",
    ),
    // The webhooks of chats have their secret in the path.
    (
        r#"(hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|webhook\.office\.com)/[^\s"'\\]+"#,
        "${1}/***",
    ),
    // HTTP's credentials.
    (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", "${1} ***"),
    // A value by its name, as YAML, sh and logs write it, or JSON in a log; a quoted one up to its quote.
    (
        r#"(?i)([A-Za-z0-9_-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|nonce)(?:\\?["'])?\s*[=:]\s*)(?:\\"(?:[^"\\]|\\[^"])*\\"|"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;"'\\]+)"#,
        "${1}***",
    ),
    // A JSON web token.
    (
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        "***",
    ),
];

/// Replaces secrets.
pub(super) struct Redactor {
    known: Vec<String>,
    patterns: Vec<(Regex, &'static str)>,
}

impl Redactor {
    /// One that knows these secrets.
    pub(super) fn new(secrets: &[String]) -> Self {
        let forms = secrets
            .iter()
            .filter(|secret| !secret.is_empty())
            .flat_map(|secret| {
                let json = serde_json::to_string(secret).unwrap_or_default();
                let json = json
                    .trim_start_matches('"')
                    .strip_suffix('"')
                    .unwrap_or_default();
                let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
                [secret.clone(), json.to_owned(), percent]
            });
        let mut known: Vec<String> = forms.filter(|form| !form.is_empty()).collect();
        // One may be a part of another.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        known.dedup();
        let patterns = PATTERNS.iter().map(|(pattern, left)| {
            let pattern = Regex::new(pattern).expect("the patterns are valid");
            (pattern, *left)
        });
        Self {
            known,
            patterns: patterns.collect(),
        }
    }

    /// The text of a file of this name without secrets: JSON stays JSON.
    pub(super) fn file(&self, name: &str, text: &str) -> String {
        let lines = || {
            text.lines()
                .map(|line| self.json(line, false).unwrap_or_else(|| self.text(line)) + "\n")
        };
        match Path::new(name).extension().and_then(OsStr::to_str) {
            Some("json") => self.json(text, true).unwrap_or_else(|| self.text(text)),
            Some("jsonl") => lines().collect(),
            _ => self.text(text),
        }
    }

    /// The JSON without secrets; none where it is none.
    fn json(&self, text: &str, pretty: bool) -> Option<String> {
        let mut value = serde_json::from_str(text).ok()?;
        self.value(&mut value);
        let out = match pretty {
            true => serde_json::to_string_pretty(&value),
            false => serde_json::to_string(&value),
        };
        out.ok()
    }

    /// Takes the secrets out of a value: what a secret name has, and what is in strings.
    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(all) => all.iter_mut().for_each(|one| self.value(one)),
            Value::Object(all) => {
                for (name, one) in all {
                    // The pattern knows names by what follows them.
                    match one.is_object()
                        || one.is_array()
                        || self.text(&format!("{name}: x")).ends_with(": x")
                    {
                        true => self.value(one),
                        false => *one = HIDDEN.into(),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            text = text.replace(secret.as_str(), HIDDEN);
        }
        for (pattern, left) in &self.patterns {
            if let Cow::Owned(changed) = pattern.replace_all(&text, *left) {
                text = changed;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_go_in_every_form() {
        let redact = Redactor::new(&["p\"ss w/rd".into(), "ss".into(), String::new()]);
        let text = "a p\"ss w/rd b, {\"x\": \"p\\\"ss w/rd\"}, /p%22ss%20w%2Frd?; cross";
        assert_eq!(
            redact.text(text),
            "a *** b, {\"x\": \"***\"}, /***?; cro***"
        );
    }

    #[test]
    fn what_looks_like_a_secret_goes_and_the_rest_stays() {
        let redact = Redactor::new(&[]);
        for (text, expected) in [
            ("https://u:p@ss@host:1/x y", "https://***@host:1/x y"),
            (
                "GET https://h/a?token=abc#f next",
                "GET https://h/a?*** next",
            ),
            (
                "https://hooks.slack.com/services/T0/B0/XyZ failed",
                "https://hooks.slack.com/*** failed",
            ),
            (
                "Authorization: Bearer abc.def-123",
                "Authorization: Bearer ***",
            ),
            ("--password=hunter2, next", "--password=***, next"),
            ("ETCD_PASSWORD='a b' x", "ETCD_PASSWORD=*** x"),
            (
                "{\"nonce\": \"0123\", \"id\": \"7\"}",
                "{\"nonce\": ***, \"id\": \"7\"}",
            ),
            (
                "{\"nonce\":\"a\\\\b\",\"id\":\"7\"}",
                "{\"nonce\":***,\"id\":\"7\"}",
            ),
            ("api_key: k1", "api_key: ***"),
            ("eyJhbGciOiJI.eyJzdWIiOiIx.sig-_1 end", "*** end"),
            (
                "a\n-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\nb",
                "a\n***\nb",
            ),
            ("cut -----BEGIN PRIVATE KEY-----\nAA", "cut ***"),
            // No secrets.
            (
                "etcd.password-file /etc/p, https://h:2379/v3 is up",
                "etcd.password-file /etc/p, https://h:2379/v3 is up",
            ),
            ("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----"),
        ] {
            assert_eq!(redact.text(text), expected, "{text}");
        }
    }

    #[test]
    fn json_stays_json() {
        let redact = Redactor::new(&["s3cret".into()]);
        let value = serde_json::json!({
            "token": "a \"quoted\" b", "reason": "https://u:p@h/x?y=1 password=\"s3cret\"", "max": 1,
            "held": [{"nonce": "0a1b", "id": "7"}],
        });
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let lines = format!("{value}\nno JSON: password=x\n");
        let files = [
            redact.file("a.json", &pretty),
            redact.file("b.jsonl", &lines),
        ];
        assert!(
            files[1].ends_with("\nno JSON: password=***\n"),
            "{}",
            files[1]
        );
        for file in [files[0].as_str(), files[1].lines().next().unwrap()] {
            let parsed: Value =
                serde_json::from_str(file).unwrap_or_else(|error| panic!("{error}: {file}"));
            assert_eq!(parsed["max"], 1, "{file}");
            assert_eq!(
                (&parsed["token"], &parsed["held"][0]),
                (
                    &"***".into(),
                    &serde_json::json!({"nonce": "***", "id": "7"})
                )
            );
            for secret in ["quoted", "s3cret", "u:p", "y=1"] {
                assert!(!file.contains(secret), "{file}");
            }
        }
    }
}
