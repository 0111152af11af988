//! The blocks of code in a Markdown page.
//!
//! A block of commands says in its first line which test runs it, or why none does: ```` ```sh run=NAME ````,
//! ```` ```sh not-run="needs Flatcar" ````.

/// A block between two lines of backticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The line of its first backticks, counted from 1.
    pub line: usize,
    /// The first word after them, such as `sh`; empty where there is none.
    pub language: String,
    /// The test that runs it.
    pub run: Option<String>,
    /// Why no test runs or reads it.
    pub not_run: Option<String>,
    /// Its lines, without the indentation of the backticks.
    pub lines: Vec<String>,
}

impl Block {
    /// Its lines as one text.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// The blocks of a page, in its order.
///
/// # Panics
///
/// If a block has no end, or its first line has marks other than `run=NAME` or `not-run="REASON"`.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let fence = line.trim_start();
        let Some(info) = fence.strip_prefix("```") else {
            continue;
        };
        let line_number = number + 1;
        let indent = line.len() - fence.len();
        let (language, marks) = info.split_once(' ').unwrap_or((info, ""));
        let mut block = Block {
            line: line_number,
            language: language.to_owned(),
            run: None,
            not_run: None,
            lines: Vec::new(),
        };
        let reason = marks
            .strip_prefix("not-run=\"")
            .and_then(|reason| reason.strip_suffix('"'));
        match (marks.strip_prefix("run="), reason) {
            (Some(test), _) if !test.contains(' ') => block.run = Some(test.to_owned()),
            (_, Some(reason)) => block.not_run = Some(reason.to_owned()),
            _ => assert!(
                marks.is_empty(),
                "line {line_number}: found {marks}, expected run=NAME or not-run=\"REASON\""
            ),
        }
        loop {
            let (_, line) = lines
                .next()
                .unwrap_or_else(|| panic!("line {line_number}: the block has no end"));
            if line.trim() == "```" {
                break;
            }
            let own = line.get(..indent).filter(|start| start.trim().is_empty());
            let text = own.map_or(line.trim_start(), |_| &line[indent..]);
            block.lines.push(text.to_owned());
        }
        found.push(block);
    }
    found
}

/// The commands that a test of this name runs, in the order of the page: one text for each block, with its line.
pub fn commands(page: &str, test: &str) -> Vec<(usize, String)> {
    let own = |block: &Block| block.run.as_deref() == Some(test);
    let blocks = blocks(page).into_iter().filter(own);
    blocks.map(|block| (block.line, block.text())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_marks_and_lose_their_indentation() {
        let page = "a\n```sh run=some_test\none\n\n  two\n```\n\n- b\n\n  ```text not-run=\"a b\"\n  $ c\n  ```\n";
        let found = blocks(page);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].text(), "one\n\n  two\n");
        assert_eq!(
            (found[0].line, found[0].run.as_deref(), &*found[0].language),
            (2, Some("some_test"), "sh")
        );
        assert_eq!(
            (found[1].line, found[1].not_run.as_deref()),
            (10, Some("a b"))
        );
        assert_eq!(found[1].text(), "$ c\n");
        assert_eq!(
            commands(page, "some_test"),
            [(2, "one\n\n  two\n".to_owned())]
        );
        assert!(commands(page, "another").is_empty());
    }

    #[test]
    #[should_panic(expected = "line 1: found ran=x")]
    fn other_marks_are_refused() {
        blocks("```sh ran=x\n```\n");
    }

    #[test]
    #[should_panic(expected = "line 1: the block has no end")]
    fn a_block_without_an_end_is_refused() {
        blocks("```sh\na\n");
    }
}
