//! How a FleetLock server is reached, for the strategy `fleet-lock`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use host::{http::Url, node::Group};

use super::{
    At, Config, ConfigError, Given, Partial, Strategy, at,
    error::{Bad, quoted},
    value,
};

/// How a FleetLock server is reached. Files are only named here; [`Config::fleet_lock_tls`] reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetLock {
    /// The base URL. It ends with a slash.
    pub url: String,
    /// The authorities that sign the server's certificate; none: the system's.
    pub cafile: Option<PathBuf>,
    /// The client's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long the node waits after a refusal before it asks again, at least.
    pub poll_interval: Duration,
    /// The most that a call may take.
    pub timeout: Duration,
}

/// The group that FleetLock calls so is the one without a name here.
const DEFAULT_GROUP: &str = "default";

/// The setting that names the server.
const URL: &str = "fleet-lock.url";

/// The name of a group in FleetLock; none where it has characters that FleetLock does not allow.
#[must_use]
pub fn fleet_lock_group(group: &Group) -> Option<String> {
    let name = group.as_str();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    match name {
        "" => Some(DEFAULT_GROUP.to_owned()),
        _ => name.bytes().all(allowed).then(|| name.to_owned()),
    }
}

/// What is given of a server; none where no URL is.
///
/// # Errors
/// When the strategy needs a server and none is given, its group cannot be named there, or certificates are given for plain HTTP.
pub(super) fn resolve(
    given: &Partial,
    identity: Option<(PathBuf, PathBuf)>,
) -> Result<Option<FleetLock>, ConfigError> {
    let is_used = value(&given.strategy) == Strategy::FleetLock;
    let Some(url) = &given.fleet_lock_url else {
        return match is_used {
            true => Err(ConfigError::Value {
                at: at(given, "strategy"),
                found: format!("fleet-lock without {URL}"),
                expected: format!(
                    "{URL} beside it: the base URL of the FleetLock server, such as https://locks.example/"
                ),
            }),
            false => Ok(None),
        };
    };
    let group: Group = value(&given.group);
    if is_used && fleet_lock_group(&group).is_none() {
        return Err(ConfigError::Value {
            at: at(given, "group"),
            found: quoted(group.as_str()),
            expected:
                "letters of a to z, digits, dots and hyphens, which FleetLock allows in a group"
                    .into(),
        });
    }
    let plain = url.value.scheme() == "http";
    let certificates: [(&'static str, &Option<Given<PathBuf>>); 2] = [
        ("fleet-lock.cafile", &given.fleet_lock_cafile),
        ("fleet-lock.certfile", &given.fleet_lock_certfile),
    ];
    for (key, file) in certificates {
        if let Some(file) = file.as_ref().filter(|_| plain) {
            return Err(ConfigError::Value {
                at: at(given, key),
                found: format!("{} with {URL} {}", quoted(&file.text), url.value),
                expected: "a URL that begins with https://, where certificates count".into(),
            });
        }
    }
    Ok(Some(FleetLock {
        url: url.value.to_string(),
        cafile: given.fleet_lock_cafile.clone().map(|given| given.value),
        identity,
        poll_interval: value(&given.fleet_lock_poll),
        timeout: value(&given.fleet_lock_timeout),
    }))
}

/// A base URL, with a slash at its end. Without one, joining would drop its last part.
pub(super) fn base_url(text: &str) -> Result<Url, Bad> {
    const EXPECTED: &str =
        "an http(s):// URL without user, password, `?` and `#`, such as https://locks.example/";
    let bad = |found: Option<String>| Bad {
        found,
        expected: EXPECTED.into(),
    };
    // Somebody may have put a password there, which is not shown.
    if let Some((before, host)) = text.rsplit_once('@') {
        let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
        return Err(bad(Some(format!(
            "\"{scheme}://…@{host}\" with a user name"
        ))));
    }
    let mut url: Url = text.parse().map_err(|_| bad(None))?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !is_web || text.contains(['?', '#']) || text.trim() != text {
        return Err(bad(None));
    }
    let calls = ["/v1/pre-reboot", "/v1/steady-state"];
    if calls
        .iter()
        .any(|call| url.path().trim_end_matches('/').ends_with(call))
    {
        return Err(Bad {
            found: None,
            expected: "the base URL, which is what stands before v1/".into(),
        });
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

impl Config {
    /// That a FleetLock server is configured and not asked; or that anybody on the network between can answer for it, where it is asked
    /// by plain HTTP on another machine.
    #[must_use]
    pub fn fleet_lock_warning(&self) -> Option<String> {
        let server = self.fleet_lock.as_ref()?;
        if self.strategy != Strategy::FleetLock {
            let at = at(&self.given, URL);
            return Some(format!(
                "{at}: {} is not asked, because the strategy is {}; only a place that the node still has there is released",
                server.url, self.strategy
            ));
        }
        let url: Url = server.url.parse().ok()?;
        let host = url.host_str()?;
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        (url.scheme() == "http" && !here).then(|| {
            let at: At = at(&self.given, URL);
            format!(
                "{at}: {url} is on another machine and without TLS: whoever is on the network between can let this node reboot, \
                 or keep it from it. Better: https://"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{load_at, root};

    #[test]
    fn a_base_url_ends_with_a_slash() {
        for (text, url) in [
            ("http://127.0.0.1:9119", "http://127.0.0.1:9119/"),
            ("https://locks.example/", "https://locks.example/"),
            (
                "https://locks.example/fleet",
                "https://locks.example/fleet/",
            ),
            ("HTTPS://Locks.example/a/b/", "https://locks.example/a/b/"),
            ("http://[::1]:80/x", "http://[::1]/x/"),
        ] {
            assert_eq!(base_url(text).ok().unwrap().as_str(), url);
        }
    }

    #[test]
    fn the_url_of_a_call_is_no_base_url() {
        for text in [
            "https://h/v1/pre-reboot",
            "https://h/fleet/v1/steady-state/",
        ] {
            let (_dir, root) = root(None);
            let given = [("POINTSMAN_FLEET_LOCK_URL", text)];
            let error = load_at(&root, &[], &given).unwrap_err().to_string();
            let says = format!(
                "POINTSMAN_FLEET_LOCK_URL: found \"{text}\", expected the base URL, which is what stands before v1/"
            );
            assert_eq!(error, says);
        }
    }

    #[test]
    fn a_bad_url_is_named_without_its_password() {
        for (text, shown) in [
            ("locks.example", "\"locks.example\""),
            ("ftp://locks.example/", "\"ftp://locks.example/\""),
            ("http://", "\"http://\""),
            ("", "\"\""),
            ("https://h/?group=a", "\"https://h/?group=a\""),
            ("https://h/#a", "\"https://h/#a\""),
            (" https://h/", "\" https://h/\""),
            (
                "https://root:s3cret@h/x",
                "\"https://…@h/x\" with a user name",
            ),
        ] {
            let (_dir, root) = root(None);
            let error = load_at(
                &root,
                &[],
                &[
                    ("POINTSMAN_STRATEGY", "fleet-lock"),
                    ("POINTSMAN_FLEET_LOCK_URL", text),
                ],
            );
            let error = error.unwrap_err().to_string();
            let expected = format!(
                "POINTSMAN_FLEET_LOCK_URL: found {shown}, expected an http(s):// URL without user, password, `?` and `#`, such as \
                 https://locks.example/"
            );
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        for (file, expected) in [
            (
                "strategy: fleet-lock",
                ":1:11: strategy: found fleet-lock without fleet-lock.url, expected fleet-lock.url beside it: the base URL of the \
                 FleetLock server, such as https://locks.example/",
            ),
            (
                "{strategy: fleet-lock, group: my_group, fleet-lock: {url: 'https://h/'}}",
                ":1:31: group: found \"my_group\", expected letters of a to z, digits, dots and hyphens, which FleetLock allows in a \
                 group",
            ),
            (
                "fleet-lock: {url: 'http://h/', cafile: /ca.pem}",
                ":1:40: fleet-lock.cafile: found \"/ca.pem\" with fleet-lock.url http://h/, expected a URL that begins with \
                 https://, where certificates count",
            ),
            (
                "fleet-lock: {url: 'https://h/', certfile: /cert.pem}",
                ":1:43: fleet-lock.certfile: given without fleet-lock.keyfile, expected both or neither",
            ),
        ] {
            let (_dir, root) = root(Some(file.as_bytes()));
            let error = load_at(&root, &[], &[]).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn a_server_is_configured_with_its_group_and_defaults() {
        let file = b"{strategy: fleet-lock, fleet-lock: {url: 'http://127.0.0.1:9119'}}";
        let (_dir, root) = root(Some(file));
        let config = load_at(&root, &[], &[]).unwrap();
        assert_eq!(config.strategy, Strategy::FleetLock);
        let expected = FleetLock {
            url: "http://127.0.0.1:9119/".into(),
            cafile: None,
            identity: None,
            poll_interval: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
        };
        assert_eq!(config.fleet_lock, Some(expected));
        assert_eq!(fleet_lock_group(&config.group).as_deref(), Some("default"));
        let named = Group::new("web-1.a").unwrap();
        assert_eq!(fleet_lock_group(&named).as_deref(), Some("web-1.a"));
    }

    #[test]
    fn plain_http_to_another_machine_is_warned_of() {
        for (url, warns) in [
            ("http://127.0.0.1:9119", false),
            ("http://localhost/", false),
            ("http://[::1]:9119/", false),
            ("https://locks.example/", false),
            ("http://locks.example/", true),
            ("http://10.0.0.1:9119/", true),
        ] {
            let (_dir, root) = root(None);
            let given = [("POINTSMAN_FLEET_LOCK_URL", url)];
            let of = |strategy| {
                let flags = [("strategy", strategy)];
                load_at(&root, &flags, &given).unwrap().fleet_lock_warning()
            };
            assert_eq!(of("fleet-lock").is_some(), warns, "{url}");
            let unused = of("reboot").unwrap();
            assert!(
                unused.contains("is not asked, because the strategy is reboot"),
                "{unused}"
            );
        }
    }
}
