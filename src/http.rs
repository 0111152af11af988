//! Fetching over HTTP, bounded in time and size.

use std::time::Duration;

use reqwest::{Certificate, Client, Identity, redirect::Policy};

use crate::semaphore::etcd::Tls;

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

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Fetches.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    most: usize,
}

impl Http {
    /// One that trusts these certificates (none: the system's), gives each fetch so much time, and takes bodies of so
    /// many bytes. It follows no redirects and no proxy of the environment.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn new(tls: Option<&Tls>, limit: Duration, most: usize) -> Result<Self, HttpError> {
        // Both errors mean that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bad = |error: reqwest::Error| HttpError::Tls(explain(&error));
        let mut builder = Client::builder()
            .timeout(limit)
            .redirect(Policy::none())
            .no_proxy();
        if let Some(tls) = tls {
            if let Some(authorities) = &tls.authorities {
                builder =
                    builder.tls_certs_only(Certificate::from_pem_bundle(authorities).map_err(bad)?);
            }
            if let Some((certificate, key)) = &tls.identity {
                let both = [certificate.as_slice(), b"\n", key].concat();
                builder = builder.identity(Identity::from_pem(&both).map_err(bad)?);
            }
        }
        Ok(Self {
            client: builder.build().map_err(bad)?,
            most,
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
        let lost = |error: reqwest::Error| HttpError::NoAnswer {
            url: url.to_owned(),
            reason: explain(&error.without_url()),
        };
        let mut request = self.client.get(url);
        if let Some((name, password)) = user {
            request = request.basic_auth(name, Some(password));
        }
        let mut response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > self.most {
                let (url, most) = (url.to_owned(), self.most);
                return Err(HttpError::Large { url, most });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }
}

/// An error with its causes.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
