//! How things are: what update_engine, the slots and logind say.

use std::collections::BTreeSet;

use host::{
    bus::BusError,
    kept::Kept,
    logind::Logind,
    node::RootPath,
    systemd, text,
    update_engine::{self, UpdateEngine},
};
use semaphore::records::ImageId;

use super::{EffectRunner, Updates};
use crate::agent::{
    next_slot::{NextSlot, SlotFault},
    situation::{Asked, Facts, Logins, NoStatus, Update},
};

impl EffectRunner {
    /// Asks update_engine and logind how things are.
    pub async fn look(&self) -> Facts {
        let update = self.update().await;
        self.facts(update, self.logins().await).await
    }

    /// These, and what the slots say.
    pub async fn facts(&self, update: Update, logind: Result<Logins, Kept<BusError>>) -> Facts {
        // Of a staged update it has been read which image it is, and it is activated just before the reboot.
        let next = match &update {
            Update::Staged(_) => Ok(None),
            _ => {
                let runs = self.runs.clone();
                self.next_slot
                    .run(move |next_slot| next_slot.next(&runs))
                    .await
            }
        };
        Facts {
            update,
            next,
            logind,
            asked: self.asked(),
        }
    }

    /// The files that ask for the reboot, and the packages that Debian's hooks name beside such a file, each once.
    fn asked(&self) -> Asked {
        let Updates::Sentinels(paths) = &self.updates else {
            return Asked::default();
        };
        let there = || paths.iter().filter(|path| path.exists());
        let packages: BTreeSet<String> = there().flat_map(packages).collect();
        Asked {
            files: there().map(RootPath::shown).collect(),
            packages: packages.into_iter().collect(),
        }
    }

    /// Asks whether an update waits for a reboot.
    pub async fn update(&self) -> Update {
        match &self.updates {
            Updates::Sentinels(paths) => self.required(paths.iter().any(RootPath::exists)).await,
            Updates::Engine => match UpdateEngine::new(&self.bus).get_status().await {
                Ok(status) => self.staged(&status).await,
                Err(error) => Update::Unknown(NoStatus::Bus(error.into())),
            },
        }
    }

    /// What the sentinel files mean for this node.
    pub async fn required(&self, exists: bool) -> Update {
        match from_sentinels(exists) {
            Update::Staged(update) => match self.next_slot.run(NextSlot::usable).await {
                Ok(()) => Update::Staged(update),
                Err(why) => Update::Unusable(why),
            },
            none => none,
        }
    }

    /// What update_engine's status means for this node: which image is staged is told by what is in the slot.
    pub async fn staged(&self, status: &update_engine::Status) -> Update {
        let Update::Staged(update) = from_engine(status) else {
            return from_engine(status);
        };
        match self.next_slot.run(NextSlot::staged).await {
            Ok(None) if self.runs.digest.is_some() => Update::Unusable(SlotFault::Vanished),
            Ok(image) => Update::Staged(ImageId {
                digest: image,
                ..update
            }),
            Err(why) => Update::Unusable(why),
        }
    }

    /// Asks logind, and systemd for a shutdown it has begun.
    pub async fn logins(&self) -> Result<Logins, Kept<BusError>> {
        let logind = Logind::new(&self.bus);
        let ask = async {
            let sessions = logind.sessions().await?;
            let inhibitors = logind.block_inhibitors().await?;
            let going_down = logind.preparing_for_shutdown().await?
                || systemd::shutdown_job(&self.bus).await?.is_some();
            Ok::<_, BusError>(Logins {
                people: sessions.into_iter().map(|s| (s.user, s.tty)).collect(),
                inhibitors: inhibitors.into_iter().map(|i| (i.who, i.why)).collect(),
                going_down,
            })
        };
        ask.await.map_err(Kept::from)
    }
}

/// What update_engine's status means for this node.
#[must_use]
pub fn from_engine(status: &update_engine::Status) -> Update {
    match &status.operation {
        update_engine::Operation::UpdatedNeedReboot => Update::Staged(ImageId {
            digest: None,
            version: status.version.clone(),
        }),
        other => Update::None(other.to_string()),
    }
}

/// The packages that are named beside this file, each cut to a hundred characters.
fn packages(path: &RootPath) -> Vec<String> {
    let mut name = path.name().to_owned();
    name.push(".pkgs");
    let text = path.parent().join(name).read_text().unwrap_or_default();
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| text::cut(name, 100).into_owned())
        .collect()
}

/// What it means for this node whether a sentinel file exists.
#[must_use]
pub fn from_sentinels(exists: bool) -> Update {
    if exists {
        Update::Staged(ImageId::default())
    } else {
        Update::None("no reboot required".into())
    }
}
