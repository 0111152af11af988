//! The pages hang together: every page is in the book's summary, every link leads somewhere, and every block of commands is
//! run by a test or says why not.

use std::{collections::BTreeSet, path::PathBuf};

use pointsman_testbed::pages::{Block, blocks};

use super::{files, read, top};

/// Languages of blocks that are no commands.
const OTHER_LANGUAGES: [&str; 6] = ["text", "json", "yaml", "toml", "ini", "mermaid"];

/// All pages, relative to the top.
pub(super) fn pages() -> Vec<PathBuf> {
    let at_the_top = std::fs::read_dir(top()).unwrap();
    let at_the_top = at_the_top.map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = at_the_top
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .chain(files(&top().join("docs"), "md"))
        .map(|path| path.strip_prefix(top()).unwrap().to_owned())
        .collect();
    pages.sort();
    assert!(pages.len() > 20, "{pages:?}");
    pages
}

/// The lines of a page outside its blocks of code, with their numbers.
pub(super) fn prose(page: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (number, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            lines.push((number + 1, line));
        }
    }
    lines
}

/// The targets of the links in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let after = line.split("](").skip(1);
    after
        .filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
        .filter(|link| !link.contains("://") && !link.contains(' '))
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in prose(page) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let anchor: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || "-_".contains(c) => Some(c),
                _ => None,
            })
            .collect();
        let mut unique = anchor.clone();
        for number in 1.. {
            if found.insert(unique) {
                break;
            }
            unique = format!("{anchor}-{number}");
        }
    }
    found
}

#[test]
fn a_link_leads_to_a_file_and_a_heading() {
    let mut faults = Vec::new();
    for page in pages() {
        let text = read(&page);
        for (line, link) in prose(&text)
            .into_iter()
            .flat_map(|(number, line)| links(line).map(move |link| (number, link)))
        {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.with_file_name("").join(file),
            };
            let there = top().join(&target);
            let leads = there.exists()
                && (anchor.is_empty()
                    || there.is_file() && anchors(&read(&target)).contains(anchor));
            if !leads {
                faults.push(format!("{}:{line}: {link}", page.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_page_is_in_the_summary_once() {
    let summary = read("docs/SUMMARY.md");
    let mut listed: Vec<PathBuf> = summary
        .lines()
        .flat_map(links)
        .map(|link| match link.strip_prefix("../") {
            Some(at_the_top) => at_the_top.into(),
            None => PathBuf::from("docs").join(link),
        })
        .collect();
    listed.sort();
    let mut pages = pages();
    pages.retain(|page| !page.ends_with("SUMMARY.md"));
    assert_eq!(listed, pages, "left: docs/SUMMARY.md, right: what is there");
}

/// Whether there is a test of this name that reads this page, and asks for the blocks that are marked with its name.
fn is_a_test_of(sources: &[(PathBuf, String)], name: &str, page: &str) -> bool {
    let function = format!("fn {name}()");
    sources.iter().any(|(_, text)| {
        let before = text.split(&function).next().unwrap_or_default();
        let attribute = before.trim_end_matches("async ").trim_end();
        before.len() < text.len()
            && attribute.ends_with(']')
            && attribute
                .rsplit("\n#[")
                .next()
                .is_some_and(|attribute| attribute.contains("test"))
            && text.contains(page)
            && text.contains(&format!("{name:?}"))
    })
}

#[test]
fn every_block_of_commands_is_run_by_a_test_or_says_why_not() {
    let tests: Vec<(PathBuf, String)> = files(&top().join("tests"), "rs")
        .into_iter()
        .chain(files(&top().join("src"), "rs"))
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect();
    let mut faults = Vec::new();
    let (mut run, mut not_run) = (0, 0);
    for page in pages() {
        let name = page.to_str().unwrap();
        for block in blocks(&read(&page)) {
            let prompts = || block.lines.iter().any(|line| line.starts_with("$ "));
            let fault = match (&*block.language, &block.run, &block.not_run) {
                ("sh", Some(test), _) if is_a_test_of(&tests, test, name) => {
                    run += 1;
                    continue;
                }
                ("sh", Some(test), _) => format!("no test {test} reads this page"),
                ("sh" | "text", _, Some(reason)) if !reason.is_empty() => {
                    not_run += 1;
                    continue;
                }
                ("sh", ..) => "expected run=TEST or not-run=\"REASON\"".to_owned(),
                ("text", ..) if prompts() => {
                    "commands with their output: expected not-run=\"REASON\"".to_owned()
                }
                (language, None, _) if OTHER_LANGUAGES.contains(&language) => continue,
                (language, ..) => format!(
                    "found the language {language:?}, expected sh or one of {OTHER_LANGUAGES:?}"
                ),
            };
            faults.push(format!("{name}:{}: {fault}", block.line));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(run > 30 && not_run > 5, "{run}, {not_run}");
}

/// What is wrong with a block of YAML, read as what it is.
fn fault_of(block: &Block) -> Option<String> {
    let text = block.text();
    if text.starts_with("#cloud-config") {
        let addresses = cloud_config::Addresses::default();
        let (unknown, mode) = (cloud_config::Unknown::Info, cloud_config::Mode::Own);
        let reading = cloud_config::read(&text, &addresses, unknown, mode);
        return (!reading.is_sound()).then(|| format!("{:?}", reading.diagnostics));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pointsman.yaml");
    std::fs::write(&file, text).unwrap();
    let sources = settings::Sources {
        root: host::node::Root::new(folder.path()),
        file: Some(file),
        flags: settings::Partial::default(),
        environment: Vec::new().into_iter().collect(),
        defaults: settings::Partial::default(),
        as_the_agent: true,
    };
    sources.load().err().map(|error| error.to_string())
}

#[test]
fn configurations_and_cloud_configs_in_the_pages_can_be_used() {
    let mut faults = Vec::new();
    let mut checked = 0;
    for page in pages() {
        for block in blocks(&read(&page)) {
            if block.language != "yaml" || block.not_run.is_some() {
                continue;
            }
            checked += 1;
            if let Some(fault) = fault_of(&block) {
                faults.push(format!("{}:{}: {fault}", page.display(), block.line));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 3, "{checked}");
}

#[test]
fn anchors_are_as_github_makes_them() {
    let page = "# A b: `c --d`\n```sh\n# no\n```\n## A b: `c --d`\n#!x\n";
    let expected = ["a-b-c---d", "a-b-c---d-1"].map(str::to_owned);
    assert_eq!(anchors(page), BTreeSet::from(expected));
}
