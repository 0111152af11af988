//! Hooks that are installed and do nothing until links from the folders of their stages switch them on.
//!
//! Such a hook is a script in a folder `available`. The comments at its beginning say what it is, one `# Key: value` a line:
//!
//! - `Summary`: what it does, in a sentence
//! - `Stages`: the folders that link to it, such as `pre-reboot.d post-boot.d`
//! - `Order`: where it stands among the hooks of a stage (two digits, 50 if it is not given)
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

use super::{HookError, Hooks, MOMENTS, VARIABLES, files};
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
    /// Its configuration file, be it there or not.
    pub configuration: RootPath,
    /// What is missing before it could do its work, a sentence each.
    pub missing: Vec<String>,
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
    /// A folder of hooks cannot be read.
    #[error(transparent)]
    Hooks(#[from] HookError),
    /// Something else is where the link would be.
    #[error("{0} is there and is no link to this hook; it is not replaced")]
    Taken(RootPath),
    /// A link outside `/etc`, which is not the machine's to remove.
    #[error(
        "{0} switches it on and is not below /etc; a link of this name to /dev/null in {1} switches it off"
    )]
    Vendor(RootPath, RootPath),
    /// The system refuses.
    #[error("{0}: {1}")]
    System(RootPath, io::Error),
}

/// All hooks that can be switched on on the machine under `root`, by name. Of one name in both folders `available`, the one
/// below `/etc` counts.
///
/// # Errors
/// When a folder of hooks cannot be read.
pub fn list(root: &Root) -> Result<Vec<Available>, HookError> {
    let hooks = Hooks::new(root, Duration::ZERO);
    let mut scripts = BTreeMap::new();
    for folder in &hooks.folders {
        let folder = folder.join(files::AVAILABLE);
        for file in folder.names().unwrap_or_default() {
            let name = file.to_string_lossy().into_owned();
            if !files::is_left_over(&name) && Path::new(&name).extension().is_none() {
                scripts.insert(name, folder.join(&file));
            }
        }
    }
    let found = scripts.into_iter();
    found
        .map(|(name, script)| Available::read(root, &hooks, name, script))
        .collect()
}

impl Available {
    fn read(root: &Root, hooks: &Hooks, name: String, script: RootPath) -> Result<Self, HookError> {
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
            let used = hooks.list(&folder)?.into_iter();
            let link = used.into_iter().find(|hook| leads_to(hook, &name));
            let [_, etc] = &hooks.folders;
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
        let configuration = root.path(format!("etc/pointsman/{name}.conf"));
        let example = script.parent().join(format!("{name}.{EXAMPLE}"));
        missing.extend(unset(&configuration, &example, &words("Requires")));
        let [vendor, etc] = &hooks.folders;
        let target = match script.parent().parent() == *etc {
            true => "/etc",
            false => "/usr/lib",
        };
        debug_assert!(script.parent().parent() == *etc || script.parent().parent() == *vendor);
        Ok(Self {
            summary: header.get("Summary").cloned().unwrap_or_default(),
            target: format!("{target}/pointsman/hooks/{}/{name}", files::AVAILABLE).into(),
            name,
            stages,
            script,
            configuration,
            missing,
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
            if stage.own.is_there() && !leads_to(&stage.own, &self.name) {
                return Err(SwitchError::Taken(stage.own.clone()));
            }
            links.push((stage.own.clone(), self.target.as_path()));
        }
        Ok(links)
    }

    /// Switches it on: makes these links, in the order that keeps it whole. What undoes a drain comes before what drains.
    ///
    /// # Errors
    /// When the system refuses. Links that were made stay; the same again makes the rest.
    pub fn enable(&self) -> Result<(), SwitchError> {
        let mut links = self.links_to_make()?;
        links.sort_by_key(|(link, _)| link.parent().name() == "pre-reboot.d");
        for (link, target) in links {
            let make = || {
                link.parent().make_folder()?;
                // One of this hook that leads nowhere any more.
                if link.is_there() {
                    link.remove()?;
                }
                link.link_to(target)
            };
            make().map_err(|error| SwitchError::System(link.clone(), error))?;
        }
        Ok(())
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
            links.extend(files.filter(|file| leads_to(file, &self.name)));
        }
        // The drain goes first: what undoes it is there until then.
        links.sort_by_key(|link| link.parent().name() != "pre-reboot.d");
        links
    }

    /// Switches it off: removes its links. Nothing else is removed.
    ///
    /// # Errors
    /// When the system refuses, or a link outside `/etc` still switches it on.
    pub fn disable(&self, root: &Root) -> Result<(), SwitchError> {
        for link in self.links_to_remove(root) {
            link.remove()
                .map_err(|error| SwitchError::System(link.clone(), error))?;
        }
        let [_, etc] = Hooks::new(root, Duration::ZERO).folders;
        let all = list(root)?;
        let now = all.into_iter().find(|hook| hook.name == self.name);
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

/// Whether a file is a link that leads to the installed hook of this name, be it there or not.
fn leads_to(file: &RootPath, name: &str) -> bool {
    let Some(target) = file.link() else {
        return false;
    };
    let folder = |under: &str| {
        Path::new(under)
            .join("pointsman/hooks")
            .join(files::AVAILABLE)
    };
    ["/usr/lib", "/etc"]
        .iter()
        .any(|under| target == folder(under).join(name))
        || target == Path::new("..").join(files::AVAILABLE).join(name)
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

/// What a configuration file lacks: the settings that it has to set and does not, or why it must not be used.
fn unset(file: &RootPath, example: &RootPath, required: &[String]) -> Option<String> {
    // A script reads it as root.
    let paths = [file.parent(), file.clone()];
    if let Some(why) = files::written_by_others(&paths).filter(|_| file.exists()) {
        return Some(format!("its configuration is read by root, and {why}"));
    }
    let text = match file.read_text() {
        Ok(text) => text,
        Err(_) if required.is_empty() && !file.is_there() => return None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(format!(
                "the configuration file {file} does not exist; an example is {example}"
            ));
        }
        Err(error) => return Some(format!("the configuration file {file}: {error}")),
    };
    let unset: Vec<&str> = required
        .iter()
        .filter(|name| !is_set(&text, name))
        .map(String::as_str)
        .collect();
    (!unset.is_empty()).then(|| format!("{file} does not set {}", unset.join(", ")))
}

/// Whether a text of `NAME=VALUE` lines for sh gives this name a value.
fn is_set(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let value = line
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='));
        value.is_some_and(|value| {
            let value = value.split(" #").next().unwrap_or_default();
            !value.trim_matches(['"', '\'', ' ']).is_empty()
        })
    })
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

    #[test]
    fn a_setting_is_set_by_a_line_of_its_own_with_a_value() {
        for (text, set) in [
            ("NODE=n1", true),
            ("  export NODE=\"n1\" # this one", true),
            ("#NODE=n1", false),
            ("NODE=", false),
            ("NODE=\"\"", false),
            ("NODE= # none", false),
            ("THIS_NODE=n1\nNODE2=x", false),
        ] {
            assert_eq!(is_set(text, "NODE"), set, "{text:?}");
        }
    }
}
