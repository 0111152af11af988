//! The tests that explanations name: they exist, and each seeded fault has its row in the track record.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    files,
    pages::{pages, prose},
    quoted, read, top,
};

/// Whether this is written as the names of tests are: four words at least, since parameters and variables have fewer.
fn is_a_name(word: &str) -> bool {
    word.split('_').count() >= 4
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn functions() -> BTreeSet<String> {
    let folders = ["tests", "src", "crates"].map(|folder| files(&top().join(folder), "rs"));
    let mut functions = BTreeSet::new();
    for path in folders.into_iter().flatten() {
        let text = std::fs::read_to_string(path).unwrap();
        let names = text.split("fn ").skip(1);
        let names = names.filter_map(|rest| rest.split(['(', '<']).next());
        functions.extend(names.map(str::to_owned));
    }
    functions
}

#[test]
fn tests_that_pages_name_exist() {
    let functions = functions();
    let mut named = 0;
    let mut faults = Vec::new();
    let explanations = pages()
        .into_iter()
        .filter(|page| page.starts_with("docs/explanation"));
    for page in explanations {
        for word in quoted(&read(&page)).iter().filter(|word| is_a_name(word)) {
            named += 1;
            if !functions.contains(word) {
                faults.push(format!("{}: there is no test {word}", page.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(named > 50, "{named}");
}

#[test]
fn each_claim_of_the_threat_model_names_a_test_or_says_why_there_is_none() {
    let page = read("docs/explanation/threat-model.md");
    let claims = page.split("\n- ").skip(1);
    // The last section is of assumptions.
    let claims = claims.take_while(|claim| !claim.starts_with("Root on the node"));
    let mut count = 0;
    for claim in claims {
        count += 1;
        let claim = claim.split("\n\n").next().unwrap_or_default();
        let shown = quoted(claim).iter().any(|word| is_a_name(word));
        let excused =
            claim.replace('\n', " ").contains("No test:") || claim.contains("No\n  test:");
        assert!(shown || excused, "{claim}");
    }
    assert!(count >= 25, "{count}");
}

#[test]
fn each_seeded_fault_is_in_the_track_record_with_its_test() {
    let page = read("docs/explanation/track-record.md");
    let rows: BTreeMap<String, String> = prose(&page)
        .into_iter()
        .filter(|(_, line)| line.starts_with("| `"))
        .map(|(_, line)| {
            let words = quoted(line);
            (words[0].clone(), words[words.len() - 1].clone())
        })
        .collect();
    let seeds: BTreeMap<String, String> = files(&top().join("tests/seeded"), "patch")
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let test = text.lines().find_map(|line| line.strip_prefix("Test: "));
            let filter = test.and_then(|test| test.split(' ').nth(1)).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap();
            (name.to_owned(), filter.to_owned())
        })
        .collect();
    assert_eq!(rows, seeds, "left: the page, right: tests/seeded");
}
