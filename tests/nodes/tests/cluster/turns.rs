//! When each node was out, by its own hooks.

use pointsman_nodes::{cluster::Cluster, container::Container};

/// Makes each node note when it is drained and when undrained.
pub(crate) fn note(cluster: &Cluster) {
    for node in &cluster.nodes {
        let script = |word: &str| format!("echo {word} $(date +%s%N) >>/var/log/turns");
        node.hook("pre-reboot.d/10-note", &script("out"));
        node.hook("post-boot.d/10-note", &script("in"));
    }
}

/// The node's times out of service, in nanoseconds since 1970.
pub(crate) fn of(node: &Container) -> Vec<(u64, u64)> {
    let text = node.read("var/log/turns");
    let mut turns = Vec::new();
    let mut since = None;
    for line in text.lines() {
        let (word, at) = line.split_once(' ').expect("a word and a time");
        let at: u64 = at.parse().expect("a time");
        match (word, since) {
            ("out", None) => since = Some(at),
            ("in", Some(from)) => {
                turns.push((from, at));
                since = None;
            }
            // What was journalled as begun is undone, also when the node stepped back before its first hook ran.
            ("in", None) => {}
            _ => panic!("{}: {word} is not its turn:\n{text}", node.name()),
        }
    }
    assert_eq!(since, None, "{} is still out:\n{text}", node.name());
    turns
}

/// Panics where two nodes were out at once.
pub(crate) fn one_at_a_time(cluster: &Cluster) {
    let mut all: Vec<(u64, u64)> = cluster.nodes.iter().flat_map(of).collect();
    all.sort_unstable();
    for pair in all.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two were out at once: {all:?}");
    }
}
