//! Until when the certificates are valid that settings name.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use host::{
    certificate::{
        expiry::{self, Expiry},
        x509,
    },
    node::RootPath,
};
use jiff::Timestamp;

use super::{At, Config, ConfigError, Strategy, credentials::LARGEST_PEM, file::content};

/// A file of certificates that a setting names.
#[derive(Debug)]
pub struct CertificateFile {
    /// The setting.
    pub at: At,
    /// The file.
    pub path: RootPath,
    /// Until when each of its certificates is valid; why that cannot be told.
    pub valid_until: Result<Vec<Timestamp>, ConfigError>,
}

/// The certificate shown to etcd, or to the FleetLock server, has expired, or expires within fourteen days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWarning {
    /// The setting that names it.
    at: At,
    /// The file.
    path: RootPath,
    /// The end of its validity.
    until: Timestamp,
    /// When that was looked at.
    now: Timestamp,
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
        Expiry::of(self.until, self.now) == Expiry::Expired
    }
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            path,
            until,
            now,
        } = self;
        write!(
            f,
            "{at}: the certificate {path} {}",
            expiry::told(*until, *now)
        )
    }
}

impl CertificateFile {
    /// Whether they are authorities', by which others are trusted; else the first is a certificate that is shown to others.
    #[must_use]
    pub fn are_authorities(&self) -> bool {
        self.at.key.ends_with("cafile") || self.at.key.ends_with("-ca")
    }
}

impl Config {
    /// Every file of certificates that a setting names, read again: the client's, the authorities', and those of `pointsman serve`.
    #[must_use]
    pub fn certificate_files(&self) -> Vec<CertificateFile> {
        let own = |identity: &Option<(PathBuf, PathBuf)>| {
            identity
                .as_ref()
                .map(|(certificate, _)| certificate.clone())
        };
        let (etcd, server) = (&self.etcd, self.fleet_lock.as_ref());
        let named = [
            ("etcd.cafile", etcd.cafile.clone()),
            ("etcd.certfile", own(&etcd.identity)),
            (
                "fleet-lock.cafile",
                server.and_then(|server| server.cafile.clone()),
            ),
            (
                "fleet-lock.certfile",
                server.and_then(|server| own(&server.identity)),
            ),
            ("serve.tls-cert", own(&self.serve.identity)),
            ("serve.client-ca", self.serve.client_ca.clone()),
        ];
        let files = named.into_iter();
        files
            .filter_map(|(key, path)| Some(self.certificate_file(key, &path?)))
            .collect()
    }

    fn certificate_file(&self, key: &'static str, path: &Path) -> CertificateFile {
        let path = self.root.path(path);
        CertificateFile {
            at: At {
                origin: self.given.origin(key),
                key,
            },
            valid_until: content(&path, LARGEST_PEM).map(|pem| x509::valid_until_all(&pem)),
            path,
        }
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
        let file = self.certificate_file(key, certificate);
        let until = *file.valid_until.ok()?.first()?;
        let CertificateFile { at, path, .. } = file;
        (Expiry::of(until, now) != Expiry::Valid).then_some(CertificateWarning {
            at,
            path,
            until,
            now,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::credentials::tests::{CERTIFICATE, VERSION_1};
    use crate::tests::{load_at, root};

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
}
