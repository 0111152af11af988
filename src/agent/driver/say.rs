//! What the driver says of itself: to the log, systemd, the bus, the coordinator's file, and etcd.

use std::time::Duration;

use host::{
    coordinator,
    telemetry::{self, notify},
    text,
};
use jiff::Timestamp;
use semaphore::records::Holder;
use settings::Strategy;
use tokio::time::sleep;

use super::{Asked, Driver, Ending, Mode, Outside};
use crate::agent::{
    bus::Published,
    effects::EffectRunner,
    history::{Happened, Seen},
    identity,
    machine::{Event, State},
    situation::{Request, Update},
};
use crate::metrics::{self, agent::Figures};
use crate::notify::Notifier;

/// The most characters of what the agent says it waits for.
const LONGEST: usize = 1000;

impl Driver {
    /// Says how things stand, where that has changed: log, systemd, bus, coordinator file, etcd.
    pub(super) async fn say(&mut self, outside: &mut Outside) {
        self.look_for_a_twin();
        let (state, waits_for) = self.machine.report();
        let waits_for = sentence(&waits_for);
        self.note_history(outside, state, &waits_for);
        let before = std::mem::replace(&mut self.said, (state, waits_for.clone()));
        if before != self.said {
            self.since = Timestamp::now();
            let line = format!(
                "{state}{}{waits_for}",
                if waits_for.is_empty() { "" } else { ": " }
            );
            self.log(line);
            if let Mode::Once(_) = self.mode
                && !waits_for.is_empty()
            {
                telemetry::say(&format!("{state}: {waits_for}"));
            }
            if let Err(error) = outside.coordinator.set_state(self.coordinator_state()) {
                tracing::warn!("{error}");
            }
            self.publish_in_etcd(before.0, state, &waits_for);
        }
        let waits_for = match self.machine.tries_again_at() {
            Some(at) => {
                let said = self.again.take().filter(|(said, _)| *said == at);
                // Said once: worked out again it might be another second.
                let (_, said) = self.again.insert(said.unwrap_or_else(|| {
                    let left = at.saturating_sub(self.started.elapsed());
                    (at, self.runner.again_in(left))
                }));
                format!("{waits_for}; {said}")
            }
            None => waits_for,
        };
        let waits_for = self.with_window_note(waits_for);
        self.tell_systemd(state, &waits_for);
        self.publish_metrics(outside, state);
        self.tell_findings(&outside.notifier);
        if let Some(bus) = &outside.bus {
            bus.publish(&self.published(state, waits_for)).await;
        }
        self.report_quarantined();
        self.wait_until_cleared();
        let quiet = matches!(self.machine.state(), State::Idle | State::Waiting { .. });
        if quiet
            && self.op.is_none()
            && self.publishing.is_none()
            && self.reporting.is_none()
            && self.clearing.is_none()
            && let Some(semaphore) = self.runner.own_semaphore()
        {
            semaphore.connection().close();
        }
        if self.mode != Mode::Service
            && *self.machine.state() == State::Idle
            && self.machine.request().is_none()
        {
            self.ending.get_or_insert(Ending::Done);
        }
    }

    /// Hands on the metrics, where anybody may read them.
    fn publish_metrics(&self, outside: &mut Outside, state: &str) {
        if !outside.metrics.is_on() {
            return;
        }
        let staged = self
            .machine
            .facts()
            .is_some_and(|facts| matches!(facts.update, Update::Staged(_)));
        let is_pending = staged || self.machine.request().is_some();
        let config = &self.runner.config;
        let record = self.runner.record("", "");
        let certificate = config.certificate_warning(Timestamp::now());
        let pending_since = outside.history.pending_since(is_pending, Timestamp::now());
        let figures = Figures {
            version: env!("CARGO_PKG_VERSION"),
            runs: &record.runs,
            slot: record.slot.as_deref().unwrap_or_default(),
            kernel: record.kernel.as_deref().unwrap_or_default(),
            group: config.group.as_str(),
            strategy: &config.strategy.to_string(),
            state,
            since: self.since,
            pending_since,
            holds: self.machine.holds(),
            etcd_up: self.etcd_error.is_empty(),
            lock_server_up: self
                .machine
                .place()
                .map(|_| self.runner.answered.borrow().trouble.is_empty()),
            configuration_valid: self.config_error.is_empty(),
            warnings: [&self.twin, &self.lost_hold]
                .into_iter()
                .filter(|warning| !warning.is_empty())
                .count(),
            certificate_until: certificate.map(|warning| warning.until()),
            last: outside.history.last(),
        };
        outside.metrics.publish(metrics::agent::text(&figures));
    }

    /// Writes down what has happened. The record, which may be written with the next step, has it as well.
    fn note_history(&self, outside: &mut Outside, state: &str, why: &str) {
        let Some(journal) = self.machine.journal() else {
            return;
        };
        let seen = Seen {
            state,
            why,
            journal,
            runs: &self.runner.runs,
        };
        let history = &mut outside.history;
        let happened = history.look(&seen, &self.runner.boot_id, Timestamp::now());
        happened.iter().for_each(Happened::log);
        outside.history_file.add(&happened);
        outside.notifier.happened(&happened);
        self.runner.last.replace(history.last().cloned());
    }

    /// Tells what is wrong around the node.
    fn tell_findings(&self, notifier: &Notifier) {
        // After a changed configuration nothing is known of it until it has been asked.
        if self.recorded || !self.etcd_error.is_empty() {
            let reachable = Some("etcd-reachable");
            notifier.finds("etcd-unreachable", &self.etcd_error, reachable);
        }
        let trouble = sentence(&self.runner.answered.borrow().trouble);
        notifier.finds(
            "fleet-lock-unreachable",
            &trouble,
            Some("fleet-lock-reachable"),
        );
        notifier.finds("configuration-fault", &self.config_error, None);
        notifier.finds("same-machine-id", &self.twin, None);
        notifier.finds("lock-unknown", &self.lost_hold, None);
    }

    /// What is waited for, and that this node's reboots outlast every window, where they do; that is logged once.
    fn with_window_note(&mut self, waits_for: String) -> String {
        let note = self.machine.window_note(&self.now());
        if let Some(note) = &note
            && self.window_note.as_ref() != Some(note)
        {
            tracing::warn!("{note}");
        }
        self.window_note = note;
        match &self.window_note {
            Some(note) if waits_for.is_empty() => note.clone(),
            Some(note) => format!("{waits_for}; {note}"),
            None => waits_for,
        }
    }

    /// Logs where the agent stands. That a hook runs is logged with its start, and not again as what is waited for.
    fn log(&mut self, line: String) {
        if self.machine.waits_for_hook() || self.logged == line {
            return;
        }
        // What somebody should look at is found by its level.
        if matches!(
            self.machine.state(),
            State::SteppingBack { .. }
                | State::Doubting { .. }
                | State::Unproven { .. }
                | State::RollingBack { .. }
                | State::SoakFailed { .. }
        ) {
            tracing::warn!("{line}");
        } else {
            tracing::info!("{line}");
        }
        self.logged = line;
    }

    /// The unit's status text, where it has changed: state and what it waits for, and what keeps the configuration or etcd from working,
    /// so that a node in such trouble does not look well until its next update.
    fn tell_systemd(&mut self, state: &str, waits_for: &str) {
        let mut status = state.to_owned();
        for (before, text) in [
            (": ", waits_for),
            ("; etcd: ", &self.etcd_error),
            ("; ", &self.twin),
            (
                "; the configuration on disk is not used: ",
                &self.config_error,
            ),
        ] {
            if !text.is_empty() {
                status += before;
                status += text;
            }
        }
        if status != self.status {
            notify::status(&status);
            self.status = status;
        }
    }

    /// What came of telling etcd of this node: the one request that an idle agent makes at its start and after a reload.
    pub(super) fn etcd_answered(&mut self, (asked, no_hold): Asked) {
        let now = match asked {
            Ok(held) => {
                self.recorded = true;
                self.look_for_a_lost_hold(held.as_ref(), no_hold);
                String::new()
            }
            Err(why) => sentence(&why.to_string()),
        };
        if now == self.etcd_error {
            return;
        }
        if now.is_empty() {
            tracing::info!("etcd answers");
        } else {
            tracing::warn!(
                "etcd cannot be used, and no reboot will be coordinated until it can: {now}"
            );
        }
        self.etcd_error = now;
    }

    /// Whether somebody else goes by this node's id. It stays said until the next start or reload: the two write in turn, and
    /// both are meant.
    fn look_for_a_twin(&mut self) {
        let semaphore = self.runner.own_semaphore();
        let Some(record) = semaphore.and_then(|semaphore| semaphore.twin_seen()) else {
            return;
        };
        let twin = sentence(&identity::twin(&record, &self.runner.id));
        if twin != self.twin {
            tracing::warn!("{twin}");
            self.twin = twin;
        }
    }

    /// Whether this node holds, and its own journal has forgotten that.
    fn look_for_a_lost_hold(&mut self, held: Option<&Holder>, no_hold: bool) {
        let unknown = no_hold && self.machine.entry().is_none();
        let held = held.filter(|_| unknown);
        let lost = held.and_then(|held| identity::lost_hold(held, &self.runner.id));
        let lost = lost.map(|lost| sentence(&lost)).unwrap_or_default();
        if lost != self.lost_hold && !lost.is_empty() {
            tracing::warn!("{lost}");
        }
        self.lost_hold = lost;
    }

    /// Tells etcd of this node although nothing has changed, to see whether it can be reached.
    pub(super) fn ask_etcd_once(&mut self) {
        let (state, waits_for) = self.machine.report();
        if matches!(state, "idle" | "waiting" | "unproven") {
            self.publish(state, &sentence(&waits_for));
        }
    }

    /// Tells the cluster of what this node found to be bad, as soon as etcd answers.
    fn report_quarantined(&mut self) {
        let Some(owed) = self.machine.owed() else {
            return;
        };
        if self.runner.own_semaphore().is_none() {
            return;
        }
        if self.reporting.is_some() || self.ending.is_some() {
            return;
        }
        let (runner, what) = (self.runner.clone(), owed.what.clone());
        let quarantine = self.runner.quarantine(owed);
        let mut waits = EffectRunner::back_off(&self.runner.config).waits();
        self.reporting = Some(Box::pin(async move {
            while let Some(semaphore) = runner.own_semaphore()
                && let Err(error) = semaphore.quarantine(&quarantine).await
            {
                tracing::warn!("{error}");
                sleep(waits.next().unwrap_or(Duration::from_secs(60))).await;
            }
            tracing::warn!(
                "{what} is quarantined for the whole cluster: {}",
                quarantine.reason
            );
            runner.told.borrow_mut().push(what.clone());
            Event::Reported(what)
        }));
    }

    /// Waits until a person clears the image that failed its soak here, where one did: then it counts as proven.
    fn wait_until_cleared(&mut self) {
        let image = self.machine.waits_to_be_cleared().cloned();
        let Some(image) = image.filter(|_| self.runner.own_semaphore().is_some()) else {
            self.clearing = None;
            return;
        };
        let runner = self.runner.clone();
        self.clearing.get_or_insert_with(|| {
            Box::pin(async move {
                let mut waits = EffectRunner::back_off(&runner.config).waits();
                // With each try as etcd is reached then: credentials may be renewed meanwhile.
                while let Some(semaphore) = runner.own_semaphore()
                    && let Err(error) = semaphore.quarantine_ends(&image).await
                {
                    tracing::debug!("{error}");
                    sleep(waits.next().unwrap_or(runner.config.timings.retry_max)).await;
                    runner.read_credentials_again();
                }
                tracing::info!("{image}, which had failed its soak, is quarantined no more");
                Event::SoakCleared(image)
            })
        });
    }

    /// The states a semaphore transaction ends in are written by that transaction; the others here.
    fn publish_in_etcd(&mut self, before: &'static str, state: &'static str, waits_for: &str) {
        // A boot that is not proven is checked again and again.
        match (state, &self.unproven) {
            ("unproven", Some(told)) if told == waits_for => return,
            ("proving", Some(_)) => return,
            ("unproven", _) => {}
            _ => self.unproven = None,
        }
        let soaks =
            state == "soaking" && matches!(before, "soaking" | "stepping-back" | "starting");
        let here = matches!(state, "waiting" | "unproven" | "soak-failed")
            || soaks
            || (state == "idle"
                && matches!(before, "starting" | "waiting" | "proving" | "unproven"));
        let runner = self.runner.clone();
        if runner.own_semaphore().is_none() {
            return;
        }
        if !here {
            // An older word must not come after the newer one.
            self.publishing = None;
            return;
        }
        if state == "unproven" {
            self.unproven = Some(waits_for.to_owned());
        }
        self.publish(state, waits_for);
    }

    fn publish(&mut self, state: &'static str, waits_for: &str) {
        self.note_what_is_proven();
        let runner = self.runner.clone();
        let record = runner.record(state, waits_for);
        let answered = self.asked_etcd.0.clone();
        let no_hold = self.machine.entry().is_none();
        let mut waits = EffectRunner::back_off(&self.runner.config).waits();
        self.publishing = Some(Box::pin(async move {
            while let Some(semaphore) = runner.own_semaphore() {
                let published = semaphore.publish(&record).await;
                let answer = published.map_err(|error| runner.explain(error));
                let done = answer.is_ok();
                // The driver outlives it.
                let _ = answered.send((answer, no_hold));
                if done {
                    break;
                }
                runner.read_credentials_again();
                sleep(waits.next().unwrap_or(Duration::from_secs(60))).await;
            }
        }));
    }

    fn published(&self, state: &str, waits_for: String) -> Published {
        let facts = self.machine.facts();
        Published {
            state: state.to_owned(),
            waits_for,
            strategy: self.runner.config.strategy.to_string(),
            group: self.runner.config.group.as_str().to_owned(),
            node_id: self.runner.id.clone(),
            since: format!("{:.0}", self.since),
            holding: self.machine.holds(),
            request: self
                .machine
                .request()
                .map(Request::shown)
                .unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_error: self.config_error.clone(),
            failed_before: self.machine.failed_before().to_vec(),
            etcd_error: self.etcd_error.clone(),
            recorded: self.recorded,
            twin: self.twin.clone(),
            lock_server: self
                .machine
                .place()
                .map(|place| place.url.clone())
                .unwrap_or_default(),
            lock_server_last_call: sentence(&self.runner.answered.borrow().last),
            lock_server_error: sentence(&self.runner.answered.borrow().trouble),
            update: match facts.map(|f| &f.update) {
                None => String::new(),
                Some(Update::Unknown(why)) => why.to_string(),
                Some(Update::Unusable(why)) => why.to_string(),
                Some(Update::None(word)) => word.clone(),
                Some(Update::Staged(_)) => "staged".into(),
            },
            member: self.runner.member.borrow().clone(),
            to: self
                .machine
                .entry()
                .and_then(|entry| entry.intent.to.version.clone())
                .unwrap_or_default(),
        }
    }

    pub(super) fn coordinator_state(&self) -> coordinator::State {
        match self.machine.state() {
            State::Starting => coordinator::State::Starting,
            State::Leaving if self.machine.greets() => coordinator::State::Running,
            _ if self.runner.config.strategy == Strategy::Off => coordinator::State::Disabled,
            State::Rebooting { .. } | State::Doubting { .. } | State::GoingDown { .. } => {
                coordinator::State::Rebooting
            }
            State::RollingBack { .. } => coordinator::State::Rebooting,
            State::Idle
            | State::Proving
            | State::Unproven { .. }
            | State::Marking
            | State::Undraining
            | State::Resuming
            | State::Soaking { .. }
            | State::SoakFailed { .. }
            | State::Releasing { .. }
            | State::Stopped => coordinator::State::Running,
            _ => coordinator::State::RebootPlanned,
        }
    }
}

/// One line of at most [`LONGEST`] characters: whoever may write to etcd or inhibit a shutdown has a word in it.
fn sentence(said: &str) -> String {
    text::one_line(&text::cut(said, LONGEST)).into_owned()
}
