//! What a waiting node does next, decided from what it sees in etcd. Pure.

use super::{
    document::{Document, DocumentError, Refusal},
    records::{Holder, Image, MemberOut, Pause, Phase, Quarantine},
};

/// A value as it was read, to be compared by who rewrites it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The revision of its last change.
    pub modified: i64,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// What a node that wants the semaphore sees in etcd at one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The cluster's id: revisions of another one say nothing.
    pub cluster: u64,
    /// The revision of the store.
    pub revision: i64,
    /// The revision at which all of this was read; a change of the document that was seen since is newer.
    pub read_at: i64,
    /// The document, and as it was read; none where nobody has ever used the group.
    pub document: Option<(Result<Document, DocumentError>, Stored)>,
    /// Whether this node has seen a document there before, in this store or another one.
    pub document_seen: bool,
    /// Whether the node's ticket has stood for as long as its lease: whoever knows better has had the time to say so.
    pub ticket_stood: bool,
    /// The entry under this node's id among the holders, and as it was read.
    pub holder: Option<(Holder, Stored)>,
    /// The revision at which that entry was put.
    pub held_since: i64,
    /// The create revision of this node's ticket: its place in the line.
    pub ticket: Option<i64>,
    /// The key of the ticket right before this node's, and the host name on it.
    pub predecessor: Option<(String, String)>,
    /// The whole cluster's pause.
    pub pause_all: Option<Pause>,
    /// The group's pause.
    pub pause: Option<Pause>,
    /// What keeps the node from the image it wants to boot.
    pub quarantine: Option<Quarantined>,
    /// The node with a member of etcd that is out; looked at only by a node with a member.
    pub member_out: Option<MemberOut>,
    /// Whether that was written before a person accepted this store: it may have come back with a snapshot.
    pub member_before_accept: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing more: the semaphore is this claim's.
    Held,
    /// Give up the place in the line, and wait until what blocks is gone.
    Blocked(Block),
    /// Take a ticket.
    Enqueue,
    /// Wait until the ticket right before is gone.
    WaitBehind {
        /// Its key.
        key: String,
        /// The host name on it.
        hostname: String,
    },
    /// Write the first document.
    Create,
    /// Wait until there is a document, or until the ticket has stood for its lease.
    WaitCreated {
        /// Whether there was one before: then only a person creates it.
        seen: bool,
    },
    /// Wait until the document changes: it cannot be used.
    WaitRepaired(DocumentError),
    /// Wait until the document changes: all of `max` is taken.
    WaitFull {
        /// The document as it is.
        document: Document,
    },
    /// Wait until the pause ends: the whole cluster's (`all`), or the group's.
    WaitResumed {
        /// Whether it is the whole cluster's.
        all: bool,
        /// The pause.
        pause: Pause,
    },
    /// Put this claim's entry over that of the person who locked the node by hand: no more nodes are out than before.
    TakeOver {
        /// The entry of the lock by hand, and as it was read.
        by_hand: Holder,
        /// As it was read.
        entry: Stored,
        /// The document, which names the node already.
        document: Document,
        /// As it was read.
        read: Stored,
    },
    /// Write this document, if the one there still has this mod revision.
    Take {
        /// The document with this node among the holders.
        document: Document,
        /// The document it was made from, as it was read.
        read: Stored,
    },
}

/// What keeps a node out of the line, however short the line is.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// An entry with the node's id that this node did not make: a cloned machine id, or a manual `lock`.
    Foreign(Holder),
    /// The document names the node, and no entry says who put it there.
    Listed,
    /// The image or version must not be booted.
    Quarantined(Quarantined),
    /// Another node with a member of etcd is out, while the semaphore has room for nodes without one.
    Member {
        /// That node.
        out: MemberOut,
        /// Whether that was written before a person accepted this store.
        before_accept: bool,
    },
}

/// A quarantine that concerns a node's image.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantined {
    /// Its key.
    pub key: String,
    /// What was said of the image.
    pub why: Quarantine,
    /// The node's image, where its version is not known and the quarantine is of a version only: it may be that one.
    pub maybe: Option<Image>,
}

/// Who asks for the next step.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The node's id.
    pub id: &'a str,
    /// Its host name: what another one took under the same id is another machine's.
    pub hostname: &'a str,
    /// The nonce of its claim.
    pub nonce: &'a str,
    /// Whether a person asked for the reboot: it goes also under the lock that a person took for the node by hand.
    pub by_person: bool,
}

/// Decides the next step of a node with its claim.
///
/// A node that is first in the line stays first: a ticket's place is its create revision, which only
/// grows. So nothing but the line's order and the document decides who is next.
#[must_use]
pub fn decide(view: &View, asker: Asker<'_>) -> Step {
    let Asker { id, nonce, .. } = asker;
    // A reboot in the middle of a drain would take away what still carries load.
    let by_hand = |holder: &Holder| {
        let own = holder.phase == Phase::Manual && holder.is_of_host(asker.hostname);
        asker.by_person && own && !holder.is_half_drained()
    };
    match &view.holder {
        None => {}
        Some((holder, _)) if holder.nonce == nonce => return Step::Held,
        Some((holder, entry)) if by_hand(holder) => return under_the_lock(view, id, holder, entry),
        Some((holder, _)) => return foreign(id, holder),
    }
    if let Some(quarantined) = &view.quarantine {
        return Step::Blocked(Block::Quarantined(quarantined.clone()));
    }
    if let Some((Ok(document), _)) = &view.document
        && document.holds(id)
    {
        return Step::Blocked(Block::Listed);
    }
    // Where it is that other one that fills the semaphore, the place in the line is kept.
    if let (Some(out), Some((Ok(document), _))) = (&view.member_out, &view.document)
        && document.with(id).is_ok()
    {
        return member(view, out);
    }
    if view.ticket.is_none() {
        return Step::Enqueue;
    }
    if let Some((key, hostname)) = view.predecessor.clone() {
        return Step::WaitBehind { key, hostname };
    }
    if let Some(paused) = paused(view) {
        return paused;
    }
    let (document, read) = match &view.document {
        None if view.document_seen => return Step::WaitCreated { seen: true },
        None if !view.ticket_stood => return Step::WaitCreated { seen: false },
        None => return Step::Create,
        Some((Err(error), _)) => return Step::WaitRepaired(error.clone()),
        Some((Ok(document), read)) => (document, read.clone()),
    };
    match document.with(id) {
        Ok(document) => Step::Take { document, read },
        Err(Refusal::Full) => Step::WaitFull {
            document: document.clone(),
        },
        Err(Refusal::Held) => Step::Blocked(Block::Listed),
    }
}

/// The next step of a node that a person locked by hand, for a reboot that a person asked for. It passes the queue, for it is
/// out already; all else that keeps a node keeps it too.
fn under_the_lock(view: &View, id: &str, by_hand: &Holder, entry: &Stored) -> Step {
    if let Some(quarantined) = &view.quarantine {
        return Step::Blocked(Block::Quarantined(quarantined.clone()));
    }
    if let Some(out) = &view.member_out {
        return member(view, out);
    }
    // It fences the take: whoever gives up the wait deletes it.
    if view.ticket.is_none() {
        return Step::Enqueue;
    }
    if let Some(paused) = paused(view) {
        return paused;
    }
    match &view.document {
        Some((Ok(document), _)) if document.max == 0 => Step::WaitFull {
            document: document.clone(),
        },
        Some((Ok(document), read)) if document.holds(id) => Step::TakeOver {
            by_hand: by_hand.clone(),
            entry: entry.clone(),
            document: document.clone(),
            read: read.clone(),
        },
        Some((Err(error), _)) => Step::WaitRepaired(error.clone()),
        // The entry is a leftover: who holds it is not counted among those that are out.
        None | Some((Ok(_), _)) => foreign(id, by_hand),
    }
}

fn member(view: &View, out: &MemberOut) -> Step {
    Step::Blocked(Block::Member {
        out: out.clone(),
        before_accept: view.member_before_accept,
    })
}

fn foreign(id: &str, holder: &Holder) -> Step {
    Step::Blocked(Block::Foreign(Holder {
        // By the id of its key: the value may say anything.
        id: id.to_owned(),
        ..holder.clone()
    }))
}

fn paused(view: &View) -> Option<Step> {
    [(true, &view.pause_all), (false, &view.pause)]
        .into_iter()
        .find_map(|(all, pause)| {
            let pause = pause.clone()?;
            Some(Step::WaitResumed { all, pause })
        })
}

impl Step {
    /// Whether it is the wait of who is first in the line.
    #[must_use]
    pub fn is_first(&self) -> bool {
        matches!(
            self,
            Self::WaitCreated { .. }
                | Self::WaitRepaired(_)
                | Self::WaitFull { .. }
                | Self::WaitResumed { .. }
        )
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign(holder) if holder.phase == Phase::Manual => {
                f.write_str("this node is locked by hand")?;
                if let Some(since) = holder.since {
                    write!(f, " since {since:.0}")?;
                }
                if let Some(reason) = &holder.reason {
                    write!(f, ": {reason}")?;
                }
                if holder.is_half_drained() {
                    f.write_str("; the drain has not ended")?;
                }
                if !holder.hostname.is_empty() {
                    write!(f, " (on {})", holder.hostname)?;
                }
                write!(f, "; to end that: {}", unlock(holder))
            }
            Self::Foreign(holder) => {
                write!(
                    f,
                    "the semaphore is held under this node's id, but not by this node: {} took it, phase {}",
                    who(&holder.hostname, "another machine with the same id"),
                    holder.phase
                )?;
                if let Some(since) = holder.since {
                    write!(f, ", since {since:.0}")?;
                }
                if let Some(reason) = &holder.reason {
                    write!(f, " ({reason})")?;
                }
                write!(f, "; end it with: {}", unlock(holder))
            }
            Self::Listed => f.write_str(
                "the semaphore names this node as a holder, but this node did not take it; \
                 end it with: pointsman unlock",
            ),
            Self::Quarantined(quarantined) => quarantined.fmt(f),
            Self::Member { out, before_accept } => {
                write!(
                    f,
                    "this node hosts a member of etcd, and so does {out}, which is out"
                )?;
                if *before_accept {
                    let id = host::text::shell_word(&out.id);
                    write!(
                        f,
                        " (written before this store was accepted; if it is not out: pointsman unlock {id})"
                    )?;
                }
                Ok(())
            }
        }
    }
}

impl std::fmt::Display for Quarantined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { why, maybe, .. } = self;
        write!(
            f,
            "{} is quarantined: {}",
            why.what,
            who(&why.reason, "no reason given"),
        )?;
        match who(&why.hostname, &why.node) {
            "" => {}
            finder => write!(f, " (found by {finder})")?,
        }
        match maybe {
            None => Ok(()),
            Some(image) => write!(
                f,
                "; {image} would boot next, whose version is not known here: it may be that one, until that is cleared, or \
                 quarantined by its content"
            ),
        }
    }
}

/// The command that ends this hold: a node that may come back at any moment is unlocked only by force.
#[must_use]
pub fn unlock(holder: &Holder) -> String {
    let force = match holder.phase {
        Phase::Rebooting | Phase::Proving => " --force",
        _ => "",
    };
    format!(
        "pointsman unlock {}{force}",
        host::text::shell_word(&holder.id)
    )
}

fn who<'a>(name: &'a str, otherwise: &'a str) -> &'a str {
    if name.is_empty() { otherwise } else { name }
}

impl std::fmt::Display for Step {
    /// What the node waits for, as a sentence for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held
            | Self::Enqueue
            | Self::Create
            | Self::Take { .. }
            | Self::TakeOver { .. } => {
                f.write_str("taking the semaphore")
            }
            Self::Blocked(block) => block.fmt(f),
            Self::WaitBehind { key, hostname } => {
                let id = key.rsplit('/').next().unwrap_or(key);
                write!(f, "in the queue behind {}", who(hostname, id))?;
                if hostname.is_empty() {
                    Ok(())
                } else {
                    write!(f, " ({id})")
                }
            }
            Self::WaitCreated { seen: true } => f.write_str(
                "first in the queue; the semaphore's document is gone, and stood here before: only a person creates it \
                 again, N being how many may be out: pointsman set-max N",
            ),
            Self::WaitCreated { seen: false } => f.write_str(
                "first in the queue; the group has no document yet: it is created with max 1 once this ticket has stood for \
                 as long as its lease (timings.ticket-lease), or by: pointsman set-max N",
            ),
            Self::WaitRepaired(error) => write!(
                f,
                "the semaphore's document cannot be used: {error}; \
                 to repair it, N being how many may be out: pointsman set-max N --rebuild"
            ),
            Self::WaitFull { document } if document.max == 0 => {
                f.write_str("first in the queue; the group is stopped (max is 0)")
            }
            Self::WaitFull { document } => write!(
                f,
                "first in the queue; the semaphore (max {}) is held by {}",
                document.max,
                document.holders.join(", ")
            ),
            Self::WaitResumed { all, pause } => {
                write!(
                    f,
                    "first in the queue; {} is paused",
                    if *all {
                        "the whole cluster"
                    } else {
                        "the group"
                    }
                )?;
                if !pause.by.is_empty() {
                    write!(f, " by {}", pause.by)?;
                }
                if !pause.reason.is_empty() {
                    write!(f, ": {}", pause.reason)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Phase;

    fn holder(nonce: &str) -> Holder {
        serde_json::from_value(serde_json::json!({"id": "me", "phase": "manual", "nonce": nonce}))
            .unwrap()
    }

    /// First in the line, everything open, two of three taken.
    fn open() -> View {
        View {
            cluster: 1,
            revision: 9,
            document: Some((
                Document::parse(br#"{"max":3,"holders":["a","b"]}"#),
                read(7),
            )),
            ticket_stood: true,
            ticket: Some(5),
            ..View::default()
        }
    }

    fn read(modified: i64) -> Stored {
        Stored {
            modified,
            value: b"as it was read".to_vec(),
        }
    }

    fn pause() -> Pause {
        serde_json::from_str(r#"{"by":"ann","reason":"tea"}"#).unwrap()
    }

    fn step(change: impl FnOnce(&mut View)) -> Step {
        let mut view = open();
        change(&mut view);
        decide(&view, asker(false))
    }

    fn asker(by_person: bool) -> Asker<'static> {
        Asker {
            id: "me",
            hostname: "host",
            nonce: "mine",
            by_person,
        }
    }

    /// Locked by hand, as [`open`] otherwise.
    fn by_hand(change: impl FnOnce(&mut View)) -> Step {
        let mut view = open();
        view.holder = Some((holder("other"), read(8)));
        let document = Document::parse(br#"{"max":3,"holders":["a","b","me"]}"#);
        view.document = Some((document, read(8)));
        view.predecessor = Some(("q/x".into(), "h".into()));
        change(&mut view);
        decide(&view, asker(true))
    }

    #[test]
    fn a_person_reboots_under_a_lock_by_hand_past_the_queue() {
        assert!(
            matches!(by_hand(|_| {}), Step::TakeOver { by_hand, .. } if by_hand.nonce == "other")
        );
        // But not past what keeps every node, nor over an agent's own hold.
        let all_wait = [
            by_hand(|v| v.pause = Some(pause())),
            by_hand(|v| v.pause_all = Some(pause())),
            by_hand(|v| v.member_out = Some(MemberOut::default())),
            by_hand(|v| v.holder.as_mut().unwrap().0.phase = Phase::Rebooting),
            by_hand(|v| {
                v.document = Some((Document::parse(br#"{"max":0,"holders":["me"]}"#), read(8)))
            }),
            by_hand(|v| {
                v.document = Some((Document::parse(br#"{"max":3,"holders":["a"]}"#), read(8)))
            }),
            by_hand(|v| v.document = None),
        ];
        for step in all_wait {
            assert!(
                matches!(
                    step,
                    Step::Blocked(_) | Step::WaitResumed { .. } | Step::WaitFull { .. }
                ),
                "{step:?}"
            );
        }
        assert_eq!(by_hand(|v| v.ticket = None), Step::Enqueue);
    }

    #[test]
    fn the_first_in_an_open_line_takes() {
        let Step::Take {
            document,
            read: from,
        } = step(|_| {})
        else {
            panic!()
        };
        assert_eq!(
            (document.holders.join(","), from),
            ("a,b,me".into(), read(7))
        );
    }

    #[test]
    fn each_obstacle_is_seen() {
        assert_eq!(
            step(|v| v.holder = Some((holder("mine"), read(8)))),
            Step::Held
        );
        assert_eq!(
            step(|v| v.holder = Some((holder("other"), read(8)))),
            Step::Blocked(Block::Foreign(holder("other")))
        );
        assert_eq!(step(|v| v.ticket = None), Step::Enqueue);
        assert_eq!(
            step(|v| v.predecessor = Some(("q/x".into(), "h".into()))),
            Step::WaitBehind {
                key: "q/x".into(),
                hostname: "h".into()
            }
        );
        assert_eq!(step(|v| v.document = None), Step::Create);
        let young = |v: &mut View| (v.document, v.ticket_stood) = (None, false);
        assert_eq!(step(young), Step::WaitCreated { seen: false });
        let gone = |v: &mut View| (v.document, v.document_seen) = (None, true);
        assert_eq!(step(gone), Step::WaitCreated { seen: true });
        // Nothing is created under a pause.
        assert!(matches!(
            step(|v| (v.document, v.pause) = (None, Some(pause()))),
            Step::WaitResumed { all: false, .. }
        ));
        assert!(matches!(
            step(|v| v.document = Some((Document::parse(b"x"), read(7)))),
            Step::WaitRepaired(_)
        ));
        assert_eq!(
            step(
                |v| v.document = Some((Document::parse(br#"{"max":9,"holders":["me"]}"#), read(7)))
            ),
            Step::Blocked(Block::Listed)
        );
        assert!(matches!(
            step(|v| v.document = Some((Ok(Document::new(0)), read(7)))),
            Step::WaitFull { .. }
        ));
        assert_eq!(
            step(|v| v.pause = Some(pause())),
            Step::WaitResumed {
                all: false,
                pause: pause()
            }
        );
        assert_eq!(
            step(|v| v.pause_all = Some(pause())),
            Step::WaitResumed {
                all: true,
                pause: pause()
            }
        );
        let out = MemberOut::default();
        let blocked_by = Step::Blocked(Block::Member {
            out: out.clone(),
            before_accept: false,
        });
        assert_eq!(step(|v| v.member_out = Some(out.clone())), blocked_by);
        assert_eq!(
            step(|v| (v.member_out, v.ticket) = (Some(out.clone()), None)),
            blocked_by
        );
        // It fills the semaphore itself: the line goes on as without members.
        let full = Some((Document::parse(br#"{"max":1,"holders":["a"]}"#), read(7)));
        assert!(matches!(
            step(|v| (v.member_out, v.document) = (Some(out.clone()), full)),
            Step::WaitFull { .. }
        ));
        let bad = Quarantined {
            key: "q/2".into(),
            why: serde_json::from_str(r#"{"version":"2"}"#).unwrap(),
            maybe: None,
        };
        let blocked = Step::Blocked(Block::Quarantined(bad.clone()));
        assert_eq!(step(|v| v.quarantine = Some(bad.clone())), blocked);
        // Who must not go does not stand in the line, wherever its place is.
        assert_eq!(
            step(|v| (v.quarantine, v.predecessor) =
                (Some(bad.clone()), Some(("q/x".into(), "h".into())))),
            blocked
        );
    }

    #[test]
    fn a_pause_keeps_the_place_in_the_line() {
        assert_eq!(
            step(|v| (v.pause, v.ticket) = (Some(pause()), None)),
            Step::Enqueue
        );
    }

    #[test]
    fn the_sentences_name_what_blocks() {
        let mut other = holder("x");
        other.hostname = "twin".into();
        other.phase = Phase::Draining;
        let text = Step::Blocked(Block::Foreign(other.clone())).to_string();
        assert!(
            text.contains("twin") && text.contains("draining") && text.contains("unlock me"),
            "{text}"
        );
        let mut hand = holder("x");
        hand.reason = Some("disk".into());
        hand.since = Some("2026-11-30T02:35:00Z".parse().unwrap());
        let text = Step::Blocked(Block::Foreign(hand)).to_string();
        assert_eq!(
            text,
            "this node is locked by hand since 2026-11-30T02:35:00Z: disk; to end that: pointsman unlock me"
        );
        let mut away = holder("x");
        away.phase = Phase::Rebooting;
        assert!(unlock(&away).ends_with("unlock me --force"));
        // Its key may say anything, and what is to be copied is one word.
        other.id = "x; touch pwned #".into();
        let text = Block::Foreign(other).to_string();
        assert!(
            text.ends_with("pointsman unlock 'x; touch pwned #'"),
            "{text}"
        );
        let text = step(|v| v.pause = Some(pause())).to_string();
        assert!(text.contains("ann") && text.contains("tea"), "{text}");
        let text = step(|v| {
            v.document = Some((
                Document::parse(br#"{"max":2,"holders":["a","b"]}"#),
                read(7),
            ))
        })
        .to_string();
        assert!(text.contains("max 2") && text.contains("a, b"), "{text}");
    }
}
