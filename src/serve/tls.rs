//! TLS: the server's certificate, and those of clients.

use std::{path::PathBuf, sync::Arc};

use host::node::{Root, RootPath};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use settings::Config;
use tokio_rustls::TlsAcceptor;

/// The most bytes of a file with certificates or a key.
const LARGEST: u64 = 1 << 20;

/// Which certificates the server has, and which it trusts.
#[derive(Debug, Clone)]
pub struct Tls {
    cert: RootPath,
    key: RootPath,
    client_ca: Option<RootPath>,
}

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {path}: {problem}")]
pub struct TlsError {
    setting: &'static str,
    path: PathBuf,
    problem: String,
}

impl Tls {
    /// What the configuration says; none where the server has no certificate.
    #[must_use]
    pub fn of(config: &Config) -> Option<Self> {
        let (cert, key) = config.serve.identity.as_ref()?;
        let root: &Root = &config.root;
        Some(Self {
            cert: root.path(cert),
            key: root.path(key),
            client_ca: config.serve.client_ca.as_ref().map(|path| root.path(path)),
        })
    }

    /// Whether clients must prove who they are.
    #[must_use]
    pub fn checks_clients(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or not be used.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| fault("serve.tls-cert", &self.cert, error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                const SETTING: &str = "serve.client-ca";
                let mut roots = RootCertStore::empty();
                for certificate in certificates(SETTING, path)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| fault(SETTING, path, error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                let verifier = verifier.map_err(|error| fault(SETTING, path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = certificates("serve.tls-cert", &self.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&content("serve.tls-key", &self.key)?);
        let key = key.map_err(|error| fault("serve.tls-key", &self.key, error))?;
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| fault("serve.tls-key", &self.key, error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn fault(setting: &'static str, path: &RootPath, problem: impl ToString) -> TlsError {
    TlsError {
        setting,
        path: path.shown(),
        problem: problem.to_string(),
    }
}

fn content(setting: &'static str, path: &RootPath) -> Result<Vec<u8>, TlsError> {
    let read = path.read_bounded(LARGEST);
    read.map_err(|error| fault(setting, path, error))
}

fn certificates(
    setting: &'static str,
    path: &RootPath,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = content(setting, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => Err(fault(
            setting,
            path,
            "found no certificate, expected some in PEM",
        )),
        Ok(all) => Ok(all),
        Err(error) => Err(fault(setting, path, error)),
    }
}
