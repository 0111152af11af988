//! From names of files to what etcd is shown.

use std::{fmt, os::unix::fs::PermissionsExt as _, path::PathBuf};

use host::{
    etcd::{Options, Tls},
    node::RootPath,
    remedy::Remedy,
    time,
};
use jiff::{SignedDuration, Timestamp};
use rustls::{
    InconsistentKeys,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{At, Config, ConfigError, Origin, Password, Strategy, file::content};

/// The settings that name etcd's files: authorities, certificate, key.
const OF_ETCD: [&str; 3] = ["etcd.cafile", "etcd.certfile", "etcd.keyfile"];

/// The settings that name those of a FleetLock server.
const OF_FLEET_LOCK: [&str; 3] = [
    "fleet-lock.cafile",
    "fleet-lock.certfile",
    "fleet-lock.keyfile",
];

/// The most a file of certificates may hold; the largest bundle of public authorities has a quarter of it.
const LARGEST_PEM: u64 = 1 << 20;

/// How long before a certificate expires that is said.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The most a password file may hold.
const LARGEST_PASSWORD: u64 = 4096;

/// The certificate shown to etcd, or to the FleetLock server, has expired, or expires within fourteen days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWarning {
    /// The setting that names it.
    at: At,
    /// The file.
    path: RootPath,
    /// The end of its validity.
    until: Timestamp,
    /// How long it is still valid; not above zero once it has expired.
    left: SignedDuration,
}

impl CertificateWarning {
    /// The end of its validity.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Whether it is not valid any more.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        !self.left.is_positive()
    }
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, path, .. } = self;
        let until = time::shown_in_utc(self.until);
        write!(f, "{at}: the certificate {path} ")?;
        if self.has_expired() {
            write!(f, "expired {until}, or this machine's clock is wrong")
        } else {
            write!(f, "expires {until}, in {} days", self.left.as_hours() / 24)
        }
    }
}

impl Config {
    /// What [`host::etcd`] needs, with certificates and password read again from their files under
    /// the root.
    ///
    /// # Errors
    /// When a file cannot be read, is no PEM, or others than its owner may read the password.
    pub fn etcd_options(&self) -> Result<Options, ConfigError> {
        let etcd = &self.etcd;
        let tls = self.tls(etcd.cafile.as_ref(), etcd.identity.as_ref(), OF_ETCD)?;
        let user = match &etcd.user {
            Some((name, Password::File(path))) => {
                let password = password(&self.root.path(path));
                let password = password.map_err(|error| self.of("etcd.password-file", error))?;
                Some((name.clone(), password))
            }
            Some((name, Password::Text(password))) => Some((name.clone(), password.clone())),
            None => None,
        };
        Ok(Options {
            endpoints: etcd.endpoints.clone(),
            tls,
            user,
            timeout: etcd.timeout,
        })
    }

    /// What is shown to the FleetLock server, and by what it is trusted, read again from the files under the root; none where
    /// nothing is given.
    ///
    /// # Errors
    /// When a file cannot be read, or is no PEM.
    pub fn fleet_lock_tls(&self) -> Result<Option<Tls>, ConfigError> {
        match &self.fleet_lock {
            Some(server) => self.tls(
                server.cafile.as_ref(),
                server.identity.as_ref(),
                OF_FLEET_LOCK,
            ),
            None => Ok(None),
        }
    }

    fn tls(
        &self,
        cafile: Option<&PathBuf>,
        identity: Option<&(PathBuf, PathBuf)>,
        [of_ca, of_certificate, of_key]: [&'static str; 3],
    ) -> Result<Option<Tls>, ConfigError> {
        let pem = |path: &PathBuf, label, key| {
            pem(&self.root.path(path), label).map_err(|error| self.of(key, error))
        };
        let authorities = cafile
            .map(|path| pem(path, "CERTIFICATE", of_ca))
            .transpose()?;
        let identity = match identity {
            Some((certificate, key)) => {
                let pair = (
                    pem(certificate, "CERTIFICATE", of_certificate)?,
                    pem(key, "PRIVATE KEY", of_key)?,
                );
                if let Some(version @ ..3) = version(&pair.0) {
                    let error = wrong(
                        &self.root.path(certificate),
                        format!("an X.509 certificate of version {version}"),
                        "version 3, which TLS needs. openssl makes it when extensions are given (-extfile, -addext)",
                    );
                    return Err(self.of(of_certificate, error));
                }
                if !belong(&pair.0, &pair.1) {
                    let error = wrong(
                        &self.root.path(key),
                        "a key that is not the certificate's",
                        format!("the key of {}", self.root.path(certificate)),
                    );
                    return Err(self.of(of_key, error));
                }
                Some(pair)
            }
            None => None,
        };
        let is_given = authorities.is_some() || identity.is_some();
        Ok(is_given.then_some(Tls {
            authorities,
            identity,
        }))
    }

    /// What is to be said of the dates of the certificate that is shown to etcd, or to the FleetLock server: that it has expired, or will within
    /// fourteen days. None where all is well, there is none, or it cannot be read.
    #[must_use]
    pub fn certificate_warning(&self, now: Timestamp) -> Option<CertificateWarning> {
        let server = self.fleet_lock.as_ref();
        let (key, identity) = match self.strategy {
            Strategy::FleetLock => (
                "fleet-lock.certfile",
                server.and_then(|server| server.identity.as_ref()),
            ),
            _ => ("etcd.certfile", self.etcd.identity.as_ref()),
        };
        let (certificate, _) = identity?;
        let path = self.root.path(certificate);
        let until = valid_until(&content(&path, LARGEST_PEM).ok()?)?;
        let left = until.duration_since(now);
        if left > SOON {
            return None;
        }
        Some(CertificateWarning {
            at: At {
                origin: self.given.origin(key),
                key,
            },
            path,
            until,
            left,
        })
    }

    /// What is wrong with a file, with the setting that names it and where that was given.
    fn of(&self, key: &'static str, error: ConfigError) -> ConfigError {
        let origin = match self.given.given(key) {
            Some((_, origin)) => origin.clone(),
            None => Origin::Default,
        };
        ConfigError::Named {
            at: At { origin, key },
            error: Box::new(error),
        }
    }
}

/// The elements of a DER sequence, each with its tag and content; empty where it is none.
fn elements(mut der: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let Some((&[tag, length], rest)) = der.split_first_chunk() {
        // The long form has the number of its bytes first.
        let (length, rest) = match length {
            0..0x80 => (usize::from(length), rest),
            _ => {
                let Some((bytes, rest)) = rest.split_at_checked(usize::from(length & 0x7f)) else {
                    break;
                };
                let length = bytes.iter().fold(0_usize, |length, byte| {
                    length
                        .saturating_mul(256)
                        .saturating_add(usize::from(*byte))
                });
                (length, rest)
            }
        };
        let Some((content, after)) = rest.split_at_checked(length) else {
            break;
        };
        found.push((tag, content));
        der = after;
    }
    found
}

/// The parts of the body of the first certificate of a PEM file (RFC 5280, 4.1): version (left out by version 1), serial
/// number, algorithm, issuer, validity, and more.
fn body(pem: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    const SEQUENCE: u8 = 0x30;
    let first = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    let inside = |der: &[u8]| match elements(der).first() {
        Some(&(SEQUENCE, content)) => Some(content.to_vec()),
        _ => None,
    };
    let body = inside(&inside(&first)?)?;
    let parts = elements(&body).into_iter();
    Some(
        parts
            .map(|(tag, content)| (tag, content.to_vec()))
            .collect(),
    )
}

/// The version of X.509 of the first certificate; none where it cannot be read.
fn version(certificates: &[u8]) -> Option<u8> {
    match body(certificates)?.first()? {
        // `[0] INTEGER version - 1`.
        (0xa0, content) => match content.as_slice() {
            [2, 1, version] => version.checked_add(1),
            _ => None,
        },
        // The serial number, an INTEGER.
        (2, _) => Some(1),
        _ => None,
    }
}

/// Until when the first certificate is valid; none where that cannot be read.
fn valid_until(certificates: &[u8]) -> Option<Timestamp> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let body = body(certificates)?;
    // After an optional version: serial number, algorithm, issuer, validity.
    let skipped = usize::from(body.first()?.0 == 0xa0) + 3;
    let (_, validity) = body.get(skipped)?;
    let (tag, until) = *elements(validity).get(1)?;
    let digits = std::str::from_utf8(until).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Two digits of the year: 1950 to 2049 (RFC 5280, 4.1.2.5.1).
        UTC_TIME if digits.get(..2)? < "50" => format!("20{digits}"),
        UTC_TIME => format!("19{digits}"),
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// Whether the key may be the certificate's: false only where both can be read and it is another one's. What cannot be
/// read, or be compared, is for the connection to say.
fn belong(certificates: &[u8], key: &[u8]) -> bool {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let (Ok(chain), Ok(key)) = (chain, PrivateKeyDer::from_pem_slice(key)) else {
        return true;
    };
    let provider = rustls::crypto::ring::default_provider();
    !matches!(
        CertifiedKey::from_der(chain, key, &provider),
        Err(rustls::Error::InconsistentKeys(
            InconsistentKeys::KeyMismatch
        ))
    )
}

fn wrong(path: &RootPath, found: impl Into<String>, expected: impl Into<String>) -> ConfigError {
    ConfigError::File {
        path: path.shown(),
        found: found.into(),
        expected: expected.into(),
        remedy: None,
    }
}

/// A file with at least one PEM block whose label ends so (`RSA PRIVATE KEY` is a `PRIVATE KEY`).
fn pem(path: &RootPath, label: &str) -> Result<Vec<u8>, ConfigError> {
    let bytes = content(path, LARGEST_PEM)?;
    let end = format!("{label}-----");
    let found = String::from_utf8_lossy(&bytes)
        .lines()
        .any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&end));
    if found {
        Ok(bytes)
    } else {
        Err(wrong(
            path,
            format!("no PEM block of a {}", label.to_lowercase()),
            format!("one that begins with -----BEGIN {label}-----"),
        ))
    }
}

/// The password: the file's one line. Only its owner may have access.
fn password(path: &RootPath) -> Result<String, ConfigError> {
    let metadata = path.metadata().map_err(|error| ConfigError::Read {
        path: path.shown(),
        error,
    })?;
    if !metadata.is_file() {
        return Err(wrong(path, "no regular file", "a file with the password"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ConfigError::File {
            path: path.shown(),
            found: format!("mode {mode:04o}, with which other users can read the password"),
            expected: "mode 0600".into(),
            remedy: Some(Remedy::new("set it", format!("chmod 600 {path}"))),
        });
    }
    let text = String::from_utf8(content(path, LARGEST_PASSWORD)?)
        .map_err(|_| wrong(path, "bytes that are not UTF-8", "a password"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(wrong(path, "nothing", "a password"));
    }
    if text.contains('\n') {
        return Err(wrong(path, "several lines", "a password on one line"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::tests::{load_at, root};

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";

    /// Made by `openssl x509 -req` without extensions.
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBFTCBvQIUTXA4mNUpDhU6Ds9vuwfE57y3w3cwCgYIKoZIzj0EAwIwDTELMAkG\n\
        A1UEAwwCdjEwIBcNMjYxMTI1MDgyNTIwWhgPMjEyNjExMDEwODI1MjBaMA0xCzAJ\n\
        BgNVBAMMAnYxMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9b3+87eHXsOXio+z\n\
        7+KQ00jqbZTAUJmcPqSCG2DhCcIY4ELVPb6kVWVPoHgF4R2RkehS15u19GLoxcpe\n\
        TUZauzAKBggqhkjOPQQDAgNHADBEAiBWn7x7dLM5F5CR6bq9ptjrz45V9fX76Ssv\n\
        AuQuiZ7zjwIgJBLA5pNuKSwcicVfYEYibAqi7ejZ5JoLv1CiK8+Vvgg=\n\
        -----END CERTIFICATE-----\n";

    #[test]
    fn a_certificate_that_tls_does_not_take_is_named() {
        assert_eq!(version(VERSION_1.as_bytes()), Some(1));
        assert_eq!(version(CERTIFICATE.as_bytes()), None);
        let (_dir, root) = root(Some(
            b"etcd: {endpoints: 'h:1', certfile: /cert, keyfile: /key}",
        ));
        fs::write(root.path("cert").shown(), VERSION_1).unwrap();
        fs::write(root.path("key").shown(), KEY).unwrap();
        let config = load_at(&root, &[], &[]).unwrap();
        let error = config.etcd_options().err().unwrap().to_string();
        let expected =
            "/cert: found an X.509 certificate of version 1, expected version 3, which TLS needs";
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("etcd.certfile: "), "{error}");
    }

    #[test]
    fn expiring_certificate_is_reported() {
        let (_dir, root) = root(Some(
            b"etcd: {endpoints: 'h:1', certfile: /cert, keyfile: /key}",
        ));
        fs::write(root.path("cert").shown(), VERSION_1).unwrap();
        let config = load_at(&root, &[], &[]).unwrap();
        let warning = |now: &str| config.certificate_warning(now.parse().unwrap());
        assert_eq!(warning("2026-12-01T00:00:00Z"), None);
        assert_eq!(warning("2126-10-18T00:00:00Z"), None);
        let soon = warning("2126-10-20T00:00:00Z").unwrap();
        assert!(!soon.has_expired());
        let soon = soon.to_string();
        assert!(
            soon.contains("etcd.certfile: the certificate ")
                && soon.contains(" expires 2126-11-01 "),
            "{soon}"
        );
        let late = warning("2126-11-02T00:00:00Z").unwrap();
        assert!(late.has_expired());
        let late = late.to_string();
        assert!(late.contains(" expired 2126-11-01 "), "{late}");
        fs::write(root.path("cert").shown(), CERTIFICATE).unwrap();
        assert_eq!(warning("2126-11-02T00:00:00Z"), None);
    }

    #[test]
    fn certificates_and_passwords_are_read_under_the_root() {
        let (_dir, root) = root(Some(
        b"etcd: {endpoints: 'h:1', cafile: /ca, certfile: /cert, keyfile: /key, username: u, password-file: /p}",
    ));
        let config = load_at(&root, &[], &[]).unwrap();
        let write = |name: &str, text: &[u8], mode: u32| {
            fs::write(root.path(name).shown(), text).unwrap();
            fs::set_permissions(root.path(name).shown(), fs::Permissions::from_mode(mode)).unwrap();
        };
        let error = || config.etcd_options().err().unwrap().to_string();
        assert!(
            error().ends_with("/ca: No such file or directory (os error 2)"),
            "{}",
            error()
        );
        // The setting and where it was given stand before the file.
        assert!(error().contains("config.yaml:1:"), "{}", error());
        assert!(error().contains("etcd.cafile: "), "{}", error());
        write("ca", KEY.as_bytes(), 0o644);
        assert!(
            error().contains("/ca: found no PEM block of a certificate, expected one"),
            "{}",
            error()
        );
        write("ca", CERTIFICATE.as_bytes(), 0o644);
        write("cert", CERTIFICATE.as_bytes(), 0o644);
        write("key", KEY.as_bytes(), 0o600);
        for (text, mode, message) in [
            (
                b"s3cret".as_slice(),
                0o640,
                "found mode 0640, with which other users can read the password",
            ),
            (
                b"s3cret",
                0o604,
                "expected mode 0600; to set it: chmod 600 ",
            ),
            (b"", 0o600, "found nothing, expected a password"),
            (b"\n", 0o600, "found nothing, expected a password"),
            (
                b"s3cret\nmore\n",
                0o600,
                "found several lines, expected a password on one line",
            ),
            (
                b"s3cret\xff",
                0o600,
                "found bytes that are not UTF-8, expected a password",
            ),
        ] {
            write("p", text, mode);
            let error = error();
            assert!(error.contains(message) && error.contains("/p: "), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        for text in ["s3 cret\n", "s3 cret", "s3 cret\r\n"] {
            write("p", text.as_bytes(), 0o400);
            let options = config.etcd_options().ok().unwrap();
            assert_eq!(options.user, Some(("u".into(), "s3 cret".into())));
            assert_eq!(options.endpoints, ["https://h:1"]);
            assert_eq!(options.timeout, Duration::from_secs(5));
            let tls = options.tls.unwrap();
            assert_eq!(tls.authorities.unwrap(), CERTIFICATE.as_bytes());
            assert_eq!(tls.identity.unwrap(), (CERTIFICATE.into(), KEY.into()));
        }
        assert!(!format!("{config:?}").contains("s3"));
        fs::remove_file(root.path("p").shown()).unwrap();
        fs::create_dir(root.path("p").shown()).unwrap();
        assert!(error().contains("/p: found no regular file"), "{}", error());
    }
}
