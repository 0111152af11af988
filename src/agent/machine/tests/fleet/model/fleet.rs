//! A small fleet, and what may happen to it.

use semaphore::document::Document;

use super::{
    super::{
        OLD,
        bugs::Bug,
        group,
        node::Node,
        outside::Outside,
        store::{Store, Write},
    },
    moves::Fault,
    people::{Act, set_policy},
    world::{Local, settle_store},
};
use pointsman_testbed::random::Random;

/// A group: its name, how many may be out, its nodes, its policy (none: empty).
pub(super) type GroupOf = (&'static str, u32, &'static [&'static str], &'static str);

/// A fleet, and what may happen to it.
pub(super) struct Fleet {
    pub(super) name: &'static str,
    pub(super) groups: &'static [GroupOf],
    /// The newest image at the beginning, and the one that all are to run in the end.
    pub(super) newest: u8,
    pub(super) last: u8,
    /// How often each failure may happen.
    pub(super) faults: &'static [(Fault, u8)],
    /// What people may do, each once, at any time.
    pub(super) acts: &'static [Act],
    /// Whether people also end the hold of, or forget, a node that will be back.
    pub(super) forced: bool,
    /// Whether it is explored with every run of the tests.
    pub(super) always: bool,
}

impl Fleet {
    pub(super) fn size(&self) -> usize {
        self.groups.iter().map(|(_, _, nodes, _)| nodes.len()).sum()
    }

    /// The store and the nodes at the beginning: all are members, and run the old image.
    pub(super) fn build(&self, bug: Option<Bug>) -> (Store, Vec<Local>) {
        let mut store = Store::default();
        let mut outside = Outside::new(Random::from_seed(1), false);
        outside.newest = OLD;
        let mut nodes = Vec::new();
        for (name, max, ids, policy) in self.groups {
            let keys = group(name);
            let document = Document::new(*max).to_json();
            store.txn(&[], vec![Write::Put(keys.semaphore(), document, None)]);
            for id in *ids {
                let mut node = Node::new(id, keys.clone(), &mut outside);
                node.start(&mut store, &mut outside);
                node.tell_membership(&mut store);
                nodes.push(node);
            }
            if !policy.is_empty() {
                let writes = set_policy(&store, &keys, policy);
                store.txn(&[], writes);
            }
        }
        settle_store(&mut store, None);
        store.bug = bug;
        let locals = nodes.into_iter().map(|node| {
            let mut local = Local {
                node,
                up: true,
                stray: None,
            };
            // Once more, on the clock of the model.
            outside.nonces_are_chosen = true;
            local.node.start(&mut store, &mut outside);
            local.settle(std::time::Duration::ZERO);
            local
        });
        let locals = locals.collect();
        (store, locals)
    }
}
