//! Files: what cannot be unpacked, and what is written twice.

use std::collections::HashMap;

use crate::{document::File, finding::Level, report::Report, schema::normal, substitute};

pub(super) fn check(files: &[File], report: &mut Report) {
    let mut seen: HashMap<String, (u64, bool)> = HashMap::new();
    for file in files {
        let at = |key: &str| format!("write_files[{}].{key}", file.index);
        content(file, &at, report);
        source(file, &at, report);
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
                format!("this file is written on line {line} already: the later one wins");
            report.add(Level::Warning, path.span, at("path"), message);
        }
    }
    for file in files {
        let Some(path) = &file.path else { continue };
        let whole = normal(&path.text);
        let parents = whole.match_indices('/').filter(|(end, _)| *end > 0);
        for (end, _) in parents {
            if let Some((line, _)) = seen.get(&whole[..end]) {
                let message = format!(
                    "{} is a file on line {line}, it cannot be a directory as well",
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

fn content(file: &File, at: &dyn Fn(&str) -> String, report: &mut Report) {
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
    // Text is its own bytes; an encoding nobody knows has been named.
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

fn source(file: &File, at: &dyn Fn(&str) -> String, report: &mut Report) {
    match (&file.source, &file.sha256) {
        (None, Some(hash)) => {
            let message = "sha256 belongs to a source, and there is none";
            report.add(Level::Warning, hash.span, at("sha256"), message);
        }
        (Some(source), None) => {
            let message = "without sha256 the file is whatever that server sends";
            report.add(Level::Warning, source.span, at("source"), message);
        }
        _ => {}
    }
    if let (Some(source), Some(_)) = (&file.source, &file.content) {
        let message = "content and source exclude each other, expected one of them";
        report.add(Level::Error, source.span, at("source"), message);
    }
}
