//! What must hold at every revision of a roll-out, whoever made it: also a test over etcd's own history uses this file
//! (`tests/it/policy/rollout.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use semaphore::{
    document::Document,
    keys::Keys,
    policy::Policy,
    records::{Holder, Phase},
};

/// A key that was put or deleted.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The revision of the store at which it was. Several keys may be changed at one.
    pub(crate) revision: i64,
    /// When, where the clock of the store is known.
    pub(crate) at: Option<Duration>,
    /// The key.
    pub(crate) key: String,
    /// Its value; none where it was deleted.
    pub(crate) value: Option<String>,
}

/// What came of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Course {
    /// The most nodes that held the lock at a time.
    pub(crate) held: usize,
    /// The most that were out at a time, holding or lost.
    pub(crate) out: usize,
    /// How often the lock was taken for each image, by digest.
    pub(crate) takes: BTreeMap<String, usize>,
    /// How many soaks were passed.
    pub(crate) soaks: usize,
    /// How many nodes were passed over.
    pub(crate) lost: usize,
    /// The images that were opened to later groups.
    pub(crate) waves: BTreeSet<String>,
}

/// The keys that stand at a revision.
#[derive(Debug, Clone, Default)]
struct Stand(BTreeMap<String, String>);

impl Stand {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn below(&self, prefix: &str) -> impl Iterator<Item = (&str, &str)> {
        let found = self.0.range(prefix.to_owned()..);
        let found = found.map(|(key, value)| (key.as_str(), value.as_str()));
        found.map_while(move |(key, value)| Some((key.strip_prefix(prefix)?, value)))
    }

    fn holder(&self, keys: &Keys, id: &str) -> Option<Holder> {
        let value = self.get(&keys.holder(id))?;
        Some(serde_json::from_str(value).expect("an entry of a holder"))
    }

    fn policy(&self, keys: &Keys) -> Policy {
        let value = self.get(&keys.policy());
        value.map_or_else(Policy::default, |value| {
            Policy::parse(value.as_bytes()).expect("a policy")
        })
    }

    fn document(&self, keys: &Keys) -> Option<Document> {
        let value = self.get(&keys.semaphore())?;
        Some(Document::parse(value.as_bytes()).expect("a document"))
    }
}

/// Checks each change in the history of these groups by the policies that stood before it, and tells what came of each group,
/// in their order.
pub(crate) fn check(changes: &[Change], groups: &[Keys]) -> Vec<Course> {
    let mut courses = vec![Course::default(); groups.len()];
    let mut soaking = BTreeMap::new();
    let mut before = Stand::default();
    for changes in changes.chunk_by(|one, next| one.revision == next.revision) {
        let mut now = before.clone();
        for change in changes {
            match &change.value {
                Some(value) => now.0.insert(change.key.clone(), value.clone()),
                None => now.0.remove(&change.key),
            };
        }
        for (keys, course) in groups.iter().zip(&mut courses) {
            let step = Step {
                keys,
                before: &before,
                now: &now,
                at: changes[0].at,
            };
            for Change { key, .. } in changes {
                if let Some(id) = key.strip_prefix(&keys.holders()) {
                    step.holder(id, course, &mut soaking);
                }
                if let Some(digest) = key.strip_prefix(&keys.waves()) {
                    step.wave(digest, course);
                }
                if let Some(id) = key.strip_prefix(&keys.lost_nodes()) {
                    step.lost(id, course);
                }
            }
            let (held, lost) = (
                now.below(&keys.holders()).count(),
                now.below(&keys.lost_nodes()).count(),
            );
            course.held = course.held.max(held);
            course.out = course.out.max(held + lost);
        }
        before = now;
    }
    courses
}

/// One revision, for one group.
struct Step<'a> {
    keys: &'a Keys,
    before: &'a Stand,
    now: &'a Stand,
    at: Option<Duration>,
}

impl Step<'_> {
    /// A holder's entry was put or deleted.
    fn holder(
        &self,
        id: &str,
        course: &mut Course,
        soaking: &mut BTreeMap<String, (Duration, Option<Duration>)>,
    ) {
        let key = self.keys.holder(id);
        let policy = self.before.policy(self.keys);
        let stood = self.before.holder(self.keys, id);
        match (stood, self.now.holder(self.keys, id)) {
            (None, Some(holder)) => self.taken(&holder, &policy, course),
            (Some(_), Some(holder)) => {
                match holder.phase {
                    Phase::Rebooting => self.not_quarantined(&holder),
                    Phase::Soaking => {
                        let length = policy.soak.expect("it soaks by the policy");
                        soaking.insert(key.clone(), (length, self.at));
                        return;
                    }
                    _ => {}
                }
                soaking.remove(&key);
            }
            (Some(holder), None) => {
                let soaked = soaking.remove(&key);
                self.ended(id, &holder, &policy, course, soaked);
            }
            (None, None) => {}
        }
    }

    /// A node took the lock.
    fn taken(&self, holder: &Holder, policy: &Policy, course: &mut Course) {
        let document = self.now.document(self.keys).expect("there is a document");
        let (name, held) = (&holder.hostname, document.holders.len());
        let room = usize::try_from(document.max).unwrap_or(usize::MAX);
        assert!(held <= room, "{name} took one place too many: {document:?}");
        if let Some(percent) = policy.max_percent {
            let members = self.before.below(&self.keys.members()).count();
            let share = usize::try_from(percent).unwrap_or(usize::MAX) * members / 100;
            assert_eq!(room, share.max(1), "{percent}% of {members}");
        }
        if holder.to.is(&holder.from) {
            return;
        }
        self.not_quarantined(holder);
        let digest = holder.to.digest.as_deref().expect("a digest");
        for group in &policy.after {
            let group = self.keys.of_group(group.clone());
            let open = self.before.get(&group.wave(digest)).is_some();
            let soaks = self.before.get(&group.wave_soak(digest)).is_some();
            assert!(open && !soaks, "{name} went early to {digest}");
        }
        *course.takes.entry(digest.to_owned()).or_default() += 1;
    }

    fn not_quarantined(&self, holder: &Holder) {
        let moves = !holder.to.is(&holder.from);
        for key in self.keys.quarantines_of(&holder.to) {
            let stands = self.before.get(&key);
            assert!(
                stands.is_none() || !moves,
                "{} goes to {}: {stands:?}",
                holder.hostname,
                holder.to
            );
        }
    }

    /// A holder's entry is gone: released, or passed over.
    fn ended(
        &self,
        id: &str,
        holder: &Holder,
        policy: &Policy,
        course: &mut Course,
        soaked: Option<(Duration, Option<Duration>)>,
    ) {
        let lost = self.now.get(&self.keys.lost_node(id)).is_some();
        if lost && self.before.get(&self.keys.lost_node(id)).is_none() {
            return;
        }
        let proven = self.now.get(&self.keys.member(id)) == holder.to.digest.as_deref();
        if holder.to.is(&holder.from) || !proven {
            return;
        }
        if let (Some((length, began)), Phase::Soaking) = (&soaked, &holder.phase) {
            course.soaks += 1;
            if let (Some(began), Some(at)) = (began, self.at) {
                let lasted = at.saturating_sub(*began);
                assert!(lasted >= *length, "{} soaked {lasted:?}", holder.hostname);
            }
            return;
        }
        assert!(
            policy.soak.is_none(),
            "{} counts as proven without a soak: {}",
            holder.hostname,
            holder.phase
        );
    }

    /// An image was opened to later groups.
    fn wave(&self, digest: &str, course: &mut Course) {
        if self.now.get(&self.keys.wave(digest)).is_none() || !course.waves.insert(digest.into()) {
            return;
        }
        let members: Vec<(&str, &str)> = self.now.below(&self.keys.members()).collect();
        let proven = members.iter().all(|(_, proven)| *proven == digest);
        assert!(
            proven && !members.is_empty(),
            "{digest} was opened, and proven on {members:?}"
        );
        let soak = self.before.policy(self.keys).wave_soak;
        let soak = soak.expect("it opens waves by the policy");
        let soaks = self.now.get(&self.keys.wave_soak(digest)).is_some();
        assert_eq!(soaks, !soak.is_zero(), "the time after {digest}");
    }

    /// A node was passed over, or is back.
    fn lost(&self, id: &str, course: &mut Course) {
        if self.now.get(&self.keys.lost_node(id)).is_none() {
            return;
        }
        course.lost += 1;
        let lost = self.before.policy(self.keys).lost;
        let budget = lost.expect("it is passed over by the policy").budget;
        let all = self.now.below(&self.keys.lost_nodes()).count();
        assert!(
            all <= usize::try_from(budget).unwrap_or(usize::MAX),
            "{all} are lost"
        );
        let expiry = self.before.get(&self.keys.expiry(id));
        assert!(expiry.is_none(), "{id} was passed over early");
    }
}
