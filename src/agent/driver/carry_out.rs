//! Carries out what the machine answers.

use std::collections::VecDeque;

use host::{blocking, bus::BusError, duration, systemd, update_engine::UpdateEngine};
use tokio::time::sleep;

use super::{Driver, Ending};
use crate::agent::{
    effects::{EffectRunner, Updates},
    failure::Refusal,
    journal::{Journal, JournalError},
    machine::{Effect, Event, Op},
    restage::Reset,
};

const UPDATE_ENGINE: &str = "update-engine.service";

/// How often it is tried to start it.
const TRIES: usize = 10;

impl Driver {
    /// Does these effects, and those of the events that they lead to at once.
    pub(super) async fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let Some(event) = self.perform(effect).await else {
                continue;
            };
            if matches!(event, Event::JournalFailed(_)) {
                effects.clear();
            }
            let now = self.now();
            for effect in self.machine.step(event, &now).into_iter().rev() {
                effects.push_front(effect);
            }
        }
    }

    /// Does an effect; the event that it leads to at once, if it does.
    async fn perform(&mut self, effect: Effect) -> Option<Event> {
        self.note_what_is_proven();
        match effect {
            Effect::Journal(journal) => {
                if let Err(error) = self.save(journal).await {
                    tracing::error!("{error}");
                    self.answer(Err(Refusal::Journal(error.clone())));
                    return Some(Event::JournalFailed(error));
                }
            }
            Effect::Remember(journal) => {
                if let Err(error) = self.save(journal).await {
                    tracing::error!("{error}");
                }
            }
            Effect::Run(op) => {
                tracing::debug!(?op, "operation");
                // It activates the new slot; should no reboot follow, the booted one is pinned again.
                self.next_slot_due |= matches!(op, Op::Reboot(_));
                self.heard = None;
                self.ended = None;
                self.op = Some(Box::pin(self.runner.clone().run(op)));
            }
            Effect::Announce(grace) => {
                let runner = self.runner.clone();
                let message = format!(
                    "Reboot pending: the system reboots in {}.",
                    duration::print(grace)
                );
                tokio::task::spawn_local(async move { runner.tell(&message).await });
            }
            Effect::HoldUpdatesBack => self.hold_updates_back(),
            Effect::LetUpdatesIn => self.let_updates_in(),
            Effect::Reset(why) => self.reset_update(why),
            Effect::Answer(answer) => self.answer(answer),
            Effect::Again => return Some(Event::Tick),
            Effect::Exit => self.ending = Some(Ending::Stopped),
        }
        None
    }

    /// Has the runner tell what was proven here last, with the next record that it writes, and know what the node knows of
    /// windows, for the next claim.
    pub(super) fn note_what_is_proven(&self) {
        let proven = self.machine.proven_digest().map(str::to_owned);
        self.runner.proven.replace(proven);
        self.runner
            .known_windows
            .replace(self.machine.known_windows());
    }

    async fn save(&mut self, journal: Journal) -> Result<(), JournalError> {
        let file = self.runner.journal.clone();
        self.meanwhile(blocking::run(move || file.save(&journal)))
            .await
    }

    /// Stops update_engine.
    fn hold_updates_back(&self) {
        if self.runner.updates != Updates::Engine {
            return;
        }
        let runner = self.runner.clone();
        tokio::task::spawn_local(async move {
            match systemd::unit(&runner.bus, "StopUnit", UPDATE_ENGINE).await {
                Ok(_) => tracing::info!("update_engine is stopped while this node soaks"),
                Err(error) => tracing::warn!("update_engine cannot be stopped: {error}"),
            }
        });
    }

    /// Starts update_engine, which was held back.
    fn let_updates_in(&self) {
        if self.runner.updates != Updates::Engine {
            return;
        }
        let runner = self.runner.clone();
        let waits = EffectRunner::back_off(&runner.config).waits();
        tokio::task::spawn_local(async move {
            for wait in waits.take(TRIES) {
                match systemd::unit(&runner.bus, "StartUnit", UPDATE_ENGINE).await {
                    Ok(_) => return,
                    // Where no systemd is on the bus nobody has held it back.
                    Err(BusError::NoOwner { .. }) => return,
                    Err(error) => {
                        tracing::warn!(
                            "update_engine, which was held back, is not started: {error}"
                        );
                    }
                }
                sleep(wait).await;
            }
        });
    }

    /// Starts update_engine where it was held back and is not any more: the agent that was to start it died before.
    pub(super) fn let_skipped_updates_in(&self) {
        let under_way = self.machine.entry().is_some() && !self.machine.greets();
        let held_back = under_way || self.machine.is_on_trial();
        if held_back || self.runner.updates != Updates::Engine {
            return;
        }
        let runner = self.runner.clone();
        tokio::task::spawn_local(async move {
            match systemd::start_if_skipped(&runner.bus, UPDATE_ENGINE).await {
                Ok(true) => tracing::info!("update_engine, which was held back, is started"),
                Ok(false) => {}
                Err(error) => tracing::debug!("whether update_engine was held back: {error}"),
            }
        });
    }

    /// Has update_engine forget what it staged; of that it sends no signal.
    fn reset_update(&self, why: Reset) {
        if self.runner.updates != Updates::Engine {
            return;
        }
        let (what, what_now) = match why {
            Reset::Quarantined => ("the quarantined update", "checks for another one"),
            Reset::Old | Reset::NewerWave => ("the staged update", "checks for a newer one"),
        };
        let (runner, look_again) = (self.runner.clone(), self.look_again.clone());
        tokio::task::spawn_local(async move {
            // After it nobody knows any more which version the other slot holds.
            let held = runner
                .next_slot
                .run(|next_slot| next_slot.settle(true, true))
                .await;
            if let Err(fault) = held {
                tracing::error!("{what} is not reset, because it would boot next: {fault}");
                return;
            }
            let engine = UpdateEngine::new(&runner.bus);
            if let Err(error) = engine.reset_status().await {
                tracing::error!("{what} cannot be reset: {error}");
                return;
            }
            tracing::info!("{what} is reset: update_engine {what_now}");
            if why != Reset::Quarantined
                && let Err(error) = engine.attempt_update().await
            {
                tracing::warn!("update_engine checks later: {error}");
            }
            look_again.notify_one();
        });
    }
}
