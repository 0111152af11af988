//! What is logged of a fault of the program itself.

use std::process::Command;

const NAME: &str = "a_panic_is_logged_on_one_line_with_its_message_and_place";

#[test]
fn a_panic_is_logged_on_one_line_with_its_message_and_place() {
    if std::env::var_os("HAS_A_FAULT").is_some() {
        host::telemetry::init("warn");
        panic!("the\nimpossible");
    }
    let own = std::env::current_exe().expect("a test has a program");
    let ended = Command::new(own)
        .args(["--exact", NAME, "--nocapture"])
        .env("HAS_A_FAULT", "1")
        .output()
        .expect("it can be run again");
    assert!(!ended.status.success());
    let said = String::from_utf8(ended.stderr).expect("UTF-8");
    let line = said.lines().find(|line| line.contains("ERROR"));
    let line = line.unwrap_or_else(|| panic!("no error: {said}"));
    for words in ["the\\nimpossible", "tests/panic.rs:"] {
        assert!(line.contains(words), "{line}");
    }
}
