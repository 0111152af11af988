//! `write_files`: files to write.

use std::collections::HashMap;

use yaml::Span;

use crate::{
    check::{Content, Item},
    content::{self, DecodeError},
    diagnostic::Level,
    report::Report,
    schema::{self, Form, Key, Kind, Mapping, normal},
    section::{CheckContext, PlanContext, PlanError, Section},
    steps::{NewContent, NewFile, NewGroup, NewOwner, Steps},
    substitute,
    values::{Fields, Text, items, text},
};

/// The files to write.
#[derive(Debug, Default)]
pub(crate) struct WriteFiles(pub(crate) Vec<File>);

/// A file to write.
#[derive(Debug)]
pub(crate) struct File {
    /// Its index in the list, skipped items counted.
    index: usize,
    span: Span,
    path: Option<Text>,
    content: Option<Text>,
    /// Neither content nor source is given, not even a wrong one.
    bare: bool,
    /// The content is base64 by its tag, before any encoding.
    binary: bool,
    owner: Option<Text>,
    permissions: Option<Text>,
    encoding: Option<Text>,
    append: bool,
    source: Option<Text>,
    sha256: Option<Text>,
}

const FILE: Mapping = Mapping {
    elsewhere: &[
        ("mode", "it is called permissions"),
        ("filename", "it is called path"),
        (
            "defer",
            "cloud-init's; here files are written after the users are created",
        ),
    ],
    ..Mapping::of(&[
        Key::text("path", Form::File, "Path of the file, absolute.").required(),
        Key::text(
            "content",
            Form::Content,
            "Content: text, or packed as encoding says.",
        )
        .empty(),
        Key::text(
            "owner",
            Form::Owner,
            "user, user:group, :group, or user: for the user's own group; root:root by default.",
        ),
        Key::text(
            "permissions",
            Form::Permissions,
            "Mode in octal, quoted or not; 0644 by default.",
        ),
        Key::text(
            "encoding",
            Form::OneOf(&ENCODINGS),
            "How the content is packed.",
        ),
        Key::bool(
            "append",
            "Add content to the end of the file, once, instead of replacing it.",
        ),
        Key::text(
            "source",
            Form::Url,
            "URL from which the content is fetched instead; give sha256 as well.",
        ),
        Key::text(
            "sha256",
            Form::Sha256,
            "SHA-256 that the fetched bytes must have, in hexadecimal.",
        ),
    ])
};

const ENCODINGS: [&str; 8] = [
    "b64",
    "base64",
    "gz",
    "gzip",
    "gz+b64",
    "gz+base64",
    "gzip+b64",
    "gzip+base64",
];

impl Section for WriteFiles {
    const KEY: Key = Key::new(
        "write_files",
        Kind::List(&Kind::Mapping(&FILE)),
        "Files to write.",
    );

    fn read(item: Item) -> Self {
        Self(items(item).map(File::read).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn check(&self, _context: &CheckContext<'_>, report: &mut Report) {
        let mut seen: HashMap<String, (u64, bool)> = HashMap::new();
        for file in &self.0 {
            let at = |key: &str| format!("write_files[{}].{key}", file.index);
            check_content(file, &at, report);
            check_source(file, &at, report);
            let Some(path) = &file.path else { continue };
            if substitute::mentions(&path.text) {
                continue;
            }
            let place = (path.span.place.line, file.append);
            let earlier = seen.insert(normal(&path.text), place);
            if let Some((line, _)) = earlier
                && !file.append
            {
                let message =
                    format!("this file is also written on line {line}; the later one wins");
                report.add(Level::Warning, path.span, at("path"), message);
            }
        }
        for file in &self.0 {
            let Some(path) = &file.path else { continue };
            let whole = normal(&path.text);
            let parents = whole.match_indices('/').filter(|(end, _)| *end > 0);
            for (end, _) in parents {
                if let Some((line, _)) = seen.get(&whole[..end]) {
                    let message = format!(
                        "{} is a file on line {line}, so it cannot be a directory",
                        &whole[..end]
                    );
                    report.add(
                        Level::Error,
                        path.span,
                        format!("write_files[{}].path", file.index),
                        message,
                    );
                }
            }
        }
    }

    fn plan(self, _context: &PlanContext<'_>, steps: &mut Steps) -> Result<(), PlanError> {
        for file in self.0 {
            if let Some(file) = file.planned()? {
                steps.write(file);
            }
        }
        Ok(())
    }
}

fn check_content(file: &File, at: &dyn Fn(&str) -> String, report: &mut Report) {
    let Some(content) = &file.content else {
        if file.bare {
            let message = "without content and source the file will be empty";
            report.add(
                Level::Info,
                file.span,
                at("path").trim_end_matches(".path"),
                message,
            );
        }
        return;
    };
    // Text needs no unpacking; an unknown encoding has been reported.
    let encoded = file.encoding.is_some() || file.binary;
    if let Err(error) = if encoded {
        file.bytes()
    } else {
        Ok(Vec::new())
    } && !matches!(error, crate::DecodeError::Unknown(_))
    {
        report.original(Level::Error, content.span, at("content"), error.to_string());
    }
}

fn check_source(file: &File, at: &dyn Fn(&str) -> String, report: &mut Report) {
    match (&file.source, &file.sha256) {
        (None, Some(hash)) => {
            let message = "sha256 has no effect without source";
            report.add(Level::Warning, hash.span, at("sha256"), message);
        }
        (Some(source), None) => {
            let message = "without sha256 the content of the file is not checked";
            report.add(Level::Warning, source.span, at("source"), message);
        }
        _ => {}
    }
    if let (Some(source), Some(_)) = (&file.source, &file.content) {
        let message = "found both content and source, expected one of them";
        report.add(Level::Error, source.span, at("source"), message);
    }
}

impl File {
    fn read(item: Item) -> Self {
        let (span, index) = (item.span, item.index);
        let mut fields = Fields::of(item);
        let bare = !fields.has("content") && !fields.has("source");
        let content = fields.item("content");
        let is_binary = |item: &Item| matches!(item.content, Content::Text { binary: true, .. });
        Self {
            index,
            span,
            bare,
            path: fields.text("path"),
            binary: content.as_ref().is_some_and(is_binary),
            content: content.and_then(text),
            owner: fields.text("owner"),
            permissions: fields.text("permissions"),
            encoding: fields.text("encoding"),
            append: fields.flag("append"),
            source: fields.text("source"),
            sha256: fields.text("sha256"),
        }
    }

    /// Unpacks its bytes; a file without content has none.
    ///
    /// # Errors
    /// When the content is not what its encoding says, or larger than a file may be.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, DecodeError> {
        let Some(Text { text, .. }) = &self.content else {
            return Ok(Vec::new());
        };
        let encoding = self.encoding.as_ref();
        content::decode(
            text,
            self.binary,
            encoding.map(|encoding| encoding.text.as_str()),
        )
    }

    /// Takes its bytes. Plain text is not copied.
    fn take_bytes(&mut self) -> Result<Vec<u8>, DecodeError> {
        let plain = !self.binary && self.encoding.is_none();
        match self.content.take_if(|_| plain) {
            Some(content) => Ok(content.text.into_bytes()),
            None => self.bytes(),
        }
    }

    /// Its mode; 0644 where none is given.
    pub(crate) fn mode(&self) -> u32 {
        let given = self.permissions.as_ref();
        given
            .and_then(|text| schema::mode(&text.text))
            .unwrap_or(0o644)
    }

    fn planned(mut self) -> Result<Option<NewFile>, PlanError> {
        let file = &mut self;
        let Some(path) = &file.path else {
            return Ok(None);
        };
        let path = normal(&path.text);
        let mode = file.mode();
        let content = match &file.source {
            Some(source) => NewContent::Fetch {
                url: source.text.clone(),
                sha256: file
                    .sha256
                    .as_ref()
                    .map(|hash| hash.text.to_ascii_lowercase()),
                append: file.append,
                encoding: file.encoding.as_ref().map(|encoding| encoding.text.clone()),
            },
            None => match (file.take_bytes(), file.append) {
                (Ok(bytes), false) => NewContent::Bytes(bytes),
                (Ok(bytes), true) => NewContent::Append(bytes),
                (Err(error), _) => return Err(PlanError { path, error }),
            },
        };
        let owner = file
            .owner
            .as_ref()
            .map(|owner| self::owner(&owner.text))
            .unwrap_or_default();
        Ok(Some(NewFile {
            path,
            mode,
            owner,
            content,
        }))
    }
}

/// Reads an owner as chown(1) does.
fn owner(text: &str) -> NewOwner {
    let (user, group) = match text.split_once(':') {
        None => (text, NewGroup::Root),
        Some(("", "")) => ("", NewGroup::Root),
        Some((user, "")) => (user, NewGroup::Login),
        Some((user, group)) => (user, NewGroup::Named(group.to_owned())),
    };
    NewOwner {
        user: (!user.is_empty()).then(|| user.to_owned()),
        group,
    }
}
