//! Until when the certificates that a server shows are valid, whether they are trusted here or not.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::x509;
use crate::http::Url;

/// Keeps what the server shows. It trusts everything, so nothing may be sent over a connection that it has accepted.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Vec<Timestamp>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let all = std::iter::once(own).chain(others);
        let dates = all.filter_map(|der| x509::valid_until(der)).collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = dates;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = &self.provider.signature_verification_algorithms;
        known.supported_schemes()
    }
}

/// Until when the certificates are valid that the server at this `https` URL shows, its own first, then the authorities that it
/// sends along. Empty where it shows none within this time: the reason is told by who connects in earnest. Only a handshake is
/// made, and no certificate of ours is shown.
pub async fn valid_until(url: &str, limit: Duration) -> Vec<Timestamp> {
    let url: Option<Url> = url.parse().ok().filter(|url: &Url| url.scheme() == "https");
    let Some((host, port)) = url
        .as_ref()
        .and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)))
    else {
        return Vec::new();
    };
    let provider = Arc::new(ring::default_provider());
    let recorder = Arc::new(Recorder {
        provider: provider.clone(),
        shown: Mutex::default(),
    });
    let Ok(versions) =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
    else {
        return Vec::new();
    };
    let config = versions
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_no_client_auth();
    let handshake = async {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).ok()?;
        let stream = TcpStream::connect((bare, port)).await.ok()?;
        // A server that wants to see a certificate ends it, after it has shown its own.
        let _ = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await;
        Some(())
    };
    let _ = timeout(limit, handshake).await;
    let mut shown = recorder
        .shown
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut shown)
}
