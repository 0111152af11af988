//! Where everything about a semaphore lies in etcd.

use host::node::Group;
use serde::{Deserialize, Serialize};

use super::records::ImageId;

/// The keys of one group under one prefix.
///
/// With `P` the prefix and `G` = `P` for the default group, else `P/groups/<escaped group>`, the
/// layout is locksmith's for `G/semaphore`, and ours beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    prefix: String,
    group: Group,
}

impl Keys {
    /// The keys of `group` under `prefix`; slashes at either end of the prefix do not count.
    #[must_use]
    pub fn new(prefix: &str, group: Group) -> Self {
        Self {
            prefix: prefix.trim_matches('/').to_owned(),
            group,
        }
    }

    /// The group these keys are of.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The prefix, without slashes at its ends.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn in_group(&self, rest: &str) -> String {
        if self.group.is_default() {
            format!("{}/{rest}", self.prefix)
        } else {
            format!("{}{}/{rest}", self.groups(), self.group.escaped())
        }
    }

    fn in_prefix(&self, rest: &str) -> String {
        format!("{}/{rest}", self.prefix)
    }

    /// The document: `G/semaphore`.
    #[must_use]
    pub fn semaphore(&self) -> String {
        self.in_group("semaphore")
    }

    /// All holders: `G/holders/`.
    #[must_use]
    pub fn holders(&self) -> String {
        self.in_group("holders/")
    }

    /// One holder: `G/holders/<id>`.
    #[must_use]
    pub fn holder(&self, id: &str) -> String {
        self.holders() + id
    }

    /// All deadlines that have not passed: `G/deadlines/`.
    #[must_use]
    pub fn deadlines(&self) -> String {
        self.in_group("deadlines/")
    }

    /// A holder's deadline: `G/deadlines/<id>`.
    #[must_use]
    pub fn deadline(&self, id: &str) -> String {
        self.deadlines() + id
    }

    /// All holders whose grace has not passed: `G/expires/`.
    #[must_use]
    pub fn expiries(&self) -> String {
        self.in_group("expires/")
    }

    /// That a holder's grace has not passed: `G/expires/<id>`.
    #[must_use]
    pub fn expiry(&self, id: &str) -> String {
        self.expiries() + id
    }

    /// All nodes that were passed over and are not back: `G/lost/`.
    #[must_use]
    pub fn lost_nodes(&self) -> String {
        self.in_group("lost/")
    }

    /// One node that was passed over: `G/lost/<id>`.
    #[must_use]
    pub fn lost_node(&self, id: &str) -> String {
        self.lost_nodes() + id
    }

    /// All tickets: `G/queue/`.
    #[must_use]
    pub fn queue(&self) -> String {
        self.in_group("queue/")
    }

    /// A node's ticket: `G/queue/<id>`.
    #[must_use]
    pub fn ticket(&self, id: &str) -> String {
        self.queue() + id
    }

    /// The group's policy: `G/policy`.
    #[must_use]
    pub fn policy(&self) -> String {
        self.in_group("policy")
    }

    /// The images that the group has opened to those that come after it: `G/waves/`.
    #[must_use]
    pub fn waves(&self) -> String {
        self.in_group("waves/")
    }

    /// One of them, named `sha256:…`: `G/waves/<digest>`.
    #[must_use]
    pub fn wave(&self, image: &str) -> String {
        self.waves() + image
    }

    /// What keeps such an image back while its wave soaks: `G/wave-soak/<digest>`.
    #[must_use]
    pub fn wave_soak(&self, image: &str) -> String {
        self.in_group("wave-soak/") + image
    }

    /// The keys of another group under the same prefix.
    #[must_use]
    pub fn of_group(&self, group: Group) -> Self {
        Self {
            prefix: self.prefix.clone(),
            group,
        }
    }

    /// All members of the group: `G/members/`.
    #[must_use]
    pub fn members(&self) -> String {
        self.in_group("members/")
    }

    /// One member: `G/members/<id>`.
    #[must_use]
    pub fn member(&self, id: &str) -> String {
        self.members() + id
    }

    /// The group's pause: `G/pause`.
    #[must_use]
    pub fn pause(&self) -> String {
        self.in_group("pause")
    }

    /// The whole cluster's pause: `P/pause-all`.
    #[must_use]
    pub fn pause_all(&self) -> String {
        self.in_prefix("pause-all")
    }

    /// What a person accepted this store by, after it was not the one it was: `P/store`.
    #[must_use]
    pub fn store(&self) -> String {
        self.in_prefix("store")
    }

    /// All quarantined images and versions: `P/quarantine/`.
    #[must_use]
    pub fn quarantines(&self) -> String {
        self.in_prefix("quarantine/")
    }

    /// The quarantine of an image, named `sha256:…`: `P/quarantine/<image>`.
    #[must_use]
    pub fn quarantine_image(&self, image: &str) -> String {
        self.quarantines() + image
    }

    /// The quarantine of a version: `P/quarantine/version:<version>`.
    #[must_use]
    pub fn quarantine_version(&self, version: &str) -> String {
        format!("{}version:{version}", self.quarantines())
    }

    /// The keys under which a quarantine of this image stands: by its digest, and by its version.
    #[must_use]
    pub fn quarantines_of(&self, what: &ImageId) -> Vec<String> {
        let image = what.digest.as_ref().map(|i| self.quarantine_image(i));
        let version = what.version.as_ref().map(|v| self.quarantine_version(v));
        image.into_iter().chain(version).collect()
    }

    /// The node with an etcd member that is out: `P/member-out`.
    #[must_use]
    pub fn member_out(&self) -> String {
        self.in_prefix("member-out")
    }

    /// What every node last said of itself: `P/nodes/`.
    #[must_use]
    pub fn nodes(&self) -> String {
        self.in_prefix("nodes/")
    }

    /// What a node last said of itself: `P/nodes/<id>`.
    #[must_use]
    pub fn node(&self, id: &str) -> String {
        self.nodes() + id
    }

    /// What people did: `P/acts/`.
    #[must_use]
    pub fn acts(&self) -> String {
        self.in_prefix("acts/")
    }

    /// What a person did: `P/acts/<time>-<random>`, the last part as [`crate::acts::key`] makes it.
    #[must_use]
    pub fn act(&self, name: &str) -> String {
        self.acts() + name
    }

    /// All groups but the default one: `P/groups/`.
    #[must_use]
    pub fn groups(&self) -> String {
        self.in_prefix("groups/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_locksmiths_for_the_semaphore() {
        let keys = |group: &str| {
            Keys::new(
                "/coreos.com/updateengine/rebootlock/",
                Group::new(group).unwrap(),
            )
        };
        assert_eq!(
            keys("").semaphore(),
            "coreos.com/updateengine/rebootlock/semaphore"
        );
        assert_eq!(
            keys("prod/database").semaphore(),
            "coreos.com/updateengine/rebootlock/groups/prod%2Fdatabase/semaphore"
        );
        assert_eq!(
            keys("prod/database").pause_all(),
            "coreos.com/updateengine/rebootlock/pause-all"
        );
    }

    #[test]
    fn a_journalled_claim_finds_its_keys_again() {
        let keys = Keys::new("p", Group::new("a b").unwrap());
        let text = serde_json::to_string(&keys).unwrap();
        assert_eq!(text, r#"{"prefix":"p","group":"a b"}"#);
        assert_eq!(serde_json::from_str::<Keys>(&text).unwrap(), keys);
    }
}
