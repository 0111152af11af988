//! From names of files to what etcd is shown.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use host::{
    certificate::x509,
    etcd::{Options, Tls},
    node::RootPath,
    remedy::Remedy,
};
use rustls::{
    InconsistentKeys,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{At, Config, ConfigError, Origin, Password, file::content};

/// The settings that name etcd's files: authorities, certificate, key.
const OF_ETCD: [&str; 3] = ["etcd.cafile", "etcd.certfile", "etcd.keyfile"];

/// The settings that name those of a FleetLock server.
const OF_FLEET_LOCK: [&str; 3] = [
    "fleet-lock.cafile",
    "fleet-lock.certfile",
    "fleet-lock.keyfile",
];

/// The most a file of certificates may hold; the largest bundle of public authorities has a quarter of it.
pub(super) const LARGEST_PEM: u64 = 1 << 20;

/// The most a password file may hold.
const LARGEST_PASSWORD: u64 = 4096;

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
                if let Some(version @ ..3) = x509::version(&pair.0) {
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
pub(super) mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::tests::{load_at, root};

    pub(crate) const CERTIFICATE: &str =
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";

    /// Made by `openssl x509 -req` without extensions.
    pub(crate) const VERSION_1: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBFTCBvQIUTXA4mNUpDhU6Ds9vuwfE57y3w3cwCgYIKoZIzj0EAwIwDTELMAkG\n\
        A1UEAwwCdjEwIBcNMjYxMTI1MDgyNTIwWhgPMjEyNjExMDEwODI1MjBaMA0xCzAJ\n\
        BgNVBAMMAnYxMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9b3+87eHXsOXio+z\n\
        7+KQ00jqbZTAUJmcPqSCG2DhCcIY4ELVPb6kVWVPoHgF4R2RkehS15u19GLoxcpe\n\
        TUZauzAKBggqhkjOPQQDAgNHADBEAiBWn7x7dLM5F5CR6bq9ptjrz45V9fX76Ssv\n\
        AuQuiZ7zjwIgJBLA5pNuKSwcicVfYEYibAqi7ejZ5JoLv1CiK8+Vvgg=\n\
        -----END CERTIFICATE-----\n";

    #[test]
    fn a_certificate_that_tls_does_not_take_is_named() {
        assert_eq!(x509::version(VERSION_1.as_bytes()), Some(1));
        assert_eq!(x509::version(CERTIFICATE.as_bytes()), None);
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
