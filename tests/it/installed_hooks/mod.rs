//! The hooks that the package brings, as the agent runs them, against the programs they talk to.

mod alerts;
mod api_server;
mod containers;
mod kubernetes;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use pointsman_testbed::{
    fakes::PATIENCE,
    process::{Child, Output, Spec, run},
    scratch,
};

const HOSTNAME: &str = "node-1";
/// This node's machine id.
const ID: &str = "0123456789abcdef0123456789abcdef";

/// A hook with its configuration and its state.
struct Hook {
    script: PathBuf,
    dir: tempfile::TempDir,
}

impl Hook {
    fn new(name: &str, configuration: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/hooks");
        let hook = Self {
            script: folder.join(name),
            dir: scratch::dir("hook"),
        };
        hook.configure(configuration);
        hook
    }

    fn configure(&self, text: &str) {
        fs::write(self.path("conf"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The variables that it gets in a stage.
    fn variables(&self, stage: &str) -> Vec<(String, String)> {
        let phase = match stage {
            "may-reboot" => "asking",
            "pre-reboot" => "draining",
            _ => "proving",
        };
        let path = |name: &str| self.path(name).display().to_string();
        [
            ("POINTSMAN_NODE", ID.to_owned()),
            ("POINTSMAN_HOSTNAME", HOSTNAME.to_owned()),
            ("POINTSMAN_STAGE", stage.to_owned()),
            ("POINTSMAN_PHASE", phase.to_owned()),
            ("POINTSMAN_REASON", "it's \"2\"".to_owned()),
            ("POINTSMAN_DEADLINE", "1800".to_owned()),
            ("POINTSMAN_HOOK_CONF", path("conf")),
            ("POINTSMAN_HOOK_STATE", path("state")),
            ("HOME", path("home")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    async fn run(&self, stage: &str) -> Output {
        let variables = self.variables(stage);
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        run(&self.script, [""; 0], &variables, PATIENCE).await
    }

    /// Starts it in a stage; for what happens meanwhile.
    fn start(&self, stage: &str) -> Child {
        let variables = self.variables(stage).into_iter();
        let spec = Spec::new(&self.script, self.path("log"));
        let spec = variables.fold(spec, |spec, (name, value)| spec.env(name, value));
        spec.spawn()
    }

    /// Runs it; it must end with this code and say this.
    #[track_caller]
    fn says(&self, stage: &str, code: i32, says: &str) -> impl Future<Output = String> {
        let at = std::panic::Location::caller();
        async move {
            let output = self.run(stage).await;
            let said = format!("{}{}", output.stdout, output.stderr);
            assert_eq!(output.code, Some(code), "{at}: {stage}: {said}");
            assert!(said.contains(says), "{at}: {stage}: {says:?} in {said}");
            said
        }
    }
}

/// The settings that a line of a text is about, by what is before and after each name.
fn settings(text: &str, before: &str, after: &str) -> BTreeSet<String> {
    let lines = text.lines();
    let names = lines.filter_map(|line| line.strip_prefix(before)?.split_once(after));
    let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    names
        .map(|(name, _)| name)
        .filter(is_name)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_hook_has_an_example_and_a_section_with_all_its_settings() {
    let page = include_str!("../../../docs/reference/hooks.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/hooks");
    let all: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains('.'))
        .collect();
    assert!(all.len() >= 7, "{all:?}");
    for name in all {
        let script = fs::read_to_string(folder.join(&name)).unwrap();
        let example = fs::read_to_string(folder.join(format!("{name}.conf"))).unwrap();
        let mut sections = page.split("\n## ");
        let named = |section: &&str| {
            let title = section.lines().next().unwrap_or_default();
            title.split(", ").any(|word| word == name)
        };
        let section = sections.find(named).unwrap_or_else(|| panic!("{name}"));
        let examples = settings(&example, "#", "=");
        assert_eq!(settings(section, "| `", "` |"), examples, "{name}");
        // The line of the defaults has each of them, and no other.
        let defaults = script
            .lines()
            .find(|line| settings(line, "", "=").len() == 1);
        let defaults = defaults.unwrap_or_default();
        let words = defaults
            .split(' ')
            .map(|word| word.split('=').next().unwrap().to_owned());
        assert_eq!(words.collect::<BTreeSet<_>>(), examples, "{name}");
        assert!(
            example.contains(&format!("/etc/pointsman/{name}.conf")),
            "{name}"
        );
        // The table of the order.
        let row = page.lines().find(|line| {
            let first = line.split('|').nth(1).unwrap_or_default();
            first.split(',').any(|word| word.trim() == name)
        });
        let order = settings_of(&script, "Order").pop();
        let order = order.unwrap_or_else(|| "50".into());
        let row = row.unwrap_or_else(|| panic!("{name}: no row"));
        let cell = |word: &str| word.trim() == order || word.contains(&format!(".d/{order}`"));
        assert!(row.split('|').any(cell), "{name}: {order}: {row}");
        for stage in settings_of(&script, "Stages") {
            assert!(section.contains(&stage), "{name}: {stage}");
        }
    }
}

/// The words of a line of a script's header.
fn settings_of(script: &str, key: &str) -> Vec<String> {
    let start = format!("# {key}: ");
    let line = script.lines().find_map(|line| line.strip_prefix(&start));
    let words = line.unwrap_or_default().split_whitespace();
    words.map(str::to_owned).collect()
}
