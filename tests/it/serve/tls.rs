//! Certificates, and who may reach the server.

use std::{fs, path::Path, sync::Arc};

use pointsman_testbed::{
    etcd::Certificates,
    process::{Signal, run},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

use super::*;

/// A folder with certificates, and a server that has one of them.
pub(crate) struct Secured {
    pub(crate) server: Server,
    pub(crate) certificates: Certificates,
    dir: tempfile::TempDir,
}

impl Secured {
    pub(crate) async fn new(name: &str, check_clients: bool) -> Self {
        let place = Place::new(name, 1).await;
        let dir = scratch::dir("tls");
        let certificates = Certificates::write(dir.path());
        for (from, to) in [
            (&certificates.server_cert, "cert"),
            (&certificates.server_key, "key"),
        ] {
            fs::copy(from, dir.path().join(to)).unwrap();
        }
        let ca = certificates.ca.display().to_string();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        let (cert, key) = (cert.display().to_string(), key.display().to_string());
        let endpoints = shared_cluster().endpoints().join(",");
        let mut args = vec![
            "--root",
            "/",
            "--endpoint",
            &endpoints,
            "--key-prefix",
            &place.prefix,
        ];
        args.extend([
            "--tls-cert",
            &cert,
            "--tls-key",
            &key,
            "--request-timeout",
            "2s",
        ]);
        if check_clients {
            args.extend(["--client-ca", &ca]);
        }
        Self {
            server: Server::run(&args).await,
            certificates,
            dir,
        }
    }

    /// What a client with this certificate and key gets; an error where there is no TLS.
    async fn ask(&self, identity: Option<(&Path, &Path)>, ca: &Path) -> Result<Reply, String> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(ca).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let asked = async {
            let stream = TcpStream::connect(self.server.address).await.unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            let mut stream = connector
                .connect(name, stream)
                .await
                .map_err(|e| e.to_string())?;
            let request = request("POST", "/v1/pre-reboot", TRUE, &params("a", "default"));
            stream
                .write_all(request.as_bytes())
                .await
                .map_err(|e| e.to_string())?;
            let mut text = String::new();
            // In TLS 1.3 a client hears here that its certificate is not taken.
            stream
                .read_to_string(&mut text)
                .await
                .map_err(|e| e.to_string())?;
            Ok(Reply::read(&text))
        };
        timeout(PATIENCE, asked).await.expect("answered in time")
    }
}

#[tokio::test]
async fn clients_that_trust_the_server_are_served_over_tls() {
    let secured = Secured::new("serve-tls", false).await;
    let Certificates { ca, .. } = &secured.certificates;
    assert_eq!(secured.ask(None, ca).await.unwrap().status, 200);
    let other = scratch::dir("tls");
    let other = Certificates::write(other.path());
    secured.ask(None, &other.ca).await.unwrap_err();
    // Who speaks no TLS, or begins and stops, is disconnected.
    for bytes in [
        request("GET", "/healthz", "", "").as_str(),
        "\x16\x03\x01",
        "",
    ] {
        let mut stream = TcpStream::connect(secured.server.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = read.expect("the server ends the connection");
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    assert_eq!(secured.ask(None, ca).await.unwrap().status, 200);
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_served() {
    let secured = Secured::new("serve-mtls", true).await;
    let Certificates {
        ca,
        client_cert,
        client_key,
        ..
    } = &secured.certificates;
    let known = Some((client_cert.as_path(), client_key.as_path()));
    assert_eq!(secured.ask(known, ca).await.unwrap().status, 200);
    secured.ask(None, ca).await.unwrap_err();
    let other = scratch::dir("tls");
    let other = Certificates::write(other.path());
    let stranger = Some((other.client_cert.as_path(), other.client_key.as_path()));
    secured.ask(stranger, ca).await.unwrap_err();
}

#[tokio::test]
async fn renewed_certificates_are_read_on_reload_and_faulty_ones_are_not_used() {
    let secured = Secured::new("serve-reload", false).await;
    let Certificates { ca, .. } = &secured.certificates;
    let renewed = scratch::dir("tls");
    let renewed = Certificates::write(renewed.path());
    let (cert, key) = (
        secured.dir.path().join("cert"),
        secured.dir.path().join("key"),
    );
    fs::write(&cert, "oops").unwrap();
    secured.server.child.signal(Signal::SIGHUP);
    let says = async |text: &str| {
        let log = async || secured.server.child.log();
        eventually(text, log, |log| log.contains(text)).await;
    };
    says("the certificates before stay in use: serve.tls-cert: ").await;
    assert_eq!(secured.ask(None, ca).await.unwrap().status, 200);
    fs::copy(&renewed.server_cert, &cert).unwrap();
    fs::copy(&renewed.server_key, &key).unwrap();
    secured.server.child.signal(Signal::SIGHUP);
    says("the certificates are read again").await;
    secured.ask(None, ca).await.unwrap_err();
    assert_eq!(secured.ask(None, &renewed.ca).await.unwrap().status, 200);
}

async fn started(args: &[&str]) -> pointsman_testbed::process::Output {
    run(bin(), [&["serve"], args].concat(), &[], PATIENCE).await
}

#[tokio::test]
async fn files_and_settings_that_are_wrong_are_named() {
    let dir = scratch::dir("tls");
    let certificates = Certificates::write(dir.path());
    let path = |path: &Path| path.display().to_string();
    let (cert, key, ca) = (
        path(&certificates.server_cert),
        path(&certificates.server_key),
        path(&certificates.ca),
    );
    let other_key = path(&certificates.client_key);
    for (args, says) in [
        (
            &["--tls-cert", &cert][..],
            "--tls-cert: given without serve.tls-key, expected both or neither",
        ),
        (
            &["--client-ca", &ca],
            "alone, expected serve.tls-cert and serve.tls-key beside it",
        ),
        (
            &["--tls-cert", "/none", "--tls-key", &key],
            "serve.tls-cert: /none: No such file",
        ),
        (
            &["--tls-cert", &key, "--tls-key", &key],
            "found no certificate, expected some in PEM",
        ),
        (
            &["--tls-cert", &cert, "--tls-key", &cert],
            "serve.tls-key: ",
        ),
        (
            &["--tls-cert", &cert, "--tls-key", &other_key],
            "serve.tls-key: ",
        ),
        (
            &["--tls-cert", &cert, "--tls-key", &key, "--client-ca", &key],
            "serve.client-ca: ",
        ),
        (
            &["--listen", "localhost"],
            "--listen: found \"localhost\", expected an IP address and a port, such as 127.0.0.1:9120",
        ),
        (
            &["--max-connections", "0"],
            "--max-connections: found \"0\", expected a whole number from 1 to 100000",
        ),
        (
            &["--request-timeout", "5"],
            "--request-timeout: found \"5\", expected ",
        ),
    ] {
        let output = started(args).await;
        assert_eq!(output.code, Some(2), "{args:?}: {output:?}");
        assert!(output.stderr.contains(says), "{args:?}: {}", output.stderr);
    }
}

/// FleetLock proves nobody: whoever reaches the server takes places.
#[tokio::test]
async fn other_machines_reach_the_server_only_if_that_was_said() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let output = started(&["--listen", address, "--endpoint", "127.0.0.1:1"]).await;
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(
            output.stderr.contains(
                ": whoever reaches this address may take and release places; expected a loopback address, or serve.client-ca \
                 (--client-ca) so that clients prove who they are, or serve.allow-unauthenticated (--allow-unauthenticated)"
            ),
            "{output:?}"
        );
    }
    let place = Place::new("serve-open", 1).await;
    let endpoints = shared_cluster().endpoints();
    for address in ["127.0.0.2:0", "[::1]:0"] {
        let server = Server::at(&endpoints, &place.prefix, &["--listen", address]).await;
        server.takes("a").await;
    }
    let open = ["--listen", "0.0.0.0:0", "--allow-unauthenticated"];
    let mut server = Server::at(&endpoints, &place.prefix, &open).await;
    server.address.set_ip([127, 0, 0, 1].into());
    server.takes("a").await;
}

/// As the unit of the package is started: by a socket that systemd has opened.
#[tokio::test]
async fn a_socket_of_systemd_is_served_in_place_of_the_address() {
    let place = Place::new("serve-socket", 1).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let dir = scratch::dir("socket");
    let root = dir.path().display().to_string();
    let endpoints = shared_cluster().endpoints().join(",");
    let child = Spec::new("systemd-socket-activate", dir.path().join("log"))
        .args(["-l", &address.to_string()])
        .arg(bin())
        .args(["serve", "--root", &root, "--endpoint", &endpoints])
        .args(["--key-prefix", &place.prefix, "--listen", "192.0.2.1:1"])
        .spawn();
    eventually(
        "the socket",
        async || child.log(),
        |log| log.contains("Listening on"),
    )
    .await;
    let body = params("a", "default");
    let request = request("POST", "/v1/pre-reboot", TRUE, &body);
    for _ in 0..2 {
        let reply = send(address, request.as_bytes()).await;
        assert_eq!(reply.status, 200, "{reply:?}: {}", child.log());
    }
    assert!(
        child
            .log()
            .contains(&format!("listening on http://{address}"))
    );
}
