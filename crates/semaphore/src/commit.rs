//! May a node that holds the reboot lock reboot now? Pure.

use std::fmt;

use crate::{
    document::{Document, DocumentError},
    gates::{Closed, Gates},
    records::{Holder, LostNode, Phase},
};

/// What a node that is to reboot sees in etcd at one revision.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The node's id.
    pub id: &'a str,
    /// The entry of its claim; none where the claim does not hold.
    pub own: Option<&'a Holder>,
    /// That the node was passed over, where it was.
    pub lost: Option<&'a LostNode>,
    /// The document; none where it is gone.
    pub document: Option<&'a Result<Document, DocumentError>>,
    /// The gates that are asked again before the reboot.
    pub gates: &'a Gates,
}

/// What a commit does.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Write the phase `rebooting` into this entry.
    Commit(Holder),
    /// Nothing: an earlier try wrote it, and its reply was lost.
    Committed,
    /// Nothing: the node must not reboot.
    StepBack(Refusal),
}

/// Why a node that holds the lock must not reboot.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// The claim does not hold any more.
    NotHeld,
    /// Another node passed over this one by the group's policy.
    ThoughtLost(LostNode),
    /// The claim is in a phase that this boot has not reached: another machine has a copy of the journal.
    Twin,
    /// The document is gone or cannot be read.
    NoDocument,
    /// The document does not name the node.
    NotNamed,
    /// The group is stopped.
    Stopped,
    /// A gate is closed.
    Gate(Closed),
}

/// Decides what the commit of a claim does.
#[must_use]
pub fn decide(standing: Standing<'_>) -> Step {
    let refuse = Step::StepBack;
    let Some(entry) = standing.own else {
        return refuse(not_held(standing));
    };
    match &entry.phase {
        Phase::Rebooting => return Step::Committed,
        Phase::Proving | Phase::Soaking => return refuse(Refusal::Twin),
        Phase::Draining | Phase::Manual | Phase::Other(_) => {}
    }
    let Some(Ok(document)) = standing.document else {
        return refuse(Refusal::NoDocument);
    };
    if !document.holds(standing.id) {
        return refuse(Refusal::NotNamed);
    }
    if document.max == 0 {
        return refuse(Refusal::Stopped);
    }
    if let Some(closed) = standing.gates.closed.first() {
        return refuse(Refusal::Gate(closed.clone()));
    }
    Step::Commit(Holder {
        phase: Phase::Rebooting,
        ..entry.clone()
    })
}

/// Why a claim holds no more.
fn not_held(standing: Standing<'_>) -> Refusal {
    match standing.lost {
        Some(lost) => Refusal::ThoughtLost(lost.clone()),
        None => Refusal::NotHeld,
    }
}

/// Decides what the commit of the way back does: as [`decide`], but of a node that soaks, and no stop keeps it.
#[must_use]
pub fn decide_way_back(standing: Standing<'_>) -> Step {
    let refuse = Step::StepBack;
    let Some(entry) = standing.own else {
        return refuse(not_held(standing));
    };
    match &entry.phase {
        Phase::Rebooting => return Step::Committed,
        // After a power cut in its soak it is checked again, and may go back without being proven.
        Phase::Soaking | Phase::Proving => {}
        Phase::Draining | Phase::Manual | Phase::Other(_) => {
            return refuse(Refusal::Twin);
        }
    }
    match standing.document {
        Some(Ok(document)) if document.holds(standing.id) => {}
        Some(Ok(_)) => return refuse(Refusal::NotNamed),
        Some(Err(_)) | None => return refuse(Refusal::NoDocument),
    }
    match standing.gates.closed.first() {
        Some(closed) => refuse(Refusal::Gate(closed.clone())),
        None => Step::Commit(Holder {
            phase: Phase::Rebooting,
            ..entry.clone()
        }),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHeld => "the reboot lock was taken from this node",
            Self::ThoughtLost(lost) => return f.write_str(&lost.of_itself()),
            Self::Twin => {
                "another machine with this node's machine id and journal is up and being checked under the same claim"
            }
            Self::NoDocument => "the group's document in etcd is gone or unreadable",
            Self::NotNamed => "the group's document in etcd does not name this node any more",
            Self::Stopped => "the group is stopped (max is 0)",
            Self::Gate(closed) => return closed.fmt(f),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gates::ClosedBy, records::Pause};

    fn entry(phase: Phase) -> Holder {
        let mut entry: Holder =
            serde_json::from_str(r#"{"id":"me","phase":"draining","nonce":"mine"}"#).unwrap();
        entry.phase = phase;
        entry
    }

    fn document(text: &str) -> Result<Document, DocumentError> {
        Document::parse(text.as_bytes())
    }

    fn commit(
        own: Option<&Holder>,
        document: Option<&Result<Document, DocumentError>>,
        gates: &Gates,
    ) -> Step {
        let id = "me";
        decide(Standing {
            id,
            own,
            lost: None,
            document,
            gates,
        })
    }

    #[test]
    fn only_a_holder_with_all_gates_open_commits() {
        let draining = entry(Phase::Draining);
        let named = document(r#"{"max":1,"holders":["me"]}"#);
        let open = Gates::default();
        let Step::Commit(committed) = commit(Some(&draining), Some(&named), &open) else {
            panic!("it holds, and nothing is against it")
        };
        assert_eq!(
            (committed.phase, &*committed.nonce),
            (Phase::Rebooting, "mine")
        );

        let no = Step::StepBack;
        let closed = Closed {
            key: "pause".into(),
            by: ClosedBy::Pause {
                all: false,
                pause: serde_json::from_str::<Pause>("{}").unwrap(),
            },
        };
        let gates = Gates {
            closed: vec![closed.clone()],
            readings: Vec::new(),
        };
        let cases = [
            (None, Some(&named), &open, no(Refusal::NotHeld)),
            (
                Some(entry(Phase::Proving)),
                Some(&named),
                &open,
                no(Refusal::Twin),
            ),
            (
                Some(entry(Phase::Soaking)),
                Some(&named),
                &open,
                no(Refusal::Twin),
            ),
            (Some(draining.clone()), None, &open, no(Refusal::NoDocument)),
            (
                Some(draining.clone()),
                Some(&document("x")),
                &open,
                no(Refusal::NoDocument),
            ),
            (
                Some(draining.clone()),
                Some(&document(r#"{"max":1,"holders":["b"]}"#)),
                &open,
                no(Refusal::NotNamed),
            ),
            (
                Some(draining.clone()),
                Some(&document(r#"{"max":0,"holders":["me"]}"#)),
                &open,
                no(Refusal::Stopped),
            ),
            (
                Some(draining),
                Some(&named),
                &gates,
                no(Refusal::Gate(closed)),
            ),
            // What is committed is committed, whatever has closed since.
            (
                Some(entry(Phase::Rebooting)),
                Some(&named),
                &gates,
                Step::Committed,
            ),
        ];
        for (own, document, gates, expected) in cases {
            assert_eq!(commit(own.as_ref(), document, gates), expected);
        }
    }

    #[test]
    fn way_back_is_of_a_node_that_soaks_and_no_stop_keeps_it() {
        let open = Gates::default();
        let stopped = document(r#"{"max":0,"holders":["me"]}"#);
        let way_back = |phase: Phase| {
            let own = entry(phase);
            decide_way_back(Standing {
                lost: None,
                id: "me",
                own: Some(&own),
                document: Some(&stopped),
                gates: &open,
            })
        };
        let Step::Commit(committed) = way_back(Phase::Soaking) else {
            panic!("it soaks")
        };
        assert_eq!(committed.phase, Phase::Rebooting);
        assert_eq!(way_back(Phase::Rebooting), Step::Committed);
        let committed = |step: &Step| matches!(step, Step::Commit(_));
        assert!(committed(&way_back(Phase::Proving)));
        for phase in [Phase::Draining, Phase::Manual] {
            assert_eq!(way_back(phase), Step::StepBack(Refusal::Twin));
        }
    }
}
