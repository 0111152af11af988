//! What is read of X.509 certificates: their version and until when they are valid (RFC 5280, 4.1). Pure.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// The elements of a DER sequence, each with its tag and content; empty where it is none.
fn elements(mut der: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let Some((&[tag, length], rest)) = der.split_first_chunk() {
        // The long form has the number of its bytes first.
        let (length, rest) = match length {
            0..0x80 => (usize::from(length), rest),
            _ => {
                let Some((bytes, rest)) = rest.split_at_checked(usize::from(length & 0x7f)) else {
                    break;
                };
                let length = bytes.iter().fold(0_usize, |length, byte| {
                    length
                        .saturating_mul(256)
                        .saturating_add(usize::from(*byte))
                });
                (length, rest)
            }
        };
        let Some((content, after)) = rest.split_at_checked(length) else {
            break;
        };
        found.push((tag, content));
        der = after;
    }
    found
}

/// The parts of the body of a certificate: version (left out by version 1), serial number, algorithm, issuer, validity, and
/// more.
fn body(der: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    const SEQUENCE: u8 = 0x30;
    let inside = |der: &[u8]| match elements(der).first() {
        Some(&(SEQUENCE, content)) => Some(content.to_vec()),
        _ => None,
    };
    let body = inside(&inside(der)?)?;
    let parts = elements(&body).into_iter();
    Some(
        parts
            .map(|(tag, content)| (tag, content.to_vec()))
            .collect(),
    )
}

/// The version of X.509 of the first certificate of a PEM file; none where it cannot be read.
#[must_use]
pub fn version(pem: &[u8]) -> Option<u8> {
    let first = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    match body(&first)?.first()? {
        // `[0] INTEGER version - 1`.
        (0xa0, content) => match content.as_slice() {
            [2, 1, version] => version.checked_add(1),
            _ => None,
        },
        // The serial number, an INTEGER.
        (2, _) => Some(1),
        _ => None,
    }
}

/// Until when each certificate of a PEM file is valid, in the file's order; those that cannot be read are left out.
#[must_use]
pub fn valid_until_all(pem: &[u8]) -> Vec<Timestamp> {
    let all = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    all.filter_map(|der| valid_until(&der)).collect()
}

/// Until when a certificate, in DER, is valid; none where that cannot be read.
#[must_use]
pub fn valid_until(der: &[u8]) -> Option<Timestamp> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let body = body(der)?;
    // After an optional version: serial number, algorithm, issuer, validity.
    let skipped = usize::from(body.first()?.0 == 0xa0) + 3;
    let (_, validity) = body.get(skipped)?;
    let (tag, until) = *elements(validity).get(1)?;
    let digits = std::str::from_utf8(until).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Two digits of the year: 1950 to 2049 (RFC 5280, 4.1.2.5.1).
        UTC_TIME if digits.get(..2)? < "50" => format!("20{digits}"),
        UTC_TIME => format!("19{digits}"),
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}
