//! An operator's word that is in etcd before the step it concerns binds that step, however close the two are: told by
//! etcd's own history.

use host::node::Group;
use semaphore::{
    etcd::Claim,
    keys::Keys,
    records::{ImageId, new_nonce},
};
use tokio::sync::Notify;

use super::*;
use crate::support::{BACK_OFF, options};

/// What an operator may say.
#[derive(Clone, Copy, Debug)]
enum Word {
    Pause {
        all: bool,
    },
    Quarantined(fn(&Semaphore) -> String),
    /// A policy that cannot be used.
    Policy,
    Stopped,
    Unlisted,
    /// Its entry is deleted, and nothing else.
    Forgotten,
    /// The time between the groups begins again.
    WaveSoak,
    /// The wave is gone.
    NoWave,
}

const UNKNOWN_POLICY: &str = r#"{"moon":"full"}"#;

const IMAGE: &str = "sha256:aaaa";

const WORDS: [Word; 8] = [
    Word::Pause { all: false },
    Word::Pause { all: true },
    Word::Quarantined(|s| s.keys().quarantine_version("2")),
    Word::Quarantined(|s| s.keys().quarantine_image(IMAGE)),
    Word::Policy,
    Word::Stopped,
    Word::Unlisted,
    Word::Forgotten,
];

impl Word {
    fn key(self, s: &Semaphore) -> String {
        match self {
            Self::Pause { all: false } => s.keys().pause(),
            Self::Pause { all: true } => s.keys().pause_all(),
            Self::Quarantined(key) => key(s),
            Self::Policy => s.keys().policy(),
            Self::Stopped | Self::Unlisted => s.keys().semaphore(),
            Self::Forgotten => s.keys().holder("n"),
            Self::WaveSoak => canary(s).wave_soak(IMAGE),
            Self::NoWave => canary(s).wave(IMAGE),
        }
    }

    /// Says it, and the revision of that.
    async fn say(self, client: &mut etcd_client::Client, s: &Semaphore, id: &str) -> i64 {
        if let Self::Forgotten | Self::NoWave = self {
            let gone = client.delete(self.key(s), None).await.unwrap();
            return gone.header().unwrap().revision();
        }
        let value = match self {
            Self::Stopped => format!(r#"{{"semaphore":-1,"max":0,"holders":["{id}"]}}"#),
            Self::Unlisted => Document::new(1).to_json(),
            Self::Policy => UNKNOWN_POLICY.into(),
            _ => "{}".into(),
        };
        let put = client.put(self.key(s), value, None).await.unwrap();
        put.header().unwrap().revision()
    }

    async fn take_back(self, client: &mut etcd_client::Client, s: &Semaphore) {
        match self {
            Self::Stopped | Self::Unlisted | Self::Forgotten => {
                let free = Document::new(1).to_json();
                client.put(s.keys().semaphore(), free, None).await.unwrap();
            }
            Self::NoWave => drop(client.put(self.key(s), "{}", None).await.unwrap()),
            _ => drop(client.delete(self.key(s), None).await.unwrap()),
        }
    }
}

/// The group that must have opened an image before the default one goes there.
fn canary(s: &Semaphore) -> Keys {
    s.keys().of_group(Group::new("canary").unwrap())
}

/// For an update to version 2 with this content, with another nonce each time.
fn to_two(id: &str) -> Claim {
    let mut claim = claim(id);
    claim.holder.to = ImageId {
        digest: Some(IMAGE.into()),
        version: Some("2".into()),
    };
    claim
}

/// When the node's entry was put and last changed, and what it says.
async fn entry(client: &mut etcd_client::Client, s: &Semaphore) -> Option<(i64, i64, String)> {
    let found = client.get(s.keys().holder("n"), None).await.unwrap();
    let kv = found.kvs().first()?;
    let text = String::from_utf8(kv.value().to_vec()).unwrap();
    Some((kv.create_revision(), kv.mod_revision(), text))
}

/// So often that a step which did not compare what it was decided on would be caught many times over.
const TIMES: usize = 60;

#[tokio::test]
async fn no_commit_succeeds_after_a_gate_closed() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("race-commit");
    let (s, mut client) = (on(cluster, &prefix), cluster.client().await);
    for word in WORDS {
        let mut committed = 0;
        for _ in 0..TIMES {
            let c = to_two("n");
            acquire(&s, &c).await;
            let (outcome, said) = tokio::join!(s.commit(&c), word.say(&mut client, &s, "n"));
            if outcome.unwrap() == Committed::Yes {
                committed += 1;
                let entry = entry(&mut client, &s).await;
                let deleted = matches!(word, Word::Forgotten);
                assert!(entry.is_some() || deleted, "{word:?}: no entry");
                if let Some((_, changed, text)) = entry {
                    assert!(text.contains("rebooting"), "{text}");
                    assert!(changed < said, "{word:?} at {said}, committed at {changed}");
                }
            }
            s.release("n", &c.holder.nonce, None, None).await.unwrap();
            word.take_back(&mut client, &s).await;
        }
        assert!(committed < TIMES, "{word:?} never came first");
    }
}

#[tokio::test]
async fn no_commit_succeeds_after_an_unlock() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("race-unlock");
    let (s, operator) = (on(cluster, &prefix), on(cluster, &prefix));
    let mut unlocked = 0;
    for _ in 0..TIMES {
        let c = to_two("n");
        acquire(&s, &c).await;
        let (outcome, done) = tokio::join!(s.commit(&c), operator.unlock("n", false));
        let committed = outcome.unwrap() == Committed::Yes;
        let gone = matches!(done.unwrap(), Unlocked::Unlocked(_));
        assert!(
            committed != gone,
            "committed: {committed}, unlocked: {gone}"
        );
        unlocked += usize::from(gone);
        s.release("n", &c.holder.nonce, None, None).await.unwrap();
    }
    assert!(unlocked > 0, "the unlock never came first");
}

#[tokio::test]
async fn no_take_succeeds_after_a_gate_closed() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("race-take");
    let (s, mut client) = (on(cluster, &prefix), cluster.client().await);
    s.set_max(1, false).await.unwrap();
    for word in &WORDS[..6] {
        takes_only_before(*word, &s, &mut client, to_two("n")).await;
    }
}

#[tokio::test]
async fn no_take_succeeds_after_a_wave_was_shut() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("race-wave");
    let (s, mut client) = (on(cluster, &prefix), cluster.client().await);
    s.set_max(1, false).await.unwrap();
    let canary = canary(&s);
    for (key, value) in [
        (s.keys().policy(), r#"{"after":["canary"]}"#),
        (canary.wave(IMAGE), "{}"),
    ] {
        client.put(key, value, None).await.unwrap();
    }
    for word in [Word::WaveSoak, Word::NoWave] {
        let mut claim = to_two("n");
        claim.new_image = true;
        takes_only_before(word, &s, &mut client, claim).await;
    }
}

/// A word that is said somewhere between the ticket and the take of this claim, many times: a take comes before it, or not at all.
async fn takes_only_before(
    word: Word,
    s: &Semaphore,
    client: &mut etcd_client::Client,
    claim: Claim,
) {
    for round in 0..TIMES / 2 {
        let mut c = claim.clone();
        c.holder.nonce = new_nonce().unwrap();
        let mut speaker = client.clone();
        let mut ticket = speaker.watch(s.keys().ticket("n"), None).await.unwrap();
        let told = Notify::new();
        let say = async {
            while ticket.message().await.unwrap().unwrap().events().is_empty() {}
            let micros = u64::try_from(round % 10 * 200).unwrap();
            tokio::time::sleep(Duration::from_micros(micros)).await;
            let revision = match word {
                // Who has taken by then is named.
                Word::Stopped => {
                    let full = r#"{"semaphore":0,"max":0,"holders":[]}"#;
                    let put = speaker.put(word.key(s), full, None).await.unwrap();
                    put.header().unwrap().revision()
                }
                _ => word.say(&mut speaker, s, "n").await,
            };
            told.notify_one();
            revision
        };
        let taken = timeout(Duration::from_secs(20), async {
            let (said, taken) = tokio::join!(say, async {
                tokio::select! {
                    () = s.acquire(&c, |_| {}) => true,
                    () = async {
                        told.notified().await;
                        // Long enough for one that is on its way.
                        tokio::time::sleep(Duration::from_millis(40)).await;
                    } => false,
                }
            });
            if taken || entry(client, s).await.is_some() {
                let (put, _, _) = entry(client, s).await.unwrap();
                assert!(put < said, "{word:?} at {said}, taken at {put}");
            }
        });
        taken.await.unwrap();
        s.leave("n", &c.holder.nonce, None).await.unwrap();
        s.release("n", &c.holder.nonce, None, None).await.unwrap();
        word.take_back(client, s).await;
    }
}

#[tokio::test]
async fn two_members_of_etcd_are_not_out_together_whatever_their_groups() {
    let cluster = shared_cluster();
    let prefix = unique_prefix("race-members");
    let of = |group: &str| {
        let keys = Keys::new(&prefix, Group::new(group).unwrap());
        Semaphore::new(options(cluster.endpoints()), keys, BACK_OFF)
    };
    let (x, y) = (of("x"), of("y"));
    found(&x).await;
    found(&y).await;
    for _ in 0..TIMES / 2 {
        let (mut a, mut b) = (claim("a"), claim("b"));
        (a.member, b.member) = (true, true);
        let both = async { tokio::join!(x.acquire(&a, |_| {}), y.acquire(&b, |_| {})) };
        // Long enough for the second where nothing keeps it.
        let both = timeout(Duration::from_millis(50), both).await;
        assert!(both.is_err(), "two members are out");
        for (s, c) in [(&x, &a), (&y, &b)] {
            let holder = &c.holder;
            s.leave(&holder.id, &holder.nonce, None).await.unwrap();
            s.release(&holder.id, &holder.nonce, None, None)
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn node_without_a_ticket_takes_after_those_with_one() {
    local!({
        let cluster = shared_cluster();
        for _ in 0..8 {
            let prefix = unique_prefix("race-ticket");
            let s = on(cluster, &prefix);
            let out = claim("out");
            acquire(&s, &out).await;
            let (a, _) = wait_in_queue(cluster, &prefix, "a").await;
            // It hears of that when it goes: the first in the queue watches the document.
            assert!(s.delete_ticket("a").await.unwrap());
            let (b, _) = wait_in_queue(cluster, &prefix, "b").await;
            s.release("out", &out.holder.nonce, None, None)
                .await
                .unwrap();
            timeout(Duration::from_secs(20), b).await.unwrap().unwrap();
            assert_eq!(holders(&s).await, ["b"]);
            a.abort();
        }
    });
}
