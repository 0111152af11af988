//! A document on a server.

use host::http::{Http, Method, shown};
use sha2::{Digest as _, Sha256};

use super::{Absent, source::Document};

/// Fetches it, and compares its hash.
pub(super) async fn fetch(document: &Document, http: &Http) -> Result<Vec<u8>, Absent> {
    let name = shown(&document.url);
    let answer = http.ask(Method::GET, document.url.as_str(), &[]).await?;
    if answer.status != 200 {
        return Err(Absent::answer(&name, &answer));
    }
    if let Some(expected) = &document.sha256 {
        let found: String = Sha256::digest(&answer.body)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found != *expected {
            return Err(Absent::never(format!(
                "{name}: found SHA-256 {found}, expected {expected}; \
                 if the document was changed on purpose, name the new hash"
            )));
        }
    }
    Ok(answer.body)
}
