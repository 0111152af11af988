//! A roll-out to twenty simulated nodes: each is a machine with its disk and its journal, and all share a map of keys that
//! stands for etcd. What they decide, they decide by the code that decides in earnest; only reading, writing and time are the
//! simulation's own. Between what a node reads and what it writes by that, others write.

mod bugs;
mod flight;
mod history;
mod hold;
mod life;
mod lost;
mod model;
mod node;
mod operations;
mod outside;
mod queue;
mod release;
mod store;

use std::time::Duration;

use host::node::Group;
use pointsman_testbed::random::Random;
use semaphore::{
    document::Document,
    keys::Keys,
    policy::{Lost, Policy, percentage_in},
};

use super::image;
use history::{Course, check};
use node::Node;
use outside::Outside;
use store::{Store, Write};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// What all nodes run at first, what fails its checks, and what passes them.
const OLD: u8 = 0;
const BAD: u8 = 1;
const GOOD: u8 = 2;

const CANARIES: usize = 3;
const WEB: usize = 12;
const REST: usize = 5;
const GROUPS: [(&str, usize); 3] = [("canary", CANARIES), ("web", WEB), ("rest", REST)];

/// Nodes that roll out images.
struct Fleet {
    store: Store,
    nodes: Vec<Node>,
    outside: Outside,
}

fn group(name: &str) -> Keys {
    Keys::new("p", Group::new(name).expect("a group's name"))
}

impl Fleet {
    /// Nodes of three groups, each with its document, that run the old image. With `faults`, agents die and power is cut.
    fn new(seed: u64, faults: bool) -> Self {
        let mut fleet = Self {
            store: Store::default(),
            nodes: Vec::new(),
            outside: Outside::new(Random::from_seed(seed), faults),
        };
        for (name, number) in GROUPS {
            let keys = group(name);
            let document = Document::new(1).to_json();
            fleet.put(&keys.semaphore(), &document);
            for index in 0..number {
                let node = Node::new(&format!("{name}-{index}"), keys.clone(), &mut fleet.outside);
                fleet.nodes.push(node);
            }
        }
        for node in &mut fleet.nodes {
            node.start(&mut fleet.store, &mut fleet.outside);
        }
        fleet
    }

    fn put(&mut self, key: &str, value: &str) {
        let put = Write::Put(key.into(), value.into(), None);
        assert!(self.store.txn(&[], vec![put]));
    }

    /// A person sets the policy of a group: with the document, where it has a percentage.
    fn set(&mut self, name: &str, policy: &Policy) {
        let keys = group(name);
        let value = serde_json::to_string(policy).expect("a policy is JSON");
        let members = self.store.below(&keys.members()).len() as u64;
        let document = self.document(&keys);
        let document = match policy.max_percent {
            Some(percent) => document.set_percentage(percent, members),
            None => document,
        };
        let puts = [
            (keys.policy(), value),
            (keys.semaphore(), document.to_json()),
        ];
        let puts = puts.map(|(key, value)| Write::Put(key, value, None));
        assert!(self.store.txn(&[], puts.into()));
    }

    /// A person forgets a node that is thought lost, and with that opens what is due.
    fn forget(&mut self, name: &str, id: &str) {
        let keys = group(name);
        let members = self.store.below(&keys.members()).len() as u64 - 1;
        let policy = self.store.get(&keys.policy()).expect("it has a policy");
        let percent = percentage_in(&policy.value).expect("it has a percentage");
        let document = self.document(&keys).with_percentage(percent, members);
        let writes = vec![
            Write::Delete(keys.member(id)),
            Write::Delete(keys.lost_node(id)),
            Write::Put(keys.semaphore(), document.to_json(), None),
        ];
        assert!(self.store.txn(&[], writes));
        let digest = image(GOOD).digest.unwrap_or_default();
        if let Some((compares, writes)) = release::opening(&mut self.store, &keys, &digest) {
            self.store.txn(&compares, writes);
        }
    }

    fn document(&self, keys: &Keys) -> Document {
        let stored = self.store.get(&keys.semaphore()).expect("a document");
        Document::parse(&stored.value).expect("a document")
    }

    /// Lets time pass until this is so; for some days at most.
    fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let limit = self.store.now + 14 * 24 * HOUR;
        let mut steps = 0;
        while !is(self) {
            let nodes = self.nodes.iter().filter_map(Node::next);
            let next = nodes.chain(self.store.next_end()).min();
            let next = next.unwrap_or(limit).max(self.store.now);
            steps += 1;
            if next >= limit || steps >= 100_000 {
                // A rule that was broken says more than that it takes long.
                check(&self.store.history, &GROUPS.map(|(name, _)| group(name)));
                let at = Duration::from_millis(self.store.now);
                let nodes = self.nodes.iter().map(|node| format!("{node}\n"));
                let nodes: String = nodes.collect();
                panic!("not in time: {what}; at {at:?} after {steps} steps:\n{nodes}");
            }
            self.store.now = next;
            let before = self.store.revision;
            self.store.expire();
            for node in &mut self.nodes {
                node.pass(&mut self.store, &mut self.outside);
            }
            if self.store.revision != before {
                for node in &mut self.nodes {
                    node.hears(&self.store, &mut self.outside);
                }
            }
        }
    }

    fn wait(&mut self, millis: u64) {
        let until = self.store.now + millis;
        self.until("time passes", |fleet| fleet.store.now >= until);
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes
            .iter()
            .filter(move |node| node.keys.group().as_str() == name)
    }

    /// Whether all nodes of the group that are not gone run this and have nothing left to do.
    fn all_run(&self, name: &str, image: u8) -> bool {
        self.of(name)
            .all(|node| node.is_gone() || node.rests_on(image))
    }

    fn is_quarantined(&self, image: u8) -> bool {
        let keys = group("");
        let quarantined = keys.quarantines_of(&super::named(image));
        quarantined.iter().any(|key| self.store.get(key).is_some())
    }
}

/// The whole roll-out; what came of each group.
fn roll_out(seed: u64, faults: bool) -> (Fleet, Vec<Course>) {
    let mut fleet = Fleet::new(seed, faults);
    fleet.until("all are members", |fleet| {
        let members = |(name, number): (&str, usize)| {
            fleet.store.below(&group(name).members()).len() == number
        };
        GROUPS.into_iter().all(members)
    });
    let after = |name: &str| vec![group(name).group().clone()];
    let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
    fleet.set(
        "canary",
        &Policy {
            wave_soak: minutes(30),
            ..Policy::default()
        },
    );
    let web = Policy {
        max_percent: Some(20),
        soak: minutes(20),
        wave_soak: minutes(0),
        after: after("canary"),
        lost: Some(Lost {
            grace: Duration::from_secs(3600),
            budget: 1,
        }),
        ..Policy::default()
    };
    fleet.set("web", &web);
    fleet.set(
        "rest",
        &Policy {
            after: after("web"),
            ..Policy::default()
        },
    );
    fleet.outside.newest = BAD;
    fleet.until("the bad image is quarantined", |fleet| {
        fleet.is_quarantined(BAD)
    });
    fleet.until("the canary is back", |fleet| fleet.all_run("canary", OLD));
    fleet.wait(3 * HOUR);
    // Not one of the last: nobody is passed over while nobody waits.
    let gone_after = 1 + fleet.outside.random.below(WEB as u64 / 3);
    fleet.outside.gone_after = Some((group("web"), GOOD, gone_after));
    fleet.outside.newest = GOOD;
    fleet.until("the web nodes run the good image", |fleet| {
        let lost = fleet.store.below(&group("web").lost_nodes()).len();
        lost == 1 && fleet.all_run("web", GOOD)
    });
    let gone = fleet.of("web").find(|node| node.is_gone());
    let gone = gone.expect("one of them is gone").id().to_owned();
    fleet.wait(3 * HOUR);
    let rest = fleet
        .of("rest")
        .all(|node| node.runs() == image(OLD).digest);
    assert!(rest, "one of the web nodes has not proven it");
    fleet.forget("web", &gone);
    let groups = GROUPS.map(|(name, _)| group(name));
    fleet.until("all run the good image", |fleet| {
        let done = |keys: &Keys| {
            let free = fleet.document(keys).holders.is_empty();
            fleet.all_run(keys.group().as_str(), GOOD) && free
        };
        groups.iter().all(done)
    });
    let queued = |keys: &Keys| fleet.store.below(&keys.queue()).len();
    assert_eq!(groups.iter().map(queued).sum::<usize>(), 0);
    assert!(
        !fleet.is_quarantined(GOOD),
        "it is not to blame for the lost node"
    );
    let courses = check(&fleet.store.history, &groups);
    (fleet, courses)
}

/// What must have come of the groups, whatever happened on the way.
fn judge(fleet: &Fleet, courses: &[Course]) {
    let [canary, web, rest] = courses else {
        unreachable!("there are three groups")
    };
    let (bad, good) = (image(BAD).digest.unwrap(), image(GOOD).digest.unwrap());
    assert!(
        canary.held == 1 && canary.out == 1 && canary.lost == 0,
        "{canary:?}"
    );
    // 20 % of 12, and a budget of one.
    assert!(web.held == 2 && web.out <= 3 && web.lost == 1, "{web:?}");
    assert!(
        rest.held == 1 && rest.out == 1 && rest.lost == 0,
        "{rest:?}"
    );
    assert!(
        canary.takes[&bad] >= 1 && canary.waves.contains(&good),
        "{canary:?}"
    );
    for later in [web, rest] {
        assert!(!later.takes.contains_key(&bad), "{later:?}");
    }
    assert!(web.soaks >= WEB - 1 && web.waves.contains(&good), "{web:?}");
    if !fleet.outside.faults {
        let takes = |course: &Course| (course.takes.get(&bad).copied(), course.takes[&good]);
        assert_eq!(takes(canary), (Some(1), CANARIES));
        assert_eq!((takes(web), takes(rest)), ((None, WEB), (None, REST)));
        assert_eq!(web.soaks, WEB - 1);
        let reboots: usize = fleet.nodes.iter().map(|node| node.reboots).sum();
        assert_eq!(
            reboots,
            2 + CANARIES + WEB - 1 + REST,
            "the bad one and back, and the good one"
        );
    }
}

#[test]
fn twenty_nodes_roll_out_as_their_groups_policies_say() {
    let mut random = Random::new("a roll-out to twenty nodes");
    for _ in 0..20 {
        let seed = random.seed();
        for faults in [false, true] {
            let run = || {
                let (fleet, courses) = roll_out(seed, faults);
                judge(&fleet, &courses);
            };
            if std::panic::catch_unwind(run).is_err() {
                panic!("in the roll-out of {seed}, with faults: {faults}");
            }
        }
    }
}

/// The same seed is the same roll-out, to the last key: else a failure could not be seen again.
#[test]
fn roll_out_is_the_same_for_the_same_seed() {
    let [one, other] = [1, 1].map(|seed| {
        let (fleet, _) = roll_out(seed, true);
        fleet
            .store
            .history
            .into_iter()
            .map(|change| (change.at, change.key))
    });
    assert!(one.eq(other));
}
