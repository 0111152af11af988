//! Bugs that can be seeded into the simulated nodes: each is what is left of the protocol when one rule is forgotten. The model
//! must find every one of them. The product has no part in this: a compare is dropped where the simulation sends it.

use semaphore::records::Phase;

use super::{
    flight::Flight,
    store::{Compare, Store, Write},
};

/// A rule that is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// The take does not compare the group's document.
    TakeWithoutDocument,
    /// The take compares nothing of the gates' keys of quarantines.
    TakeWithoutQuarantine,
    /// The take does not compare the pause.
    TakeWithoutPause,
    /// The commit compares neither the node's own entry nor the document: no fencing.
    CommitWithoutFence,
    /// The commit does not compare the quarantines of the image.
    CommitWithoutQuarantine,
    /// The commit does not compare the pause.
    CommitWithoutPause,
    /// The release compares neither the entry (and so the nonce) nor the document.
    ReleaseWithoutFence,
    /// The release does not compare the policy, by which the node would soak.
    ReleaseWithoutSoak,
    /// A wave is opened whatever the members have proven.
    OpeningWithoutMembers,
    /// Nobody asks whether the group before has opened the image.
    WavesIgnored,
    /// Nobody asks who stands before in the queue.
    TicketOrderIgnored,
    /// The nodes that are lost already do not count against the budget.
    LostNotCounted,
    /// Who passes over a holder does not compare whether its grace has passed, nor its entry and the document.
    PassOverWithoutGrace,
    /// After a lost reply the agent takes under another nonce.
    NewNonceAfterLostReply,
    /// The claim is not in the journal before the take.
    TakeNotJournalled,
}

/// What a transaction does with a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Take,
    Commit,
    Release,
    PassOver,
    Open,
    Other,
}

impl Flight {
    /// What it is, by what it writes.
    pub(super) fn doing(&self) -> Doing {
        let puts = |part: &str| {
            let mut writes = self.writes.iter();
            writes.find_map(|write| match write {
                Write::Put(key, value, _) if key.contains(part) => Some(value.as_str()),
                _ => None,
            })
        };
        let deletes = |part: &str| {
            let mut writes = self.writes.iter();
            writes.any(|write| matches!(write, Write::Delete(key) if key.contains(part)))
        };
        let rebooting = format!(r#""phase":"{}""#, Phase::Rebooting);
        match puts("/holders/") {
            Some(_) if deletes("/queue/") => Doing::Take,
            Some(entry) if entry.contains(&rebooting) => Doing::Commit,
            Some(_) => Doing::Other,
            None if puts("/lost/").is_some() => Doing::PassOver,
            None if deletes("/holders/") => Doing::Release,
            None if puts("/waves/").is_some() => Doing::Open,
            None => Doing::Other,
        }
    }
}

/// The transaction as an agent with the seeded bug sends it.
pub(super) fn weakened(flight: Flight, store: &Store) -> Flight {
    let Some((doing, dropped)) = store.bug.and_then(dropped) else {
        return flight;
    };
    if flight.doing() != doing {
        return flight;
    }
    let stays = |compare: &Compare| {
        let key = compare.key();
        !dropped.iter().any(|part| key.contains(part))
    };
    Flight {
        compares: flight.compares.into_iter().filter(stays).collect(),
        ..flight
    }
}

/// The compares that a bug drops, by a part of their key, and of which transaction.
fn dropped(bug: Bug) -> Option<(Doing, &'static [&'static str])> {
    Some(match bug {
        Bug::TakeWithoutDocument => (Doing::Take, &["/semaphore"]),
        Bug::TakeWithoutQuarantine => (Doing::Take, &["/quarantine/"]),
        Bug::TakeWithoutPause => (Doing::Take, &["/pause"]),
        Bug::CommitWithoutFence => (Doing::Commit, &["/holders/", "/semaphore"]),
        Bug::CommitWithoutQuarantine => (Doing::Commit, &["/quarantine/"]),
        Bug::CommitWithoutPause => (Doing::Commit, &["/pause"]),
        Bug::ReleaseWithoutFence => (Doing::Release, &["/holders/", "/semaphore"]),
        Bug::ReleaseWithoutSoak => (Doing::Release, &["/policy"]),
        Bug::PassOverWithoutGrace => (Doing::PassOver, &["/expires/", "/holders/", "/semaphore"]),
        Bug::OpeningWithoutMembers
        | Bug::WavesIgnored
        | Bug::TicketOrderIgnored
        | Bug::LostNotCounted
        | Bug::NewNonceAfterLostReply
        | Bug::TakeNotJournalled => return None,
    })
}

impl Compare {
    /// The key, or the prefix.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::AsRead(key, _)
            | Self::Created(key, _)
            | Self::NoneSince(key, _)
            | Self::AllAre(key, _)
            | Self::NoneIs(key, _) => key,
        }
    }
}
