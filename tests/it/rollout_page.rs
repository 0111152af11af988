//! The commands of docs/how-to/rollout.md, run in the order of the page, on real agents and a real etcd.
//!
//! A block ```` ```sh ```` is commands, a line each. Its first line may be `# on NODE`; else they run on a machine without an agent.
//! `# exit N` at the end of a line says that the command fails so. A block ```` ```text ```` is what the commands before it print, in
//! these words: any spaces are as good as others; `…` stands for anything, on a line of its own for any lines; times may be others,
//! and durations that pass. A comment `<!-- test: … -->` says what happens meanwhile: see [`Stage::does`].

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, time::Duration};

use host::node::Group;
use pointsman_testbed::{
    etcd::shared_cluster,
    fakes::PATIENCE,
    node::{AutoReboot, Node},
    process::run,
};
use semaphore::policy::PolicyChange;

use crate::{
    agents::{Site, bin, drained, hook, prepare, slow_drain},
    support::eventually,
    trials::QUICK,
};

/// A part of the page that is done, with its line.
#[derive(Debug)]
enum Part {
    /// Something happens to the nodes.
    Happens(usize, String),
    /// Commands are run, and print this.
    Commands {
        line: usize,
        commands: Vec<String>,
        prints: Option<Vec<String>>,
    },
}

/// What there is to do, in the order of the page.
fn parts(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let happens = line.strip_prefix("<!-- test: ");
        if let Some(happens) = happens.and_then(|happens| happens.strip_suffix(" -->")) {
            parts.push(Part::Happens(number + 1, happens.to_owned()));
        }
        let Some(kind) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let block = lines.by_ref().map(|(_, line)| line.to_owned());
        let block: Vec<String> = block.take_while(|line| line.trim() != "```").collect();
        match (kind, parts.last_mut()) {
            ("sh", _) => parts.push(Part::Commands {
                line: number + 1,
                commands: block,
                prints: None,
            }),
            ("text", Some(Part::Commands { prints, .. })) if prints.is_none() => {
                *prints = Some(block);
            }
            ("text", _) => panic!("line {}: nothing was run that prints this", number + 1),
            _ => {}
        }
    }
    parts
}

/// The words of a line, in which what differs from run to run is the same.
fn words(line: &str) -> Vec<String> {
    let all: Vec<&str> = line.split_whitespace().collect();
    let of = |text: &str, signs: &str| {
        text.chars()
            .all(|c| c.is_ascii_digit() || signs.contains(c))
    };
    let neighbour = |at: Option<usize>, is: &[&str]| {
        let word = at.and_then(|at| all.get(at));
        word.is_some_and(|word| is.contains(&word.trim_end_matches([')', ',', ';'])))
    };
    let word = |(at, word): (usize, &&str)| {
        let bare = word.trim_matches(['(', ')', ',', ';', '.', ':']);
        let passes =
            neighbour(Some(at + 1), &["ago", "left"]) || neighbour(at.checked_sub(1), &["in"]);
        if bare.len() == 10 && bare.matches('-').count() == 2 && of(bare, "-") {
            word.replace(bare, "DATE")
        } else if bare.len() == 8 && bare.matches(':').count() == 2 && of(bare, ":") {
            word.replace(bare, "TIME")
        } else if passes && bare.starts_with(|c: char| c.is_ascii_digit()) && of(bare, "dhms") {
            word.replace(bare, "DURATION")
        } else {
            (*word).to_owned()
        }
    };
    all.iter().enumerate().map(word).collect()
}

/// Whether `found` is as `said`, in which an element that `is_rest` stands for any number.
fn is_as<T>(
    said: &[T],
    found: &[T],
    is_rest: &impl Fn(&T) -> bool,
    same: &impl Fn(&T, &T) -> bool,
) -> bool {
    match said.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if is_rest(first) => {
            (0..=found.len()).any(|skipped| is_as(rest, &found[skipped..], is_rest, same))
        }
        Some((first, rest)) => {
            let own = found.split_first();
            own.is_some_and(|(own, others)| same(first, own) && is_as(rest, others, is_rest, same))
        }
    }
}

fn word_is_as(said: &str, found: &str) -> bool {
    match said.split_once('…') {
        Some((before, after)) => {
            let rest = found.strip_prefix(before);
            rest.is_some_and(|rest| rest.ends_with(after))
        }
        None => said == found,
    }
}

fn line_is_as(said: &[String], found: &[String]) -> bool {
    is_as(said, found, &|word| word == "…", &|said, found| {
        word_is_as(said, found)
    })
}

fn prints(said: &[String], found: &str) -> bool {
    let lines = |text: &mut dyn Iterator<Item = &str>| {
        let words = text.map(words);
        words.filter(|words| !words.is_empty()).collect::<Vec<_>>()
    };
    let said = lines(&mut said.iter().map(String::as_str));
    let found = lines(&mut found.lines());
    is_as(&said, &found, &|line| *line == ["…"], &|said, found| {
        line_is_as(said, found)
    })
}

/// The nodes of the page, and a machine without an agent.
struct Stage {
    site: Site,
    desk: Node,
    nodes: BTreeMap<String, (String, Node)>,
}

impl Stage {
    async fn new() -> Self {
        let site = Site::new("rollout-page");
        let desk = Node::new("desk").await;
        let endpoints = shared_cluster().endpoints();
        let config = format!(
            "key-prefix: {}\netcd:\n  endpoints: {endpoints:?}\n",
            site.prefix
        );
        desk.write("etc/pointsman/config.yaml", &config);
        desk.write(
            "bin/pointsman",
            &format!("#!/bin/sh\nexec {} \"$@\"\n", bin().display()),
        );
        fs::set_permissions(
            desk.path("bin/pointsman"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        let nodes = BTreeMap::new();
        Self { site, desk, nodes }
    }

    fn node(&self, name: &str) -> &Node {
        let node = self.nodes.get(name);
        &node
            .unwrap_or_else(|| panic!("no node {name} was started"))
            .1
    }

    /// The nodes that a word means: one of this name, or those of this group, in the order of their numbers.
    fn named(&self, word: &str) -> Vec<&Node> {
        let number = |node: &&Node| node.machine_id().to_owned();
        let mut nodes: Vec<&Node> = self
            .nodes
            .iter()
            .filter(|(name, (group, _))| *name == word || group == word)
            .map(|(_, (_, node))| node)
            .collect();
        nodes.sort_by_key(number);
        assert!(!nodes.is_empty(), "no node {word} was started");
        nodes
    }

    fn semaphore(&self, group: &str) -> semaphore::etcd::Semaphore {
        let keys = semaphore::keys::Keys::new(&self.site.prefix, Group::new(group).unwrap());
        let options = crate::support::options(shared_cluster().endpoints());
        semaphore::etcd::Semaphore::new(options, keys, crate::support::BACK_OFF)
    }

    /// Does what a comment says:
    /// - `start GROUP NUMBER`: nodes `GROUP-1` and so on, idle on version 4152.2.3; one of them may be out at a time;
    /// - `slow NODE|GROUP`: their drains last until they are told to end; `drained NODE|GROUP`: now;
    /// - `stage NODE|GROUP VERSION`: update_engine has installed it, and the agent has noticed;
    /// - `wait NODE|GROUP WORDS`: until the agent says this; `one GROUP WORDS`: until one of them does; `runs NODE|GROUP VERSION`:
    ///   until it runs this version and is idle;
    /// - `breaks NODE`: a check of the node fails in a soak from now on; `soak GROUP SECONDS`: its policy says so;
    /// - `stop NODE|GROUP`: the machines are gone.
    async fn does(&mut self, what: &str) {
        let mut words = what.splitn(3, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (verb, name, rest) = (next(), next(), next());
        match verb {
            "start" => self.start(name, rest.parse().unwrap()).await,
            "slow" => self.named(name).into_iter().for_each(slow_drain),
            "drained" => self.named(name).into_iter().for_each(drained),
            "stage" => {
                for node in self.named(name) {
                    let before = node.reboots();
                    node.stage(rest).await;
                    // It has its place in the queue, or among the holders, before the next one comes.
                    let on_its_way = |(reboots, status): &(usize, String)| {
                        let yet = ["idle", "waiting: asking", "queued: joining"];
                        *reboots > before || !yet.iter().any(|yet| status.starts_with(yet))
                    };
                    let says = async || (node.reboots(), node.status());
                    eventually("it is on its way", says, on_its_way).await;
                }
            }
            "wait" => {
                for node in self.named(name) {
                    node.wait_status(|status| status.contains(rest)).await;
                }
            }
            "one" => {
                let nodes = self.named(name);
                let says = async || nodes.iter().map(|node| node.status()).collect::<Vec<_>>();
                let one = |said: &Vec<String>| said.iter().any(|said| said.contains(rest));
                eventually(rest, says, one).await;
            }
            "runs" => {
                for node in self.named(name) {
                    let says = async || (node.version(), node.status());
                    let runs =
                        |(version, status): &(String, String)| version == rest && status == "idle";
                    eventually(rest, says, runs).await;
                }
            }
            "breaks" => hook(
                self.node(name),
                "health.d/20-replication",
                "[ $POINTSMAN_PHASE != soaking ] || { echo replication has stopped; exit 1; }",
            ),
            "soak" => {
                let change = PolicyChange {
                    soak: Some(Duration::from_secs(rest.parse().unwrap())),
                    ..PolicyChange::default()
                };
                let semaphore = self.semaphore(name);
                semaphore.set_policy(&change, "test", false).await.unwrap();
            }
            "stop" => {
                for node in self.named(name) {
                    node.stop().await;
                }
                self.nodes
                    .retain(|node, (group, _)| node != name && group != name);
            }
            other => panic!("{other}: not a word for what happens"),
        }
    }

    async fn start(&mut self, group: &str, number: u32) {
        self.semaphore(group).set_max(1, false).await.unwrap();
        for number in 1..=number {
            let name = format!("{group}-{number}");
            let first: u32 = group.bytes().map(u32::from).sum();
            let id = format!("{first:08x}{number:024x}");
            let node = Node::with_machine_id(&name, &id).await;
            prepare(&node);
            node.add_disk("4152.2.3");
            node.auto_reboot(AutoReboot::default());
            let env = [
                ("POINTSMAN_GROUP", group),
                ("POINTSMAN_WAVE_SPREAD", "0s"),
                ("POINTSMAN_REBOOT_DEADLINE", "30m"),
            ];
            self.site.start(&node, &[&QUICK[..], &env].concat()).await;
            node.wait_status(|status| status == "idle").await;
            let is = |record: &semaphore::records::NodeRecord| record.state == "idle";
            let semaphore = self.semaphore(group);
            eventually(
                "its record",
                async || semaphore.read().await.unwrap().nodes,
                |nodes| nodes.iter().any(|node| node.id == id && is(node)),
            )
            .await;
            self.nodes.insert(name, (group.to_owned(), node));
        }
    }

    /// Runs the commands of a block; what they print.
    async fn runs(&self, commands: &[String]) -> Result<String, String> {
        let on = commands.first().and_then(|line| line.strip_prefix("# on "));
        let node = on.map_or(&self.desk, |name| self.node(name));
        let root = node.root().display().to_string();
        let path = format!("{}:/usr/bin:/bin", self.desk.path("bin").display());
        let env = [
            ("PATH", path.as_str()),
            ("POINTSMAN_ROOT", &root),
            ("DBUS_SYSTEM_BUS_ADDRESS", &node.bus().address()),
            ("SUDO_USER", "ann"),
        ];
        let mut printed = String::new();
        for command in commands.iter().filter(|line| !line.starts_with('#')) {
            let code = command
                .rsplit_once("# exit ")
                .map_or(Ok(0), |(_, code)| code.parse());
            let code = code.map_err(|error| format!("{command}: {error}"))?;
            let script = format!("exec 2>&1\n{command}");
            let output = run("/bin/sh", ["-c", &script], &env, PATIENCE).await;
            printed += &output.stdout;
            if output.code != Some(code) {
                return Err(format!("{command}: {output:?}, expected exit {code}"));
            }
        }
        Ok(printed)
    }
}

#[tokio::test]
async fn commands_of_the_page_do_and_print_what_it_says() {
    let mut stage = Stage::new().await;
    let (mut commands_run, mut compared) = (0, 0);
    let mut faults = Vec::new();
    for part in parts(include_str!("../../docs/how-to/rollout.md")) {
        match part {
            Part::Happens(line, what) => {
                println!("line {line}: {what}");
                stage.does(&what).await;
            }
            Part::Commands {
                line,
                commands,
                prints: said,
            } => {
                let printed = match stage.runs(&commands).await {
                    Ok(printed) => printed,
                    Err(error) => {
                        faults.push(format!("line {line}: {error}"));
                        continue;
                    }
                };
                println!("line {line}: {commands:#?}\n{printed}");
                commands_run += commands.len();
                if let Some(said) = said {
                    compared += 1;
                    if !prints(&said, &printed) {
                        faults.push(format!(
                            "line {line}: {} prints\n{printed}\nand not\n{}",
                            commands.join("; "),
                            said.join("\n")
                        ));
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
    assert!(
        commands_run > 35 && compared > 15,
        "{commands_run}, {compared}"
    );
}

#[test]
fn what_a_page_says_is_compared_but_for_what_passes() {
    let says = |said: &str, found: &str| {
        let said: Vec<String> = said.lines().map(str::to_owned).collect();
        prints(&said, found)
    };
    assert!(says(
        "Max: 2 (20% of 10 members)",
        "Max:  2 (20% of 10 members)\n"
    ));
    assert!(!says(
        "Max: 2 (20% of 10 members)",
        "Max: 1 (20% of 9 members)\n"
    ));
    assert!(!says("Soak: 1h", "Soak: 2h"), "a length is compared");
    assert!(says(
        "soaks until 2026-11-30 15:05:12 UTC (59m58s left)",
        "soaks until 2031-01-02 03:04:05 UTC (1h left)"
    ));
    assert!(says("a\n…\nd", "a\nb\nc\nd") && says("a\n…\nd", "a\nd") && !says("a\n…\nd", "a\nb"));
    assert!(says(
        "node 01… says … now",
        "node 0123ab says this and that now"
    ));
    assert!(!says("a", "a\nb") && !says("a\nb", "a"));
}
