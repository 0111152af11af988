//! The sources of a command's document.

use std::{rc::Rc, time::Duration};

use clap::Args;
use cloud_config::{
    Fault,
    sources::{
        FORMS, Fetched, Lookup, NoSource, Options, Retry, Source, SourceLocation, Unavailable,
        resolve,
    },
};
use host::{
    duration,
    etcd::{self, Connection},
};

use super::{Exit, Failure, common::CommonArgs, output};

/// The sources of a command, and how long to wait for them.
#[derive(Debug, Args)]
pub struct SourceArgs {
    #[arg(value_name = "SRC", required = true, help = help())]
    sources: Vec<Source>,
    /// How long to wait for a source, and for what its document fetches. Without it: a missing source fails at once, and
    /// a server that fails for a moment fails after ten seconds
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
}

fn help() -> String {
    format!(
        "The document, or user data that contains one: {FORMS}. Several sources are asked at the same time; the first \
         one in the given order that exists is used"
    )
}

impl SourceArgs {
    /// Creates it from sources and a time to wait.
    #[must_use]
    pub fn new(sources: Vec<Source>, wait: Option<Duration>) -> Self {
        Self { sources, wait }
    }

    /// Returns how long to wait for them.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// Splits files into single ones; other sources stay together.
    #[must_use]
    pub fn files_apart(&self) -> Vec<Self> {
        let is_file = |source: &Source| matches!(source, Source::File(_));
        let each = |source: &Source| Self::new(vec![source.clone()], self.wait);
        match self.sources.iter().all(is_file) {
            true => self.sources.iter().map(each).collect(),
            false => vec![Self::new(self.sources.clone(), self.wait)],
        }
    }

    /// Asks all sources and returns the first available one in order.
    ///
    /// # Errors
    /// When none is available: exit 2 for local files, 4 when etcd cannot be reached, else 1.
    pub async fn fetch(&self, common: &CommonArgs) -> Result<Fetched, Failure> {
        Ok(self.ask(common).await??)
    }

    /// Asks all sources. If none is available, the caller decides.
    ///
    /// # Errors
    /// When they cannot be asked.
    pub async fn ask(&self, common: &CommonArgs) -> Result<Result<Fetched, NoSource>, Failure> {
        if self.sources.len() > 1 && self.sources.contains(&Source::Stdin) {
            let text = "- (standard input) cannot be used together with other sources";
            return Err(Failure::new(Exit::Usage, text));
        }
        let keys = |source: &Source| matches!(source, Source::Etcd(_));
        // The node's configuration is needed only to find etcd.
        let etcd = match self.sources.iter().any(keys) {
            true => Some(lookup(common)?),
            false => None,
        };
        let options = Options {
            wait: self.wait,
            etcd: etcd.as_deref(),
            ..Options::new(common.root())
        };
        let answer = resolve(&self.sources, &options).await;
        if let Ok(fetched) = &answer {
            for (name, unavailable) in &fetched.passed {
                output::note(format!("pointsman: {name} is not used: {unavailable}"));
            }
            // With several sources, the user is told which one was used.
            if self.sources.len() > 1 {
                output::note(format!("pointsman: from {}", fetched.origin));
            }
        }
        Ok(answer)
    }
}

/// Creates the function that reads keys of etcd.
fn lookup(common: &CommonArgs) -> Result<Box<Lookup>, Failure> {
    let options = common.sources(false)?.load()?.etcd_options()?;
    let connection = Rc::new(Connection::new(options));
    Ok(Box::new(move |key: String| {
        let connection = Rc::clone(&connection);
        Box::pin(async move {
            connection.get(&key).await.map_err(|error| Unavailable {
                retry: match error {
                    etcd::Error::Unreachable { .. } => Retry::Later,
                    etcd::Error::Refused { .. } => Retry::Never,
                },
                location: SourceLocation::Etcd,
                none_here: false,
                problem: Fault::Said(error.to_string()).into(),
            })
        })
    }))
}

impl From<NoSource> for Failure {
    fn from(none: NoSource) -> Self {
        let any = |location| {
            none.reasons
                .iter()
                .any(|(_, unavailable)| unavailable.location == location)
        };
        let exit = if any(SourceLocation::Etcd) {
            Exit::Unreachable
        } else if any(SourceLocation::Away) {
            Exit::Failed
        } else {
            Exit::Usage
        };
        Self::new(exit, none.to_string())
    }
}
