//! How etcd is reached: the reboot lock of a group, credentials that are renewed, what is repeated until etcd answers.

use std::{rc::Rc, sync::Arc};

use host::{blocking, node::Group, text};
use jiff::Timestamp;
use semaphore::{
    etcd::{self, BackOff, Semaphore},
    keys::Keys,
    records::NodeRecord,
};
use settings::{CertificateWarning, Config, Strategy};
use tokio::time::sleep;

use super::EffectRunner;
use crate::agent::journal_file::JournalFile;

impl EffectRunner {
    /// The semaphore of the configured group, as etcd is reached now; none where the strategy asks nobody.
    #[must_use]
    pub fn own_semaphore(&self) -> Option<Rc<Semaphore>> {
        self.semaphore.borrow().clone()
    }

    pub(super) fn semaphore(&self, keys: &Keys) -> Rc<Semaphore> {
        match self.own_semaphore() {
            Some(semaphore) if semaphore.keys() == keys => semaphore,
            // Taken under another configuration: released where it was taken.
            _ => self.reached(keys).0,
        }
    }

    /// The semaphore there, and whether the journal knows already that this node writes of itself in this boot.
    pub(super) fn reached(&self, keys: &Keys) -> (Rc<Semaphore>, bool) {
        let memory = self.journal.memory(keys.prefix());
        let (journal, accepted) = (self.journal.clone(), self.store_accepted.clone());
        let known = memory.serve(etcd::Agent {
            keys: keys.clone(),
            node: NodeRecord {
                boot_id: self.boot_id.clone(),
                ..self.record("", "")
            },
            keep: Box::new(move || {
                let journal = journal.clone();
                Box::pin(blocking::run(move || Ok(journal.keep()?)))
            }),
            accepted: Box::new(move || accepted.notify_one()),
        });
        let semaphore = Semaphore::new(
            self.etcd.borrow().clone(),
            keys.clone(),
            Self::back_off(&self.config),
        );
        (Rc::new(semaphore.with_memory(memory)), known)
    }

    /// Makes the semaphore of the configured group its own, where the strategy asks somebody. Before the node writes of itself
    /// in a new boot the journal knows that boot: by it the node's own record is told from another machine's.
    pub async fn begin(&self) {
        self.block_others().await;
        self.end_memberships();
        if self.config.strategy != Strategy::EtcdLock {
            return;
        }
        let (semaphore, known) = self.reached(&self.keys);
        self.semaphore.replace(Some(semaphore));
        let journal = self.journal.clone();
        if !known && let Err(why) = blocking::run(move || journal.keep()).await {
            tracing::debug!("{why}");
            // One that cannot be read knows no boot at all, and may be a copy, which is to be seen.
            self.unknown_boot.set(self.journal.is_loaded());
        }
    }

    /// Ends what the journal names of memberships that do not count any more: under former key prefixes, and under the
    /// configured one where the node asks nobody. The start does not wait for that; it ends with the runner.
    fn end_memberships(&self) {
        let own = (self.config.strategy == Strategy::EtcdLock).then(|| self.keys.prefix());
        for prefix in self.journal.prefixes() {
            let memory = self.journal.memory(&prefix);
            if own == Some(prefix.as_str()) || memory.remembered().member.is_none() {
                continue;
            }
            let back_off = Self::back_off(&self.config);
            let semaphore = Semaphore::new(
                self.etcd.borrow().clone(),
                Keys::new(&prefix, Group::default()),
                back_off,
            );
            let ending = end_membership(
                semaphore.with_memory(memory),
                back_off,
                self.journal.clone(),
            );
            self.ending.borrow_mut().spawn_local(ending);
        }
    }

    /// Reaches etcd in another way from now on, with the next request of what is under way as well. What it asks for, and
    /// under which keys, is as before.
    pub fn reach_by(&self, config: &Config, etcd: etcd::Options) {
        self.reached_by.replace(Some(config.clone()));
        self.reach(etcd);
    }

    fn reach(&self, etcd: etcd::Options) {
        self.etcd.replace(etcd);
        if self.own_semaphore().is_some() {
            self.semaphore.replace(Some(self.reached(&self.keys).0));
        }
    }

    /// Reads certificates and password again from their files: they may have been renewed there since. What waits for etcd
    /// goes on with the new ones.
    pub fn read_credentials_again(&self) {
        let read = match &*self.reached_by.borrow() {
            Some(newer) => newer.etcd_options(),
            None => self.config.etcd_options(),
        };
        match read {
            Ok(etcd) if etcd != *self.etcd.borrow() => {
                // Endpoints and the like may have been changed by a reload; only the credentials are renewed.
                let now = etcd::Options {
                    tls: etcd.tls,
                    user: etcd.user,
                    ..self.etcd.borrow().clone()
                };
                if now != *self.etcd.borrow() {
                    tracing::info!(
                        "certificates or password of etcd have changed, and are used from now on"
                    );
                    self.reach(now);
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!("{error}"),
        }
    }

    /// What kept etcd from answering, with what the certificate's dates have to do with it.
    #[must_use]
    pub fn explain(&self, error: etcd::Error) -> Unanswered {
        let certificate = self.config.certificate_warning(Timestamp::now());
        Unanswered {
            certificate: certificate.filter(|_| error.is_unreachable()),
            error,
        }
    }

    /// Asks until there is an answer.
    pub(super) async fn until_known<T>(&self, ask: impl AsyncFn() -> Result<T, etcd::Error>) -> T {
        let Config { timings, .. } = &self.config;
        let mut waits = EffectRunner::back_off(&self.config).waits();
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => {
                    let why = self.explain(error);
                    let wait = waits.next().unwrap_or(timings.retry_max);
                    tracing::warn!("{why}; {}", self.again_in(wait));
                    self.note(format!("{why}; {}", self.again_in(wait)));
                    sleep(wait).await;
                    self.read_credentials_again();
                }
            }
        }
    }
}

/// Why etcd did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", text::in_a_sentence(&error.to_string()), and(certificate.as_ref()))]
pub struct Unanswered {
    /// What happened.
    pub error: etcd::Error,
    /// That the certificate that is shown to etcd has expired, or will soon, where etcd could not be reached.
    pub certificate: Option<CertificateWarning>,
}

fn and(certificate: Option<&CertificateWarning>) -> String {
    certificate.map_or_else(String::new, |warning| format!("; {warning}"))
}

/// How often a node that is no member any more tries to say so; then its next start does.
const TRIES: usize = 20;

/// Ends the membership that this semaphore's memory names.
async fn end_membership(semaphore: Semaphore, back_off: BackOff, journal: Arc<JournalFile>) {
    for wait in back_off.waits().take(TRIES) {
        match semaphore.end_membership().await {
            Ok(_) => {
                if let Err(why) = blocking::run(move || journal.keep()).await {
                    tracing::debug!("{why}");
                }
                return;
            }
            Err(error) => {
                tracing::warn!("this node is still counted as a member of its group: {error}");
                if !error.is_unreachable() {
                    return;
                }
            }
        }
        sleep(wait).await;
    }
}
