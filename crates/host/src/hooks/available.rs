//! Hooks that are installed and do nothing until links from the folders of their stages switch them on.
//!
//! Such a hook is a script in a folder `available`. The comments at its beginning say what it is, one `# Key: value` a line:
//!
//! - `Summary`: what it does, in a sentence
//! - `Stages`: the folders that link to it, such as `pre-reboot.d post-boot.d`
//! - `Order`: where it stands among the hooks of a stage (two digits, 50 if it is not given). In `post-boot.d` it is 100 less
//!   that: what drains last is undone first
//! - `Needs`: the programs that it calls
//! - `Requires`: the settings that its configuration file, `/etc/pointsman/NAME.conf`, has to set
//!
//! `{name}` stands for the hook's own name. Beside the script is `NAME.conf`, an example of the configuration file.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Hooks, MOMENTS, VARIABLES,
    configuration::{self, unset},
    files,
};
use crate::node::{Root, RootPath};

/// Where a hook's programs are looked for besides hooks' `PATH`: there Flatcar's users put them.
const OPT: &str = "/opt/bin";
/// The name's ending of an example configuration.
const EXAMPLE: &str = "conf";

/// A hook that can be switched on.
#[derive(Debug, Clone)]
pub struct Available {
    /// Its name, by which people switch it on.
    pub name: String,
    /// What it does, in a sentence; empty if it does not say so.
    pub summary: String,
    /// Its stages, each with what switches it on there.
    pub stages: Vec<Stage>,
    /// The script.
    pub script: RootPath,
    /// Its configuration file, be it there or not; none if it has none.
    pub configuration: Option<RootPath>,
    /// What is missing before it could do its work, a sentence each.
    pub missing: Vec<String>,
    /// The example of its configuration, be it there or not.
    example: RootPath,
    /// Where the script is on the machine: what links lead to.
    target: PathBuf,
}

/// A stage of a hook.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its folder, such as `pre-reboot.d`.
    pub folder: String,
    /// The link in use that switches the hook on there.
    pub link: Option<RootPath>,
    /// The link that switching it on makes.
    own: RootPath,
}

/// Why a hook could not be switched on or off.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// Something else is where the link would be.
    #[error("{0} is there and is no link to this hook; it is not replaced")]
    Taken(RootPath),
    /// A link outside `/etc`, which is not the machine's to remove.
    #[error(
        "{0} switches it on and is not below /etc; a link of this name to /dev/null in {1} switches it off"
    )]
    Vendor(RootPath, RootPath),
    /// The system refuses; the links are as they were.
    #[error("{0}: {1}; nothing is changed")]
    System(RootPath, io::Error),
    /// The system refuses, and refuses to put back what was done before: the links that are not as they were.
    #[error("{0}: {1}; these links are changed all the same: {2}")]
    Half(RootPath, io::Error, String),
}

/// All hooks that can be switched on on the machine under `root`, by name. Of one name in both folders `available`, the one
/// below `/etc` counts. A hook whose script is gone and to which links lead is among them.
#[must_use]
pub fn list(root: &Root) -> Vec<Available> {
    let hooks = Hooks::new(root, Duration::ZERO);
    let mut scripts = BTreeMap::new();
    for folder in &hooks.folders {
        let folder = folder.join(files::AVAILABLE);
        for file in folder.names().unwrap_or_default() {
            let name = file.to_string_lossy().into_owned();
            let is_example = Path::new(&name)
                .extension()
                .is_some_and(|end| end == EXAMPLE);
            if !files::is_left_over(&name) && !is_example {
                scripts.insert(name, folder.join(&file));
            }
        }
    }
    let found = scripts.iter();
    let mut all: Vec<Available> = found
        .map(|(name, script)| Available::read(root, &hooks, name.clone(), script.clone()))
        .collect();
    all.extend(gone(&hooks).filter(|hook| !scripts.contains_key(&hook.name)));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// What links below `/etc` lead to.
fn gone(hooks: &Hooks) -> impl Iterator<Item = Available> {
    let [vendor, etc] = &hooks.folders;
    let mut found: BTreeMap<String, Vec<Stage>> = BTreeMap::new();
    for moment in MOMENTS {
        let folder = etc.join(moment);
        for file in folder.names().unwrap_or_default() {
            let link = folder.join(&file);
            if let Some(name) = leads_to(&link) {
                found.entry(name).or_default().push(Stage {
                    folder: moment.to_owned(),
                    own: link.clone(),
                    link: Some(link),
                });
            }
        }
    }
    let script = |name: &str| vendor.join(files::AVAILABLE).join(name);
    let gone = found.into_iter().map(move |(name, stages)| Available {
        missing: vec![format!(
            "its script is gone, and links lead to it, which fail; `hooks disable {name}` removes them"
        )],
        summary: String::new(),
        stages,
        script: script(&name),
        configuration: None,
        example: script(&name),
        target: PathBuf::new(),
        name,
    });
    gone.collect::<Vec<_>>().into_iter()
}

impl Available {
    fn read(root: &Root, hooks: &Hooks, name: String, script: RootPath) -> Self {
        let text = script.read_text().unwrap_or_default();
        let header = header(&text, &name);
        let words = |key: &str| -> Vec<String> {
            let text = header.get(key).map_or("", String::as_str);
            text.split_whitespace().map(str::to_owned).collect()
        };
        let order = header.get("Order").map_or("50", String::as_str);
        let mut stages = Vec::new();
        let mut missing = Vec::new();
        for folder in words("Stages") {
            if !MOMENTS.contains(&folder.as_str()) {
                missing.push(format!(
                    "its script names the stage {folder}, which there is not; expected {}",
                    MOMENTS.join(", ")
                ));
                continue;
            }
            let used = hooks.list(&folder).unwrap_or_else(|error| {
                missing.push(error.to_string());
                Vec::new()
            });
            let is_own = |hook: &RootPath| leads_to(hook).is_some_and(|to| to == name);
            let link = used.into_iter().find(is_own);
            let [_, etc] = &hooks.folders;
            let order = order_in(&folder, order);
            stages.push(Stage {
                own: etc.join(&folder).join(format!("{order}-{name}")),
                folder,
                link,
            });
        }
        if stages.is_empty() && missing.is_empty() {
            missing.push("its script names no stages; expected a line \"# Stages: …\"".into());
        }
        missing.extend(hooks.usable(&script).err().map(|error| error.to_string()));
        for program in words("Needs") {
            if !is_installed(root, &program) {
                missing.push(format!("the program {program} is not installed"));
            }
        }
        let required = words("Requires");
        let example = script.parent().join(format!("{name}.{EXAMPLE}"));
        let configuration = root.path(format!("etc/pointsman/{name}.conf"));
        let has_one = !required.is_empty() || example.exists() || configuration.is_there();
        missing.extend(unset(&configuration, &example, &required));
        let [_, etc] = &hooks.folders;
        let under = match script.parent().parent() == *etc {
            true => "/etc",
            false => "/usr/lib",
        };
        Self {
            summary: header.get("Summary").cloned().unwrap_or_default(),
            target: installed_under(under).join(&name),
            name,
            stages,
            script,
            configuration: Some(configuration).filter(|_| has_one),
            missing,
            example,
        }
    }

    /// What its script gives this setting: what its configuration says, else what the example has in a comment. With the file that
    /// says so.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<(String, &RootPath)> {
        let given = self.configuration.as_ref().and_then(|file| {
            let text = file.read_text().ok()?;
            Some((configuration::value(&text, key)?, file))
        });
        given.or_else(|| {
            let text = self.example.read_text().ok()?;
            Some((configuration::value_in_comment(&text, key)?, &self.example))
        })
    }

    /// Whether all its stages run it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !self.stages.is_empty() && self.stages.iter().all(|stage| stage.link.is_some())
    }

    /// Whether a stage runs it.
    #[must_use]
    pub fn is_enabled_somewhere(&self) -> bool {
        self.stages.iter().any(|stage| stage.link.is_some())
    }

    /// The links that are not there yet, and what each would lead to.
    ///
    /// # Errors
    /// When something else is in the place of one of them.
    pub fn links_to_make(&self) -> Result<Vec<(RootPath, &Path)>, SwitchError> {
        let mut links = Vec::new();
        for stage in &self.stages {
            if stage.link.is_some() {
                continue;
            }
            if stage.own.is_there() && leads_to(&stage.own).as_ref() != Some(&self.name) {
                return Err(SwitchError::Taken(stage.own.clone()));
            }
            links.push((stage.own.clone(), self.target.as_path()));
        }
        Ok(links)
    }

    /// Switches it on: makes these links, all or none. What undoes a drain comes before what drains.
    ///
    /// # Errors
    /// When the system refuses, or something else is in the place of a link.
    pub fn enable(&self) -> Result<(), SwitchError> {
        let mut links = self.links_to_make()?;
        links.sort_by_key(|(link, _)| link.parent().name() == "pre-reboot.d");
        let steps = links.into_iter().map(|(link, target)| {
            // One of this hook that leads nowhere any more is replaced.
            let before = link.link();
            (link, before, Some(target.to_owned()))
        });
        all_or_none(steps.collect())
    }

    /// The links below `/etc` that lead to it, whatever they are called and whether they are in use or not.
    #[must_use]
    pub fn links_to_remove(&self, root: &Root) -> Vec<RootPath> {
        let [_, etc] = Hooks::new(root, Duration::ZERO).folders;
        let mut links = Vec::new();
        for moment in MOMENTS {
            let folder = etc.join(moment);
            let mut names = folder.names().unwrap_or_default();
            names.sort();
            let files = names.into_iter().map(|name| folder.join(name));
            links.extend(files.filter(|file| leads_to(file).as_ref() == Some(&self.name)));
        }
        // The drain goes first: what undoes it is there until then.
        links.sort_by_key(|link| link.parent().name() != "pre-reboot.d");
        links
    }

    /// Switches it off: removes its links, all or none. Nothing else is removed.
    ///
    /// # Errors
    /// When the system refuses, or a link outside `/etc` still switches it on.
    pub fn disable(&self, root: &Root) -> Result<(), SwitchError> {
        let links = self.links_to_remove(root).into_iter();
        let steps = links.map(|link| {
            let before = link.link();
            (link, before, None)
        });
        all_or_none(steps.collect())?;
        let [_, etc] = Hooks::new(root, Duration::ZERO).folders;
        let now = list(root).into_iter().find(|hook| hook.name == self.name);
        let left = now.into_iter().flat_map(|hook| hook.stages);
        match left.into_iter().find_map(|stage| stage.link) {
            Some(link) => {
                let folder = etc.join(link.parent().name());
                Err(SwitchError::Vendor(link, folder))
            }
            None => Ok(()),
        }
    }
}

/// A link, where it leads before, and where it is to lead: none: it is not there.
type Change = (RootPath, Option<PathBuf>, Option<PathBuf>);

/// Changes these links; where one cannot be changed, those before it are put back.
fn all_or_none(changes: Vec<Change>) -> Result<(), SwitchError> {
    let put = |link: &RootPath, before: bool, to: Option<&Path>| {
        if before {
            link.remove()?;
        }
        let Some(to) = to else { return Ok(()) };
        link.parent().make_folder()?;
        link.link_to(to)
    };
    for (at, (link, before, after)) in changes.iter().enumerate() {
        let Err(error) = put(link, before.is_some(), after.as_deref()) else {
            continue;
        };
        let mut changed = Vec::new();
        for (link, before, after) in changes[..at].iter().rev() {
            if put(link, after.is_some(), before.as_deref()).is_err() {
                changed.push(link.to_string());
            }
        }
        let link = link.clone();
        return Err(match changed.is_empty() {
            true => SwitchError::System(link, error),
            false => SwitchError::Half(link, error, changed.join(", ")),
        });
    }
    Ok(())
}

/// Where a hook stands among those of a stage, by its place in the drain.
fn order_in(folder: &str, order: &str) -> String {
    match order.parse::<u8>() {
        Ok(order @ 1..=99) if folder == "post-boot.d" => format!("{:02}", 100 - order),
        _ => order.to_owned(),
    }
}

/// The folder of installed hooks under this one, as links name it.
fn installed_under(under: &str) -> PathBuf {
    let hooks = Path::new(under).join("pointsman/hooks");
    hooks.join(files::AVAILABLE)
}

/// The name of the installed hook that a link leads to, be that there or not; none for any other file.
fn leads_to(file: &RootPath) -> Option<String> {
    let target = file.link()?;
    let folder = target.parent()?;
    let relative = Path::new("..").join(files::AVAILABLE);
    let known = [
        installed_under("/usr/lib"),
        installed_under("/etc"),
        relative,
    ];
    let name = target.file_name()?.to_string_lossy().into_owned();
    known.iter().any(|known| folder == known).then_some(name)
}

/// What the comments at the beginning of a script say, by their keys.
fn header(text: &str, name: &str) -> BTreeMap<String, String> {
    let lines = text.lines().skip(1);
    let comments = lines.map_while(|line| line.strip_prefix('#'));
    comments
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(key, value)| (key.to_owned(), value.trim().replace("{name}", name)))
        .collect()
}

/// Whether a hook finds this program.
fn is_installed(root: &Root, program: &str) -> bool {
    let path = VARIABLES.iter().find(|(name, _)| *name == "PATH");
    let folders = path.map_or("", |(_, value)| value).split(':');
    let mut folders = folders.chain([OPT]);
    folders.any(|folder| files::is_executable(&root.path(folder).join(program)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_with_the_comments_and_knows_its_own_name() {
        let text = "#!/bin/sh\n# Summary: Stops {name}'s containers.\n#\n# Stages: pre-reboot.d  post-boot.d\n\n# Needs: none\n";
        let header = header(text, "podman");
        assert_eq!(header["Summary"], "Stops podman's containers.");
        assert_eq!(header["Stages"], "pre-reboot.d  post-boot.d");
        assert!(!header.contains_key("Needs"));
    }
}
