//! The archive that `doctor --bundle` writes: what a person who helps asks for next, without secrets.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use host::node::{self, Root, RootPath};
use jiff::Timestamp;
use settings::{Config, ReceiverKind};
use tar::{Builder, Header};
use tokio::{process::Command, time::timeout};

use crate::{
    agent::{history, journal::Journal},
    cli::{Context, Exit, Failure, output, status},
};

/// How long another program may take to say what it knows.
const LIMIT: Duration = Duration::from_secs(20);
/// The most of a file that is taken, in bytes: several times what the agent keeps its own to.
const LARGEST: u64 = 4 << 20;
/// The folder that everything in the archive is in.
const FOLDER: &str = "pointsman";
/// The units whose log is of interest.
const UNITS: [&str; 5] = [
    "pointsman.service",
    "pointsman-serve.service",
    "pointsman-cloud-config.service",
    "update-engine.service",
    "locksmithd.service",
];

/// An archive that is being written. One that is not finished is removed.
pub(super) struct Archive {
    path: PathBuf,
    tar: Option<Builder<File>>,
    files: usize,
}

impl Archive {
    /// Begins a new one, which only this user can read.
    ///
    /// # Errors
    /// When something is there already, or the file cannot be made.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        match file {
            Ok(file) => Ok(Self {
                path: path.to_owned(),
                tar: Some(Builder::new(file)),
                files: 0,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::value(
                "--bundle",
                format!("{}, which exists", path.display()),
                "the name of a new file",
            )),
            Err(error) => Err(cannot(path, &error)),
        }
    }

    /// Adds a text.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn add(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let Some(tar) = &mut self.tar else {
            return Ok(());
        };
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(Timestamp::now().as_second()).unwrap_or_default());
        tar.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())
            .map_err(|error| cannot(&self.path, &error))?;
        self.files += 1;
        Ok(())
    }

    /// Ends it, and says so.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if let Some(tar) = self.tar.take() {
            let ended = tar.into_inner().and_then(|mut file| {
                file.flush()?;
                file.sync_all()
            });
            if let Err(error) = ended {
                let _ = std::fs::remove_file(&self.path);
                return Err(cannot(&self.path, &error));
            }
        }
        output::note(format!(
            "pointsman: {} has {} files. Passwords, tokens, webhooks and keys are replaced by ***; look through it before you send it",
            self.path.display(),
            self.files
        ));
        Ok(())
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if self.tar.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("--bundle: {}: {error}", path.display()),
    )
}

/// What is known to be secret here, wherever it may turn up.
pub(super) fn secrets(config: &Config) -> Vec<String> {
    let mut secrets = Vec::new();
    if let Ok(Some((_, password))) = config.etcd_options().map(|options| options.user) {
        secrets.push(password);
    }
    for receiver in &config.notify {
        if let ReceiverKind::Webhook { url, .. } = &receiver.to {
            secrets.push(url.clone());
            // Logs may have its path alone.
            let path = url
                .split_once("://")
                .and_then(|(_, rest)| rest.split_once('/'));
            secrets.extend(
                path.map(|(_, path)| path.to_owned())
                    .filter(|path| path.len() > 3),
            );
        }
    }
    secrets.extend(by_name(&config.root));
    secrets
}

/// Whether a variable of this name holds a secret.
fn sounds_secret(name: &str) -> bool {
    let name = name.to_uppercase();
    ["PASS", "SECRET", "TOKEN", "KEY", "AUTH"]
        .iter()
        .any(|word| name.contains(word))
}

/// The values of variables that sound secret, in the environment and in the files of hooks.
fn by_name(root: &Root) -> Vec<String> {
    let variables = std::env::vars_os();
    let mut named: Vec<(String, String)> = variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let folder = root.path("etc/pointsman");
    for name in folder.names().unwrap_or_default() {
        if Path::new(&name)
            .extension()
            .is_some_and(|ending| ending == "conf")
        {
            // Lines for sh.
            let text = folder.join(&name).read_text().unwrap_or_default();
            let lines = text.lines().filter_map(|line| line.split_once('='));
            named.extend(lines.map(|(name, value)| {
                (
                    name.to_owned(),
                    value.trim_matches(['"', '\'', ' ']).to_owned(),
                )
            }));
        }
    }
    let secret = named.into_iter().filter(|(name, value)| {
        // What names a file is no secret, and a short word would blot out the text.
        let is_file = value.starts_with('/') && root.path(value).exists();
        sounds_secret(name) && value.len() > 3 && !is_file
    });
    secret.map(|(_, value)| value).collect()
}

/// What else is of interest: the name of each file in the archive, and its text.
pub(super) async fn collect(context: &Context, now: &str) -> Vec<(&'static str, String)> {
    let root = &context.config.root;
    let (status, _) = status::gather(context, false).await;
    vec![
        ("system.txt", system(root, now)),
        ("status.json", output::to_json(&status)),
        ("journal.json", text_of(&Journal::path(root))),
        ("history.jsonl", text_of(&history::file::path(root))),
        ("hooks.txt", hooks(root)),
        ("log.txt", log(root).await),
    ]
}

/// What machine it is, and which program.
fn system(root: &Root, now: &str) -> String {
    let release = root.path("etc/os-release").read_text();
    let release = release.or_else(|_| root.path("usr/lib/os-release").read_text());
    format!(
        "pointsman {}\ntime {now}\nhost {}\nid {}\nkernel {}\nup {}\n\n{}",
        env!("CARGO_PKG_VERSION"),
        node::hostname(root),
        node::machine_id(root).unwrap_or_else(|error| error.to_string()),
        node::kernel(root).unwrap_or_default(),
        host::duration::print(Duration::from_secs(node::since_boot().as_secs())),
        release.unwrap_or_default()
    )
}

/// What a file of the agent says, or why it cannot be read.
fn text_of(file: &RootPath) -> String {
    match file.read_bounded(LARGEST) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("{file}: {error}\n"),
    }
}

/// The hooks that there are: what is in each folder, and where links lead.
fn hooks(root: &Root) -> String {
    let mut out = String::new();
    for under in ["etc", "usr/lib"] {
        let hooks = root.path(under).join("pointsman/hooks");
        let mut folders = hooks.names().unwrap_or_default();
        folders.sort();
        for folder in folders {
            let folder = hooks.join(&folder);
            let mut files = folder.names().unwrap_or_default();
            files.sort();
            for file in files {
                let file = folder.join(&file);
                let to = file
                    .link()
                    .map_or(String::new(), |to| format!(" -> {}", to.display()));
                out += &format!("{file}{to}\n");
            }
        }
    }
    out
}

/// The log of the agent and of what works with it.
async fn log(root: &Root) -> String {
    let mut asked = Command::new("journalctl");
    asked.args(["--no-pager", "--output=short-iso-precise", "--lines=5000"]);
    asked.args(UNITS.map(|unit| format!("--unit={unit}")));
    if !root.is_host() {
        asked.arg("--root").arg(root.folder());
    }
    asked.stdin(Stdio::null()).kill_on_drop(true);
    match timeout(LIMIT, asked.output()).await {
        Ok(Ok(said)) => format!(
            "{}{}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        ),
        Ok(Err(error)) => format!("journalctl cannot be run: {error}\n"),
        Err(_) => format!("journalctl did not answer within {} s\n", LIMIT.as_secs()),
    }
}
