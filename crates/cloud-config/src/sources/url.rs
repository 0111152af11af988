//! A document on a server.

use host::http::{Http, Method, shown};
use sha2::{Digest as _, Sha256};

use super::{Unavailable, source::Document};
use crate::problem::Problem;

/// Fetches it, and compares its hash.
pub(super) async fn fetch(document: &Document, http: &Http) -> Result<Vec<u8>, Unavailable> {
    let name = shown(&document.url);
    let answer = http.ask(Method::GET, document.url.as_str(), &[]).await?;
    if answer.status != 200 {
        return Err(Unavailable::answer(&name, &answer));
    }
    if let Some(expected) = &document.sha256 {
        let found: String = Sha256::digest(&answer.body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found != *expected {
            let problem = Problem::found(format!("SHA-256 {found}"))
                .of(name)
                .expected(expected)
                .remedy("if the document was changed on purpose, name the new hash");
            return Err(Unavailable::never(problem));
        }
    }
    Ok(answer.body)
}
