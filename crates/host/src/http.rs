//! Fetching over HTTP, bounded in time, size and redirects.

use std::time::Duration;

use reqwest::{Certificate, Client, Identity, RequestBuilder, Response, redirect};

pub use reqwest::{Method, Url};

pub use crate::certificate::Distrust;
use crate::{certificate, etcd::Tls, text};

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The certificates given cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(String),
    /// There was no answer, or its end did not come.
    #[error("{url}: {reason}")]
    NoAnswer {
        /// What was asked for.
        url: String,
        /// Why, with all the causes.
        reason: String,
        /// Of what kind that is.
        cause: Cause,
    },
    /// The answer is larger than it may be.
    #[error("{url}: found more than {most} bytes, expected at most that")]
    Large {
        /// What was asked for.
        url: String,
        /// The most, in bytes.
        most: usize,
    },
}

/// Why there was no answer, for who has to decide whether to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing could be asked: the name does not resolve, nobody listens.
    Connect,
    /// It took too long, or broke off.
    Broken,
    /// The server's certificate is not trusted.
    Certificate(Distrust),
    /// It was redirected too often, or from https to http.
    Redirects,
    /// What was asked for cannot be.
    Request,
}

/// What a fetch may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most until there is a connection.
    pub connect: Duration,
    /// The most between two pieces of the answer.
    pub idle: Duration,
    /// The most for all of it.
    pub total: Duration,
    /// The most bytes in the body.
    pub most: usize,
    /// How many redirects are followed; none of them from https to http.
    pub redirects: usize,
    /// Whether the proxies that the environment names are used.
    pub proxies: bool,
}

impl Limits {
    /// So much time for everything, bodies of so many bytes, no redirects and no proxies.
    #[must_use]
    pub const fn one(time: Duration, most: usize) -> Self {
        Self {
            connect: time,
            idle: time,
            total: time,
            most,
            redirects: 0,
            proxies: false,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// The other place that it names (`Location`), as people may see it.
    pub location: Option<String>,
}

/// Fetches.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    most: usize,
}

impl Http {
    /// One that trusts these certificates (none: the system's), and keeps to these limits.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn new(tls: Option<&Tls>, limits: &Limits) -> Result<Self, HttpError> {
        // Both errors mean that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bad = |error: reqwest::Error| HttpError::Tls(text::with_causes(&error));
        let builder = || {
            let builder = Client::builder()
                .connect_timeout(limits.connect)
                .read_timeout(limits.idle)
                .timeout(limits.total)
                .redirect(redirects(limits.redirects));
            match limits.proxies {
                true => builder,
                false => builder.no_proxy(),
            }
        };
        let mut with_tls = builder();
        if let Some(tls) = tls {
            if let Some(authorities) = &tls.authorities {
                let authorities = Certificate::from_pem_bundle(authorities).map_err(bad)?;
                with_tls = with_tls.tls_certs_only(authorities);
            }
            if let Some((certificate, key)) = &tls.identity {
                let both = [certificate.as_slice(), b"\n", key].concat();
                with_tls = with_tls.identity(Identity::from_pem(&both).map_err(bad)?);
            }
        }
        let client = match with_tls.build() {
            Ok(client) => client,
            // A system without any authorities is one on which no server is trusted; what needs no trust works.
            Err(error) if tls.is_none() => {
                tracing::debug!("{}", text::with_causes(&error));
                builder().tls_certs_only([]).build().map_err(bad)?
            }
            Err(error) => return Err(bad(error)),
        };
        Ok(Self {
            client,
            most: limits.most,
        })
    }

    /// Fetches a URL, as this user where one is given.
    ///
    /// # Errors
    /// When there is no answer in time, or it is too large. Any status is an answer.
    pub async fn get(
        &self,
        url: &str,
        user: Option<&(String, String)>,
    ) -> Result<Answer, HttpError> {
        let mut request = self.client.get(url);
        if let Some((name, password)) = user {
            request = request.basic_auth(name, Some(password));
        }
        self.send(url, request).await
    }

    /// Asks for a URL with these headers.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, HttpError> {
        let request = self.client.request(method, url);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        self.send(url, request).await
    }

    /// Posts a JSON text to a URL.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_json(&self, url: &str, body: String) -> Result<Answer, HttpError> {
        let request = self.client.post(url);
        let request = request.header("content-type", "application/json");
        self.send(url, request.body(body)).await
    }

    /// Posts a JSON text to a URL with these headers, for an answer of which the status counts: of a body that is too large, or breaks
    /// off, the beginning is kept.
    ///
    /// # Errors
    /// When no status comes in time.
    pub async fn post_for_status(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Answer, HttpError> {
        let request = self.client.post(url);
        let request = request.header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let lost = |error| no_answer(shown_text(url), error);
        let mut response = request.body(body).send().await.map_err(lost)?;
        let mut answer = Answer {
            status: response.status().as_u16(),
            body: Vec::new(),
            location: location(&response),
        };
        while let Ok(Some(chunk)) = response.chunk().await {
            let left = self.most - answer.body.len();
            answer.body.extend(chunk.iter().take(left));
            if chunk.len() > left {
                break;
            }
        }
        Ok(answer)
    }

    async fn send(&self, url: &str, request: RequestBuilder) -> Result<Answer, HttpError> {
        let url = shown_text(url);
        let lost = |error| no_answer(url.clone(), error);
        let large = || HttpError::Large {
            url: url.clone(),
            most: self.most,
        };
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let location = location(&response);
        if response
            .content_length()
            .is_some_and(|length| length > self.most as u64)
        {
            return Err(large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > self.most {
                return Err(large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            body,
            location,
        })
    }
}

/// A URL as people may see it, where it is one.
fn shown_text(url: &str) -> String {
    url.parse()
        .map_or_else(|_| url.to_owned(), |url| shown(&url))
}

fn no_answer(url: String, error: reqwest::Error) -> HttpError {
    let (cause, reason) = match certificate::diagnosis(&error) {
        Some((distrust, words)) => (Cause::Certificate(distrust), words),
        None => (cause(&error), text::with_causes(&error.without_url())),
    };
    HttpError::NoAnswer { url, reason, cause }
}

/// The other place that an answer names, as people may see it.
fn location(response: &Response) -> Option<String> {
    let location = response.headers().get("location")?;
    let location = String::from_utf8_lossy(location.as_bytes());
    let url = response.url().join(&location);
    Some(url.map_or_else(|_| location.into_owned(), |url| shown(&url)))
}

/// A URL as people may see it: without a password, and without its query, which may be as good as one.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    if url.password().is_some() {
        // Fails only for URLs that have no host, which have no password either.
        let _ = url.set_password(Some("***"));
    }
    url.to_string()
}

fn redirects(most: usize) -> redirect::Policy {
    if most == 0 {
        return redirect::Policy::none();
    }
    redirect::Policy::custom(move |attempt| {
        let before = attempt.previous();
        let bare = attempt.url().scheme() == "http"
            && before.last().is_some_and(|url| url.scheme() == "https");
        if before.len() > most {
            let last = shown(attempt.url());
            attempt.error(format!(
                "redirected more than {most} times, at last to {last}"
            ))
        } else if bare {
            let to = shown(attempt.url());
            attempt.error(format!("redirected from https to {to}, expected https"))
        } else if !matches!(attempt.url().scheme(), "http" | "https") {
            let to = shown(attempt.url());
            attempt.error(format!("redirected to {to}, expected http:// or https://"))
        } else {
            attempt.follow()
        }
    })
}

fn cause(error: &reqwest::Error) -> Cause {
    if error.is_redirect() {
        return Cause::Redirects;
    }
    if error.is_builder() {
        return Cause::Request;
    }
    match error.is_connect() {
        true => Cause::Connect,
        false => Cause::Broken,
    }
}
