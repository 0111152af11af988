//! Asking a platform's service: a tree of small texts below a URL.

use host::http::{Answer, Http, Method, Url, shown};

use super::Unavailable;
use crate::problem::Problem;

/// A platform's service.
pub(super) struct Service<'a> {
    pub(super) http: &'a Http,
    /// Ends in a slash.
    pub(super) base: &'a Url,
}

impl Service<'_> {
    /// Returns the URL of a path, without secrets.
    pub(super) fn name(&self, path: &str) -> String {
        format!("{}{path}", shown(self.base))
    }

    /// Sends a request and returns any answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Unavailable> {
        let url = format!("{}{path}", self.base);
        Ok(self.http.ask(method, &url, headers).await?)
    }

    /// Reads what must exist.
    pub(super) async fn needed(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Vec<u8>, Unavailable> {
        let answer = self.ask(Method::GET, path, headers).await?;
        match answer.status {
            200 => Ok(answer.body),
            _ => Err(Unavailable::answer(&self.name(path), &answer)),
        }
    }

    /// Reads what may be missing.
    pub(super) async fn optional(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        let answer = self.ask(Method::GET, path, headers).await?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 | 410 => Ok(None),
            _ => Err(Unavailable::answer(&self.name(path), &answer)),
        }
    }

    /// Reads a text that may be missing.
    pub(super) async fn text(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Option<String>, Unavailable> {
        let body = self.optional(path, headers).await?;
        Ok(body.map(|body| String::from_utf8_lossy(&body).into_owned()))
    }

    /// Reads JSON that must exist.
    pub(super) async fn json<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<T, Unavailable> {
        let body = self.needed(path, headers).await?;
        object(&body).map_err(|error| {
            let name = self.name(path);
            let what = format!("{name}: found no JSON as expected there");
            Unavailable::never(Problem::said(what, error))
        })
    }
}

/// Parses a JSON object. A list is refused, which serde would accept as the fields in order.
pub(super) fn object<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(serde::de::Error::custom(
            "invalid type: a list, expected an object",
        ));
    }
    serde_json::from_slice(bytes)
}
