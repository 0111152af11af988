//! What was said on a system: its journal, its console.

use std::fs;

use pointsman_testbed::process::run;

use super::{Container, PATIENCE};

impl Container {
    /// The journal of a unit, over all boots.
    pub async fn journal(&self, unit: &str) -> String {
        let folder = self.path("var/log/journal").display().to_string();
        let args = [
            "--no-pager",
            "--output=short-iso",
            "--directory",
            &folder,
            "--unit",
            unit,
        ];
        run("journalctl", args, &[], PATIENCE).await.stdout
    }

    /// The last that was said on it.
    pub(super) fn tail(&self) -> String {
        let end = |text: String, lines: usize| {
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        };
        let journal = std::process::Command::new("journalctl")
            .args([
                "--no-pager",
                "--lines=60",
                "--unit=pointsman",
                "--unit=update-engine",
            ])
            .arg("--directory")
            .arg(self.path("var/log/journal"))
            .output()
            .map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
        let console = fs::read(&self.0.log).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        format!(
            "--- console of {}\n{}\n--- journal\n{}",
            self.name(),
            end(console, 15),
            journal.unwrap_or_default()
        )
    }

    /// Shows what was said on it last, when the test fails.
    pub(crate) fn tell(&self) {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", self.tail());
    }
}
