//! What the documents say is so: ARCHITECTURE.md and CONTRIBUTING.md of the source; `pages`, `commands` and `tests_named`: all
//! pages, of each other, of the program and of its tests.

mod commands;
mod pages;
mod tests_named;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The pages that name places in the source.
const PAGES: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// Folders at the top: what begins with one of them is a path.
const FOLDERS: [&str; 14] = [
    ".ci",
    ".github",
    "benches",
    "cloud-config",
    "containers",
    "crates",
    "docs",
    "fuzz",
    "packaging",
    "proptest-regressions",
    "src",
    "systemd",
    "tests",
    "vagrant",
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = top().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a page has in backticks, blocks of code left out.
fn quoted(page: &str) -> Vec<String> {
    let text: Vec<&str> = page.split("```").step_by(2).collect();
    let parts = text
        .iter()
        .flat_map(|text| text.split('`').skip(1).step_by(2));
    parts.map(|part| part.replace('\n', " ")).collect()
}

/// The path and the name in it that a quoted text stands for, where it is one.
fn place(quoted: &str) -> Option<(&str, Option<&str>)> {
    let (path, name) = match quoted.split_once(':') {
        Some((path, name)) => (path, Some(name)),
        None => (quoted, None),
    };
    let folder = path
        .split_once('/')
        .is_some_and(|(first, _)| FOLDERS.contains(&first));
    let file = !path.contains('/')
        && [".md", ".toml", ".lock"]
            .iter()
            .any(|end| path.ends_with(end));
    let file = file || path == "Makefile";
    // `Cargo.toml: …` is a sentence.
    let is_place = !quoted.contains([' ', '*', '<', '…']) && (folder || file);
    is_place.then_some((path, name))
}

/// Whether the source defines something of this name.
fn defines(source: &str, name: &str) -> bool {
    let kinds = [
        "fn", "struct", "enum", "trait", "const", "static", "type", "mod",
    ];
    kinds.iter().any(|kind| {
        let definition = format!("{kind} {name}");
        let mut at = source.match_indices(&definition);
        at.any(|(index, _)| {
            let before = source[..index].chars().next_back();
            let after = source[index + definition.len()..].chars().next();
            before.is_none_or(char::is_whitespace)
                && after.is_some_and(|c| !c.is_alphanumeric() && c != '_')
        })
    })
}

#[test]
fn every_place_that_a_page_names_is_there() {
    let mut missing = Vec::new();
    for page in PAGES {
        let text = read(page);
        let quoted = quoted(&text);
        let places: Vec<_> = quoted.iter().filter_map(|quoted| place(quoted)).collect();
        assert!(places.len() > 20, "{page} names {} places", places.len());
        for (path, name) in places {
            match name {
                _ if !top().join(path).exists() => missing.push(format!("{page}: {path}")),
                Some(name) if !defines(&read(path), name) => {
                    missing.push(format!("{page}: {path} defines no {name}"));
                }
                _ => {}
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_command_for_tests_runs_some() {
    let packages: BTreeMap<String, PathBuf> = manifests()
        .into_iter()
        .map(|(folder, manifest)| (package(&manifest).to_owned(), folder))
        .collect();
    let mut checked = 0;
    for page in PAGES {
        for command in quoted(&read(page)) {
            let Some(arguments) = command.strip_prefix("cargo test -p ") else {
                continue;
            };
            let words: Vec<&str> = arguments.split(' ').collect();
            let folder = packages.get(words[0]);
            let folder = folder.unwrap_or_else(|| panic!("{page}: no package {}", words[0]));
            let below = match words[1] {
                "--lib" => folder.join("src"),
                "--test" => folder.join("tests").join(words[2]),
                other => panic!("{page}: {other} in {command}"),
            };
            let filter = command.split_once(" -- ").map_or("", |(_, filter)| filter);
            if filter == "NAME" {
                continue;
            }
            let has_tests = |path: &PathBuf| {
                let module = path.strip_prefix(&below).unwrap().with_extension("");
                let module = module.to_string_lossy().replace('/', "::") + "::";
                let text = fs::read_to_string(path).unwrap();
                module.contains(filter)
                    && (text.contains("#[test]") || text.contains("#[tokio::test"))
            };
            assert!(
                files(&below, "rs").iter().any(has_tests),
                "{page}: {command}"
            );
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

/// The manifests of the packages that the program is made of: their folders and texts.
fn manifests() -> Vec<(PathBuf, String)> {
    let crates = fs::read_dir(top().join("crates")).unwrap();
    let crates = crates.map(|entry| entry.unwrap().path());
    crates
        .chain([top().to_owned()])
        .map(|folder| {
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            (folder, manifest)
        })
        .collect()
}

fn package(manifest: &str) -> &str {
    let (_, package) = manifest.split_once("[package]\nname = \"").unwrap();
    package.split('"').next().unwrap()
}

#[test]
fn the_crates_depend_on_each_other_as_the_page_says() {
    let page = read("ARCHITECTURE.md");
    let (_, table) = page.split_once("| crate | depends on |").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let said: BTreeMap<String, Vec<String>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            (quoted(cells[1]).remove(0), quoted(cells[2]))
        })
        .collect();
    let mut found = BTreeMap::new();
    for (_, manifest) in manifests() {
        let name = package(&manifest);
        let name = name
            .strip_prefix("pointsman-")
            .unwrap_or(name)
            .replace('-', "_");
        let (_, dependencies) = manifest.split_once("\n[dependencies]\n").unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        let mut ours: Vec<String> = dependencies
            .lines()
            .filter_map(|line| line.strip_suffix(".workspace = true"))
            .filter(|name| said.contains_key(*name))
            .map(str::to_owned)
            .collect();
        ours.sort();
        found.insert(name, ours);
    }
    assert_eq!(said, found, "left: ARCHITECTURE.md, right: Cargo.toml");
}

/// The files of this kind in a folder and below.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|end| end == ending) {
            found.push(path);
        }
    }
    found
}

/// The sources below these places (files or folders), without their tests.
fn sources(places: &[&str]) -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for place in places.iter().map(|place| top().join(place)) {
        match place.is_dir() {
            true => all.extend(files(&place, "rs")),
            false => all.push(place),
        }
    }
    let tests = |path: &Path| {
        path.iter()
            .any(|part| part == "tests" || part == "tests.rs")
    };
    all.retain(|path| !tests(path.strip_prefix(top()).unwrap()));
    assert!(!all.is_empty());
    let text = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next();
        code.unwrap_or_default().to_owned()
    };
    all.into_iter()
        .map(|path| (path.clone(), text(&path)))
        .collect()
}

/// None of these words stands in any of these sources, comments aside.
fn nowhere(words: &[&str], sources: &[(PathBuf, String)]) {
    for (path, text) in sources {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let word = words.iter().find(|word| code.contains(**word));
            assert_eq!(word, None, "{}:{}", path.display(), number + 1);
        }
    }
}

#[test]
fn what_decides_does_no_io() {
    let pure = sources(&[
        "src/agent/machine",
        "src/agent/gate.rs",
        "src/agent/restage.rs",
        "src/agent/situation.rs",
        "src/agent/health.rs",
        "crates/semaphore/src/queue.rs",
        "crates/semaphore/src/gates.rs",
        "crates/semaphore/src/commit.rs",
        "crates/semaphore/src/lenient.rs",
        "crates/semaphore/src/document.rs",
        "crates/semaphore/src/store.rs",
        "crates/semaphore/src/poller.rs",
        "crates/semaphore/src/fleet_lock/answer.rs",
        "src/serve/protocol.rs",
        "crates/slots/src/select.rs",
    ]);
    let io = [
        "async ",
        ".await",
        "std::fs",
        "std::io",
        "std::net",
        "std::env",
        "tokio",
        "Instant",
        "SystemTime",
        "::now(",
        "tracing",
    ];
    nowhere(&io, &pure);
}

#[test]
fn only_the_semaphores_store_writes_to_etcd() {
    let mut others = sources(&["src", "crates"]);
    let store = top().join("crates/semaphore/src/etcd");
    others.retain(|(path, _)| !path.starts_with(&store) && !path.ends_with("src/documents.rs"));
    nowhere(
        &["TxnOp", "PutOptions", "DeleteOptions", "LeaseGrantOptions"],
        &others,
    );
}

#[test]
fn the_agent_does_not_use_cloud_config() {
    nowhere(&["cloud_config::"], &sources(&["src/agent"]));
}

/// Tests that run two versions side by side build the release before from this commit.
#[test]
fn the_release_before_is_a_commit_that_closed_it() {
    let file = read("tests/release-before");
    let line = file.lines().find(|line| !line.starts_with('#'));
    let (version, commit) = line.and_then(|line| line.split_once(' ')).unwrap();
    let hexadecimal = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(commit.len() == 40 && hexadecimal, "{commit}");
    let heading = |changelog: &str| changelog.contains(&format!("\n## [{version}] - "));
    assert!(
        heading(&read("CHANGELOG.md")),
        "CHANGELOG.md closes {version}"
    );
    let git = |args: &[&str]| {
        let git = std::process::Command::new("git")
            .current_dir(top())
            .args(args)
            .output();
        git.ok()
            .filter(|done| done.status.success())
            .map(|done| String::from_utf8(done.stdout).unwrap())
    };
    // A source archive and a shallow clone have no history.
    if git(&["rev-parse", "--is-shallow-repository"]).as_deref() == Some("false\n") {
        let then = git(&["show", &format!("{commit}:CHANGELOG.md")]);
        assert!(
            then.is_some_and(|then| heading(&then)),
            "{commit} closes {version}"
        );
    }
}
