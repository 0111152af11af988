//! User data of all kinds, split into documents and scripts.

use std::borrow::Cow;

use mail_parser::{Encoding, Message, MessageParser, MimeHeaders as _, PartType};

use super::{
    content::{self, DecodeError, LARGEST},
    diagnostic::{Diagnostic, Level},
};

/// The most nested layers of gzip and MIME.
const DEEPEST: usize = 4;

/// The most parts that user data may have.
const MOST_PARTS: usize = 1000;

/// A part of user data, which often has only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its file name, in MIME.
    pub name: Option<String>,
    /// How many lines of the whole text are before it, if the part is not packed.
    pub lines_before: u64,
    /// Its content.
    pub content: PartContent,
}

/// The content of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartContent {
    /// A document.
    CloudConfig(String),
    /// A script, beginning with `#!`.
    Script(Vec<u8>),
    /// Something else, and why it is skipped.
    Skipped(String),
}

impl Part {
    /// Returns the diagnostic about a skipped part.
    #[must_use]
    pub fn skipped(&self) -> Option<Diagnostic> {
        let PartContent::Skipped(why) = &self.content else {
            return None;
        };
        Some(Diagnostic {
            level: Level::Warning,
            line: self.lines_before + 1,
            column: 1,
            path: String::new(),
            message: why.clone(),
            length: 1,
            original: None,
        })
    }
}

/// Why user data cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UserDataError {
    /// It is too large.
    #[error("found more than {LARGEST} bytes of user data, expected at most that")]
    TooLarge,
    /// It cannot be unpacked.
    #[error("the user data cannot be unpacked: {0}")]
    Packed(DecodeError),
    /// It has too many layers.
    #[error("found user data packed more than {DEEPEST} times, expected gzip or MIME once")]
    Deep,
    /// Too many parts.
    #[error("found more than {MOST_PARTS} parts, expected at most that")]
    Parts,
    /// It is for Ignition, which runs before this program.
    #[error(
        "this is a configuration for Ignition, expected a cloud-config: give it to Ignition, \
         as the node's ignition.config.url or its platform's user data, before the first boot"
    )]
    Ignition,
    /// It is multipart, and not well-formed.
    #[error("the MIME text cannot be parsed: {0}")]
    Mime(&'static str),
    /// It has parts, and none of a kind that is applied here.
    #[error("found no part that is applied here, expected a cloud-config or a script: {0}")]
    NoPart(String),
    /// A document that is no text.
    #[error("found bytes that are not UTF-8, expected text in UTF-8")]
    NotText {
        /// The line of the first bad byte.
        line: u64,
        /// The column of the first bad byte.
        column: u64,
    },
    /// It is empty after unpacking.
    #[error("found empty user data, expected a document; an empty document is #cloud-config")]
    Nothing,
    /// It is of an unknown kind.
    #[error(
        "found user data of unknown kind: it begins with {found}, expected #cloud-config or #! as its first line{hint}"
    )]
    Unknown {
        /// The beginning.
        found: String,
        /// What may have been meant.
        hint: &'static str,
    },
    /// Its first line is empty.
    #[error(
        "found user data of unknown kind: it begins with {}, expected #cloud-config or #! as its first line; remove what is \
         before line {line}",
        if *line > 2 { "blank lines" } else { "a blank line" }
    )]
    Blank {
        /// The first line that is not blank.
        line: u64,
    },
    /// A part of a multipart text is wrong.
    #[error("part {number}{}: {error}", name.as_ref().map_or(String::new(), |name| format!(" ({name})")))]
    Part {
        /// Which one, from 1.
        number: usize,
        /// Its file name.
        name: Option<String>,
        /// What is wrong.
        error: Box<Self>,
    },
}

impl UserDataError {
    /// Converts it to a diagnostic.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let (line, column) = match self {
            Self::NotText { line, column } => (*line, *column),
            _ => (1, 1),
        };
        Diagnostic {
            level: Level::Error,
            line,
            column,
            path: String::new(),
            message: self.to_string(),
            length: 1,
            original: Some(Level::Error),
        }
    }

    /// Tells whether a part is only of another kind: for another program, or for people.
    fn is_other_kind(&self) -> bool {
        matches!(
            self,
            Self::Ignition | Self::Unknown { .. } | Self::Blank { .. }
        )
    }
}

/// Tells whether user data is for Ignition alone.
#[must_use]
pub fn is_for_ignition(bytes: &[u8]) -> bool {
    matches!(parts(bytes.to_vec()), Err(UserDataError::Ignition))
}

/// Splits user data into its parts. Empty user data, which a platform may have, has no parts.
///
/// # Errors
/// When no part is of a kind that is applied here, or it is larger than [`LARGEST`] after unpacking.
pub fn parts(bytes: Vec<u8>) -> Result<Vec<Part>, UserDataError> {
    if bytes.len() as u64 > LARGEST {
        return Err(UserDataError::TooLarge);
    }
    let mut reader = Reader {
        parts: Vec::new(),
        unpacked: 0,
        ignition: false,
    };
    let is_empty = bytes.trim_ascii().is_empty();
    reader.read(bytes.into(), None, None, 0, DEEPEST)?;
    let why = reader.parts.iter().filter_map(|part| match &part.content {
        PartContent::Skipped(why) => Some(why.as_str()),
        _ => None,
    });
    let why: Vec<&str> = why.collect();
    match reader.parts.len() - why.len() {
        0 if reader.ignition => Err(UserDataError::Ignition),
        0 if !why.is_empty() => Err(UserDataError::NoPart(why.join("; "))),
        0 if !is_empty => Err(UserDataError::Nothing),
        _ => Ok(reader.parts),
    }
}

struct Reader {
    parts: Vec<Part>,
    unpacked: u64,
    /// One of the parts is for Ignition.
    ignition: bool,
}

impl Reader {
    /// Reads bytes with a MIME type, or without one.
    fn read(
        &mut self,
        bytes: Cow<'_, [u8]>,
        kind: Option<&str>,
        name: Option<String>,
        lines_before: u64,
        layers: usize,
    ) -> Result<(), UserDataError> {
        if self.parts.len() >= MOST_PARTS {
            return Err(UserDataError::Parts);
        }
        let deeper = || layers.checked_sub(1).ok_or(UserDataError::Deep);
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let layers = deeper()?;
            let inner = content::gunzip(&bytes).map_err(UserDataError::Packed)?;
            self.unpacked += inner.len() as u64;
            if self.unpacked > LARGEST {
                return Err(UserDataError::TooLarge);
            }
            let kind = kind.filter(|kind| !kind.contains("gzip"));
            return self.read(inner.into(), kind, name, 0, layers);
        }
        let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
        let first = text
            .split(|b| *b == b'\n')
            .next()
            .unwrap_or_default()
            .trim_ascii_end();
        let content = if text.trim_ascii().is_empty() {
            return Ok(());
        } else if text.starts_with(b"#!") || kind == Some("text/x-shellscript") {
            // Its type is that of a script: the system finds its interpreter, or reports an error.
            PartContent::Script(text.to_vec())
        } else if first == b"#cloud-config" || kind == Some("text/cloud-config") {
            PartContent::CloudConfig(utf8(bytes, lines_before)?)
        } else if is_ignition(text) {
            return Err(UserDataError::Ignition);
        } else if let Some((line, rest)) = mailbox(text) {
            let found = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
            self.parts.push(Part {
                name: None,
                lines_before,
                content: PartContent::Skipped(format!(
                    "found {found:?}, the separator of a mailbox; it is skipped"
                )),
            });
            return self.read(rest.into(), kind, name, lines_before + 1, layers);
        } else if let Some(message) = multipart(text) {
            return self.multipart(&message, text, lines_before, deeper()?);
        } else {
            return Err(unknown(text));
        };
        self.parts.push(Part {
            name,
            lines_before,
            content,
        });
        Ok(())
    }

    fn multipart(
        &mut self,
        message: &Message<'_>,
        raw: &[u8],
        lines_before: u64,
        layers: usize,
    ) -> Result<(), UserDataError> {
        let mut number = 0;
        for part in &message.parts {
            if matches!(part.body, PartType::Multipart(_)) {
                continue;
            }
            number += 1;
            let name = part.attachment_name().map(str::to_owned);
            let kind = part.content_type().and_then(|kind| {
                let subtype = kind.subtype()?;
                Some(format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase())
            });
            // The part is in the text as it is: its lines are those of the text, and no charset was applied.
            let range = part.offset_body as usize..part.offset_end as usize;
            let lines = raw.get(..range.start).unwrap_or_default();
            let lines = lines.iter().filter(|b| **b == b'\n').count();
            let here = lines_before + lines as u64;
            let (bytes, before) = match raw.get(range) {
                Some(verbatim) if part.encoding == Encoding::None => {
                    (Cow::Borrowed(verbatim), here)
                }
                _ => (Cow::Borrowed(part.contents()), 0),
            };
            self.unpacked += bytes.len() as u64;
            if self.unpacked > LARGEST {
                return Err(UserDataError::TooLarge);
            }
            let read = self.read(bytes, kind.as_deref(), name.clone(), before, layers);
            let Err(error) = read else { continue };
            self.ignition |= matches!(error, UserDataError::Ignition);
            let is_other_kind = error.is_other_kind();
            let error = UserDataError::Part {
                number,
                name: name.clone(),
                error: Box::new(error),
            };
            if !is_other_kind {
                return Err(error);
            }
            let kind = kind.map_or_else(String::new, |kind| format!(" of type {kind}"));
            self.parts.push(Part {
                name,
                lines_before: here,
                content: PartContent::Skipped(format!(
                    "part {number}{kind} is skipped: it is neither a cloud-config nor a script"
                )),
            });
        }
        if number == 0 {
            return Err(UserDataError::Mime("found no part, expected at least one"));
        }
        if !ends(message, raw) {
            return Err(UserDataError::Mime(
                "found no end, expected its boundary and two hyphens; the text may be cut off",
            ));
        }
        Ok(())
    }
}

/// Splits off the line that a mailbox has before a mail.
fn mailbox(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|b| *b == b'\n')?;
    let (line, rest) = (&text[..end], &text[end + 1..]);
    let is_mail = line.starts_with(b"From ") && multipart(rest).is_some();
    is_mail.then_some((line.trim_ascii_end(), rest))
}

/// Tells whether the last boundary exists: a text that was cut off has none (RFC 2046, 5.1.1).
fn ends(message: &Message<'_>, raw: &[u8]) -> bool {
    let boundary = message
        .content_type()
        .and_then(|kind| kind.attribute("boundary"));
    boundary.is_some_and(|boundary| {
        let end = format!("--{boundary}--");
        raw.split(|b| *b == b'\n')
            .any(|line| line.trim_ascii_end() == end.as_bytes())
    })
}

/// Decodes the text of a document.
fn utf8(bytes: Cow<'_, [u8]>, lines_before: u64) -> Result<String, UserDataError> {
    String::from_utf8(bytes.into_owned()).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let lines = good.split(|b| *b == b'\n').count() as u64;
        let last = good.rsplit(|b| *b == b'\n').next().unwrap_or_default();
        UserDataError::NotText {
            line: lines_before + lines,
            column: String::from_utf8_lossy(last).chars().count() as u64 + 1,
        }
    })
}

fn is_ignition(text: &[u8]) -> bool {
    if !text.trim_ascii_start().starts_with(b"{") {
        return false;
    }
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(text) else {
        return false;
    };
    json.get("ignitionVersion").is_some() || json.pointer("/ignition/version").is_some()
}

/// Parses a multipart message; none if it is not one.
fn multipart(text: &[u8]) -> Option<Message<'_>> {
    // Only a text that begins like headers is parsed.
    let head = &text[..text.len().min(16 << 10)];
    let first = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let name = first.split(|b| *b == b':').next().unwrap_or_default();
    let is_header = name.len() < first.len()
        && !name.is_empty()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    if !is_header {
        return None;
    }
    let message = MessageParser::new().parse(text)?;
    let root = message.parts.first()?.content_type()?;
    root.ctype()
        .eq_ignore_ascii_case("multipart")
        .then_some(message)
}

fn unknown(text: &[u8]) -> UserDataError {
    let mut lines = text.split(|b| *b == b'\n');
    let blank = lines
        .clone()
        .take_while(|line| line.trim_ascii().is_empty())
        .count();
    if blank > 0 {
        return UserDataError::Blank {
            line: blank as u64 + 1,
        };
    }
    let line = lines.next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
    let lower = line.to_ascii_lowercase();
    let squeezed: String = lower.chars().filter(|c| c.is_alphanumeric()).collect();
    let hint = if squeezed == "cloudconfig" {
        ", without spaces"
    } else if lower.starts_with("#cloud-config") {
        " and nothing else on that line"
    } else if lower.starts_with("#include")
        || lower.starts_with("#cloud-boothook")
        || lower.starts_with("## template")
    {
        "; this kind is for cloud-init and is not applied here"
    } else if lower.starts_with("variant:")
        || lower.starts_with("systemd:")
        || lower.starts_with("storage:")
    {
        "; butane converts a Butane configuration to one for Ignition"
    } else if lower.contains(':') || lower.starts_with("---") {
        "; put it before this line"
    } else {
        ""
    };
    UserDataError::Unknown {
        found: format!("{line:?}"),
        hint,
    }
}
