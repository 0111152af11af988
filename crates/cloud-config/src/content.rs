//! The bytes of a file: text, base64, gzip, or a combination.

use std::io::{self, Read as _};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use flate2::read::MultiGzDecoder;

/// The largest file or document after unpacking, in bytes.
pub const LARGEST: u64 = 64 << 20;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a content cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The text is not base64.
    #[error("the content is not base64: {0}")]
    Base64(base64::DecodeError),
    /// The bytes are not gzip.
    #[error("the content is not gzip: {0}")]
    Gzip(io::Error),
    /// It is too large.
    #[error("the content unpacks to more than {LARGEST} bytes, expected at most that")]
    TooLarge,
    /// The encoding is unknown.
    #[error("unknown encoding {0:?}")]
    Unknown(String),
}

/// Unpacks a content: first the base64 of its tag, then its encoding, where `gzip+base64` is read from the right.
///
/// # Errors
/// When it does not match its encoding, or is too large.
pub(crate) fn decode(
    text: &str,
    binary: bool,
    encoding: Option<&str>,
) -> Result<Vec<u8>, DecodeError> {
    let bytes = if binary {
        base64(text.as_bytes())?
    } else {
        text.as_bytes().to_vec()
    };
    unpack(bytes, encoding)
}

/// Unpacks bytes by their encoding, where `gzip+base64` is read from the right.
///
/// # Errors
/// As [`decode`].
pub(crate) fn unpack(bytes: Vec<u8>, encoding: Option<&str>) -> Result<Vec<u8>, DecodeError> {
    match encoding {
        None | Some("") => Ok(bytes),
        Some("b64" | "base64") => base64(&bytes),
        Some("gz" | "gzip") => gunzip(&bytes),
        Some("gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64") => gunzip(&base64(&bytes)?),
        Some(other) => Err(DecodeError::Unknown(other.into())),
    }
}

/// Decodes base64, with or without line breaks.
pub(crate) fn base64(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let solid: Vec<u8> = text
        .iter()
        .copied()
        .filter(|b| !b.is_ascii_whitespace())
        .collect();
    BASE64.decode(solid).map_err(DecodeError::Base64)
}

/// Unpacks gzip, [`LARGEST`] bytes at most.
pub(crate) fn gunzip(packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed)
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(DecodeError::Gzip)?;
    if bytes.len() as u64 > LARGEST {
        return Err(DecodeError::TooLarge);
    }
    Ok(bytes)
}
