//! An HTTP server on loopback that answers as it is told: well, or as servers do that have lost their minds.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
        BufReader,
    },
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` and the like.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Headers by their names in lower case.
    pub headers: HashMap<String, String>,
    /// The body, as long as `content-length` says.
    pub body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This status and body.
    Body(u16, Vec<u8>),
    /// This status, and a body that says it is JSON.
    Json(u16, Vec<u8>),
    /// Go there.
    Redirect(String),
    /// Go there, with this status.
    Moved(u16, String),
    /// Nothing, and the connection ends.
    Close,
    /// Nothing, and the connection stays.
    Stall,
    /// The beginning of a body, then nothing, and the connection stays.
    Stop(Vec<u8>),
    /// A body that is said to be so long; the connection ends after what there is of it.
    Claim(u64, Vec<u8>),
    /// A body without an end.
    Endless,
}

impl Reply {
    /// A good answer.
    #[must_use]
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Body(200, body.into())
    }

    /// There is no such thing.
    #[must_use]
    pub fn missing() -> Self {
        Self::Body(404, b"not here\n".to_vec())
    }
}

/// A server; it ends when dropped.
pub struct Web {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = dyn Fn(&Request, usize) -> Reply + Send + Sync;

impl Web {
    /// Serves on a free port. `answer` is told the request, and how many came before it.
    pub async fn serve(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Arc::new(answer), None).await
    }

    /// Serves this text at every path.
    pub async fn with_text(text: &str) -> Self {
        let text = text.to_owned();
        Self::serve(move |_, _| Reply::ok(text.as_str())).await
    }

    /// Serves over TLS, with a certificate for 127.0.0.1 and its key, each a PEM file.
    pub async fn with_tls(
        cert: &Path,
        key: &Path,
        answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert)
            .expect("the certificate can be read")
            .collect();
        let key = PrivateKeyDer::from_pem_file(key).expect("the key can be read");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(certificates.expect("a PEM file"), key)
            .expect("certificate and key belong together");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::start(Arc::new(answer), Some(acceptor)).await
    }

    async fn start(answer: Arc<Answer>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("127.0.0.1 has a free port");
        let address = listener.local_addr().expect("a bound port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let seen = Arc::<Mutex<Vec<Request>>>::default();
        let all = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // Connections end with the server.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, all, tls) = (Arc::clone(&answer), Arc::clone(&all), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => connection(stream, &*answer, &all).await,
                        // A client that does not like the certificate leaves.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => connection(stream, &*answer, &all).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self {
            url: format!("{scheme}://{address}"),
            seen,
            task,
        }
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything that was asked so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

/// Serves one connection until either side ends it.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &Answer,
    seen: &Mutex<Vec<Request>>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read(&mut stream).await?;
        let before = {
            let mut seen = seen.lock().ok()?;
            seen.push(request.clone());
            seen.len() - 1
        };
        let reply = answer(&request, before);
        let kind = match reply {
            Reply::Json(..) => "content-type: application/json\r\n",
            _ => "",
        };
        match reply {
            Reply::Body(status, body) | Reply::Json(status, body) => {
                let head = format!(
                    "HTTP/1.1 {status} X\r\n{kind}content-length: {}\r\n\r\n",
                    body.len()
                );
                stream
                    .write_all(&[head.as_bytes(), &body].concat())
                    .await
                    .ok()?;
                stream.flush().await.ok()?;
            }
            Reply::Redirect(to) => {
                let head = format!("HTTP/1.1 302 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
            Reply::Moved(status, to) => {
                let head =
                    format!("HTTP/1.1 {status} X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
            Reply::Close => return None,
            Reply::Stall => std::future::pending().await,
            Reply::Stop(body) => {
                let head = b"HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n";
                stream
                    .write_all(&[head, body.as_slice()].concat())
                    .await
                    .ok()?;
                stream.flush().await.ok()?;
                std::future::pending().await
            }
            Reply::Claim(length, body) => {
                let head = format!("HTTP/1.1 200 X\r\ncontent-length: {length}\r\n\r\n");
                stream
                    .write_all(&[head.as_bytes(), &body].concat())
                    .await
                    .ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Reply::Endless => {
                stream
                    .write_all(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await
                    .ok()?;
                let chunk = [b"100000\r\n".as_slice(), &[b' '; 1 << 20], b"\r\n"].concat();
                loop {
                    stream.write_all(&chunk).await.ok()?;
                }
            }
        }
    }
}

async fn read(stream: &mut BufReader<impl AsyncRead + Unpin>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            let length = headers.get("content-length");
            let length = length.and_then(|length: &String| length.parse().ok());
            let mut body = vec![0; length.unwrap_or_default()];
            stream.read_exact(&mut body).await.ok()?;
            return Some(Request {
                method,
                path,
                headers,
                body,
            });
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}
