//! Amazon EC2 and compatible services: with a token if the service gives one (IMDSv2), else without.

use host::http::Method;

use super::{Found, Metadata, Unavailable, service::Service};

/// How long the token is valid, in seconds: longer than all requests take.
const TOKEN_LIFE: &str = "300";

pub(super) async fn fetch(service: &Service<'_>) -> Result<Found, Unavailable> {
    let life = [("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_LIFE)];
    let path = "latest/api/token";
    let answer = service.ask(Method::PUT, path, &life).await?;
    let token = match answer.status {
        200 => Some(String::from_utf8_lossy(&answer.body).trim().to_owned()),
        // A service without IMDSv2, or of a compatible platform.
        400 | 404 | 405 | 501 => None,
        _ => return Err(Unavailable::answer(&service.name(path), &answer)),
    };
    let headers: Vec<_> = token
        .iter()
        .map(|token| ("x-aws-ec2-metadata-token", token.as_str()))
        .collect();
    let headers = headers.as_slice();
    // Each item may be missing, but not the list of items.
    service.needed("latest/meta-data/", headers).await?;
    let said = async |name: &str| {
        let path = format!("latest/meta-data/{name}");
        let text = service.text(&path, headers).await?;
        Ok::<_, Unavailable>(text.unwrap_or_default())
    };
    let mut metadata = Metadata::default();
    metadata.name(&said("hostname").await?);
    for (public, name) in [(true, "public-ipv4"), (false, "local-ipv4"), (true, "ipv6")] {
        metadata.address(public, &said(name).await?);
    }
    // Each line has the number, `=`, and the name.
    for line in said("public-keys/").await?.lines() {
        let number = line.split('=').next().unwrap_or_default().trim();
        if number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() {
            let keys = said(&format!("public-keys/{number}/openssh-key")).await?;
            metadata.keys([keys.as_str()]);
        }
    }
    let user_data = service.optional("latest/user-data", headers).await?;
    Ok(Found {
        user_data: user_data.unwrap_or_default(),
        metadata,
        is_partial: false,
    })
}
