//! A claim and the reboot windows of the policy.

use tokio::time::sleep;
use windows::WindowSpec;

use super::Run;
use crate::{
    etcd::{NodeWindows, Wait},
    gates::{Closed, ClosedBy, ClosedWindow},
    policy::windows_in,
    queue::{Block, Step, View},
};

/// The windows of the policy, and how they stood when they were read.
pub(super) struct Seen<'a> {
    node: &'a NodeWindows,
    policy: Vec<WindowSpec>,
    closed: Option<ClosedWindow>,
}

impl<'run> Run<'run> {
    /// The windows of the policy that was read; none where it cannot be used.
    fn windows_of(&self, view: &View) -> Option<Vec<WindowSpec>> {
        match view.gates.found(&self.semaphore.keys.policy()) {
            Some(found) => windows_in(&found.stored.value),
            None => Some(Vec::new()),
        }
    }

    /// Tells the node the windows of the policy, where it does not know them.
    pub(super) fn tell_windows(&mut self, view: &View, note: &impl Fn(Wait)) {
        let Some(windows) = self.windows_of(view) else {
            return;
        };
        if self.claim.windows.is_some() && windows != self.known_windows {
            self.known_windows.clone_from(&windows);
            note(Wait {
                policy_windows: Some(windows),
                ..Wait::default()
            });
        }
    }

    /// What is needed to see when the windows of the policy open or close; none where that changes nothing.
    pub(super) fn seen_windows(&self, view: &View, step: &Step) -> Option<Seen<'run>> {
        let node = self.claim.windows.as_ref()?;
        if let Step::Blocked(block) = step
            && !is_window(block)
        {
            return None;
        }
        let policy = self.windows_of(view).filter(|list| !list.is_empty())?;
        let closed = view
            .gates
            .closed
            .iter()
            .find_map(|closed| match &closed.by {
                ClosedBy::Window(window) => Some(window.clone()),
                _ => None,
            });
        Some(Seen {
            node,
            policy,
            closed,
        })
    }
}

fn is_window(block: &Block) -> bool {
    let Block::Gate(Closed { by, .. }) = block else {
        return false;
    };
    matches!(by, ClosedBy::Window(_))
}

/// Ends when the windows stand otherwise than they were seen. That is looked at here, by this node's clock, and asks nobody.
pub(super) async fn turn(seen: Option<Seen<'_>>) {
    let Some(Seen {
        node,
        policy,
        closed,
    }) = seen
    else {
        return std::future::pending().await;
    };
    loop {
        let moment = node.before_take();
        if moment.closed(&policy) != closed {
            return;
        }
        let start = moment.decide(&policy);
        let changes = start.as_ref().and_then(windows::Start::changes);
        sleep(windows::look_in(changes, &moment.now)).await;
    }
}
