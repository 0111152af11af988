//! What a page has for a test: commands, what they print, and what happens meanwhile.
//!
//! A block ```` ```sh run=TEST ```` is commands, a line each. Its first line may be `# on NODE`; else they run on a machine without an
//! agent. `# exit N` at the end of a line says that the command fails so. A block ```` ```text ```` below it is what the commands
//! print, in these words: any spaces are as good as others; `…` stands for anything, on a line of its own for any lines; times may
//! be others, and durations that pass. A comment `<!-- test: … -->` says what happens meanwhile: see [`super::stage::Stage::does`].

/// A part of the page that is done, with its line.
#[derive(Debug)]
pub(super) enum Part {
    /// Something happens to the nodes.
    Happens(usize, String),
    /// Commands are run, and print this.
    Commands {
        line: usize,
        commands: Vec<String>,
        prints: Option<Vec<String>>,
    },
}

/// What a test of this name has to do, in the order of the page.
pub(super) fn parts(page: &str, test: &str) -> Vec<Part> {
    let own = format!("sh run={test}");
    let mut parts = Vec::new();
    let mut own_before = false;
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let happens = line.strip_prefix("<!-- test: ");
        if let Some(happens) = happens.and_then(|happens| happens.strip_suffix(" -->")) {
            parts.push(Part::Happens(number + 1, happens.to_owned()));
        }
        let Some(kind) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        // What a block prints stands below it, before another block.
        let ran = std::mem::replace(&mut own_before, kind == own);
        let block = lines.by_ref().map(|(_, line)| line.to_owned());
        let block: Vec<String> = block.take_while(|line| line.trim() != "```").collect();
        match (kind, parts.last_mut()) {
            (kind, _) if kind == own => parts.push(Part::Commands {
                line: number + 1,
                commands: block,
                prints: None,
            }),
            ("text", Some(Part::Commands { prints, .. })) if ran && prints.is_none() => {
                *prints = Some(block);
            }
            ("text", _) => panic!("line {}: nothing was run that prints this", number + 1),
            _ => {}
        }
    }
    parts
}

/// The words of a line, in which what differs from run to run is the same.
fn words(line: &str) -> Vec<String> {
    let all: Vec<&str> = line.split_whitespace().collect();
    let of = |text: &str, signs: &str| {
        text.chars()
            .all(|c| c.is_ascii_digit() || signs.contains(c))
    };
    let neighbour = |at: Option<usize>, is: &[&str]| {
        let word = at.and_then(|at| all.get(at));
        word.is_some_and(|word| is.contains(&word.trim_end_matches([')', ',', ';'])))
    };
    let word = |(at, word): (usize, &&str)| {
        let bare = word.trim_matches(['(', ')', ',', ';', '.', ':']);
        let passes =
            neighbour(Some(at + 1), &["ago", "left"]) || neighbour(at.checked_sub(1), &["in"]);
        if bare.len() == 10 && bare.matches('-').count() == 2 && of(bare, "-") {
            word.replace(bare, "DATE")
        } else if bare.len() == 8 && bare.matches(':').count() == 2 && of(bare, ":") {
            word.replace(bare, "TIME")
        } else if passes && bare.starts_with(|c: char| c.is_ascii_digit()) && of(bare, "dhms") {
            word.replace(bare, "DURATION")
        } else {
            (*word).to_owned()
        }
    };
    all.iter().enumerate().map(word).collect()
}

/// Whether `found` is as `said`, in which an element that `is_rest` stands for any number.
fn is_as<T>(
    said: &[T],
    found: &[T],
    is_rest: &impl Fn(&T) -> bool,
    same: &impl Fn(&T, &T) -> bool,
) -> bool {
    match said.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if is_rest(first) => {
            (0..=found.len()).any(|skipped| is_as(rest, &found[skipped..], is_rest, same))
        }
        Some((first, rest)) => {
            let own = found.split_first();
            own.is_some_and(|(own, others)| same(first, own) && is_as(rest, others, is_rest, same))
        }
    }
}

fn word_is_as(said: &str, found: &str) -> bool {
    match said.split_once('…') {
        Some((before, after)) => {
            let rest = found.strip_prefix(before);
            rest.is_some_and(|rest| rest.ends_with(after))
        }
        None => said == found,
    }
}

fn line_is_as(said: &[String], found: &[String]) -> bool {
    is_as(said, found, &|word| word == "…", &|said, found| {
        word_is_as(said, found)
    })
}

pub(super) fn prints(said: &[String], found: &str) -> bool {
    let lines = |text: &mut dyn Iterator<Item = &str>| {
        let words = text.map(words);
        words.filter(|words| !words.is_empty()).collect::<Vec<_>>()
    };
    let said = lines(&mut said.iter().map(String::as_str));
    let found = lines(&mut found.lines());
    is_as(&said, &found, &|line| *line == ["…"], &|said, found| {
        line_is_as(said, found)
    })
}

#[test]
fn what_a_page_says_is_compared_but_for_what_passes() {
    let says = |said: &str, found: &str| {
        let said: Vec<String> = said.lines().map(str::to_owned).collect();
        prints(&said, found)
    };
    assert!(says(
        "Max: 2 (20% of 10 members)",
        "Max:  2 (20% of 10 members)\n"
    ));
    assert!(!says(
        "Max: 2 (20% of 10 members)",
        "Max: 1 (20% of 9 members)\n"
    ));
    assert!(!says("Soak: 1h", "Soak: 2h"), "a length is compared");
    assert!(says(
        "soaks until 2026-11-30 15:05:12 UTC (59m58s left)",
        "soaks until 2031-01-02 03:04:05 UTC (1h left)"
    ));
    assert!(says("a\n…\nd", "a\nb\nc\nd") && says("a\n…\nd", "a\nd") && !says("a\n…\nd", "a\nb"));
    assert!(says(
        "node 01… says … now",
        "node 0123ab says this and that now"
    ));
    assert!(!says("a", "a\nb") && !says("a\nb", "a"));
}
