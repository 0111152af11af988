//! What the facts mean, and what to do about it. Pure.

use std::collections::BTreeMap;

use host::certificate::expiry::{self, Expiry};
use jiff::Timestamp;

use super::{
    facts::{
        Agent, Certificates, Clock, Configuration, Endpoint, Facts, Fleet, HookFacts, Slots,
        Unread, UpdateEngine,
    },
    finding::{Finding, Findings, Level},
};
use crate::cli::{slots, status};

/// The findings, in the order in which a person would look. `command` makes a command of this program with the flags of this
/// command line.
pub(super) fn judge(facts: &Facts, command: &dyn Fn(&str) -> String) -> Vec<Finding> {
    let mut findings = Findings::default();
    let now = facts.now;
    configuration(&facts.configuration, &mut findings);
    for file in &facts.certificates {
        certificates(file, now, &mut findings);
    }
    clock(facts, &mut findings);
    match &facts.etcd {
        None => {}
        Some(Err(trouble)) => findings.error("etcd", trouble),
        Some(Ok(endpoints)) => etcd(endpoints, now, &mut findings),
    }
    if let Some((url, valid_until)) = &facts.lock_server {
        server("FleetLock server", url, valid_until, now, &mut findings);
    }
    match &facts.fleet {
        None => {}
        Some(Err(trouble)) => findings.error("group", trouble),
        Some(Ok(group)) => fleet(group, command, &mut findings),
    }
    agent(&facts.agent, &mut findings);
    slots(&facts.slots, command, &mut findings);
    if let Some(trouble) = &facts.bus {
        findings.error("system bus", trouble);
    }
    if let Some(engine) = &facts.update_engine {
        update_engine(engine, &mut findings);
    }
    for other in &facts.coordinators {
        findings.add(
            "other coordinators",
            Level::Warning,
            &other.found,
            &[&other.to_do],
        );
    }
    hooks(&facts.hooks, &mut findings);
    findings.0
}

fn configuration(configuration: &Configuration, findings: &mut Findings) {
    const ABOUT: &str = "configuration";
    for fault in &configuration.faults {
        findings.add(ABOUT, Level::Error, fault, &[]);
    }
    for warning in &configuration.warnings {
        findings.add(ABOUT, Level::Warning, warning, &[]);
    }
    if configuration.is_missing {
        let to_do = "write /etc/pointsman/config.yaml, and check it: pointsman config";
        findings.add(ABOUT, Level::Warning, status::NOT_CONFIGURED, &[to_do]);
    } else if configuration.faults.is_empty() {
        let strategy = configuration.strategy;
        findings.ok(ABOUT, format!("no fault; the strategy is {strategy}"));
        let given = configuration
            .settings
            .iter()
            .filter(|setting| setting.from != "default");
        findings.details(given.map(|setting| {
            let value = setting.value.as_deref().unwrap_or("-");
            format!("{} = {value} ({})", setting.key, setting.from)
        }));
    }
}

fn level_of(expiry: Expiry) -> Level {
    match expiry {
        Expiry::Valid => Level::Ok,
        Expiry::Soon => Level::Warning,
        Expiry::Expired => Level::Error,
    }
}

fn certificates(file: &Certificates, now: Timestamp, findings: &mut Findings) {
    const ABOUT: &str = "certificate";
    let named = &file.named;
    let all = match &file.valid_until {
        Ok(all) => all,
        Err(Unread::Denied(why)) => {
            let found = format!("{named} was not checked: {why}");
            return findings.add(ABOUT, Level::Warning, found, &["run this as root"]);
        }
        Err(Unread::Wrong(trouble)) => return findings.error(ABOUT, trouble),
    };
    // Of several authorities one that has expired is no harm while another one signs: the server's own date tells.
    let valid = |until: &&Timestamp| Expiry::of(**until, now) != Expiry::Expired;
    let counts = match file.are_authorities {
        true => all.iter().filter(valid).min().or_else(|| all.iter().max()),
        false => all.first(),
    };
    let Some(&until) = counts else {
        let found = format!("{named} holds no certificate whose dates can be read");
        return findings.add(
            ABOUT,
            Level::Error,
            found,
            &["replace the file by a certificate in PEM"],
        );
    };
    let level = level_of(Expiry::of(until, now));
    let to_do: &[&str] = match level {
        Level::Ok => &[],
        _ => &["renew it; the agent reads the file again by itself"],
    };
    findings.add(
        ABOUT,
        level,
        format!("{named} {}", expiry::told(until, now)),
        to_do,
    );
}

/// What is to be said of the certificates that a server shows; nothing where all is well.
fn server(
    about: &'static str,
    url: &str,
    valid_until: &[Timestamp],
    now: Timestamp,
    findings: &mut Findings,
) {
    // The first is the server's own. An authority that it sends along ends the trust in it as well.
    let Some(&until) = valid_until.iter().min() else {
        return;
    };
    let level = level_of(Expiry::of(until, now));
    if level != Level::Ok {
        let whose = match valid_until.first() == Some(&until) {
            true => "the server's certificate",
            false => "an authority's certificate that the server sends",
        };
        let found = format!("{url}: {whose} {}", expiry::told(until, now));
        findings.add(about, level, found, &["renew it on that server"]);
    }
}

fn etcd(endpoints: &[Endpoint], now: Timestamp, findings: &mut Findings) {
    const ABOUT: &str = "etcd";
    let answered = endpoints
        .iter()
        .filter(|endpoint| endpoint.answers.is_ok())
        .count();
    let level = match answered {
        0 => Level::Error,
        _ => Level::Warning,
    };
    for endpoint in endpoints {
        if let Err(why) = &endpoint.answers {
            let to_do = "check the address and the certificates (pointsman config), and that etcd runs there";
            findings.add(ABOUT, level, format!("{}: {why}", endpoint.url), &[to_do]);
        }
        server(ABOUT, &endpoint.url, &endpoint.valid_until, now, findings);
    }
    let clusters: Vec<(&str, u64)> = endpoints
        .iter()
        .filter_map(|endpoint| Some((endpoint.url.as_str(), endpoint.cluster?)))
        .collect();
    if clusters.iter().any(|(_, id)| *id != clusters[0].1) {
        let each = clusters.iter().map(|(at, id)| format!("{at} is of {id:x}"));
        let found = format!(
            "the endpoints are of different clusters: {}",
            each.collect::<Vec<_>>().join(", ")
        );
        let to_do = "name the endpoints of one cluster only, in etcd.endpoints";
        findings.add(ABOUT, Level::Error, found, &[to_do]);
    } else if answered > 0 {
        let all = endpoints.len();
        findings.ok(ABOUT, format!("{answered} of {all} endpoints answer"));
        let with_dates = endpoints.iter().filter_map(|endpoint| {
            let until = *endpoint.valid_until.first()?;
            Some(format!(
                "{}: the server's certificate {}",
                endpoint.url,
                expiry::told(until, now)
            ))
        });
        findings.details(with_dates);
    }
}

/// How many there are of each, the most frequent first.
fn counted<'a>(all: impl Iterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    let mut counts: Vec<_> = counts
        .into_iter()
        .map(|(what, count)| (count, what))
        .collect();
    counts.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    counts
}

fn fleet(group: &Fleet, command: &dyn Fn(&str) -> String, findings: &mut Findings) {
    if let Some(error) = &group.document {
        findings.add(
            "group",
            Level::Error,
            error,
            &[&command("set-max 1 --rebuild")],
        );
    }
    for id in &group.overdue {
        let found = format!("{id} holds the reboot lock and has not come back");
        let to_do = format!("see: {}", command("status"));
        findings.add("group", Level::Warning, found, &[&to_do]);
    }
    let agents = counted(group.nodes.iter().map(|(agent, _)| agent.as_str()));
    let each = agents
        .iter()
        .map(|(count, agent)| format!("{count} with {agent}"));
    let each = each.collect::<Vec<_>>().join(", ");
    match agents.len() {
        0 => return findings.ok("agents", "no node of the group has said anything yet"),
        1 => findings.ok("agents", each),
        _ => {
            let to_do = format!("see which: {}", command("status --nodes"));
            findings.add("agents", Level::Warning, each, &[&to_do]);
        }
    }
    // While a roll-out is under way there are several.
    let images = counted(group.nodes.iter().map(|(_, image)| image.as_str()));
    let each = images
        .iter()
        .map(|(count, image)| format!("{count} on {image}"));
    findings.ok("images", each.collect::<Vec<_>>().join(", "));
}

fn agent(agent: &Agent, findings: &mut Findings) {
    const ABOUT: &str = "agent";
    let (version, state, waits_for, config_error, etcd_error) = match agent {
        Agent::Absent => {
            let to_do =
                "start it: systemctl enable --now pointsman; why it ended: journalctl -u pointsman";
            return findings.add(ABOUT, Level::Error, "it does not run", &[to_do]);
        }
        Agent::Silent(trouble) => return findings.error(ABOUT, trouble),
        Agent::Runs {
            version,
            state,
            waits_for,
            config_error,
            etcd_error,
        } => (version, state, waits_for, config_error, etcd_error),
    };
    if !config_error.is_empty() {
        let to_do = "it goes on with the configuration before; repair the file, then: systemctl reload pointsman";
        findings.add(ABOUT, Level::Error, config_error, &[to_do]);
    }
    if !etcd_error.is_empty() {
        findings.add(ABOUT, Level::Error, etcd_error, &[]);
    }
    let own = env!("CARGO_PKG_VERSION");
    if version != own {
        let found = format!("it is {version}, and this program {own}");
        findings.add(
            ABOUT,
            Level::Warning,
            found,
            &["systemctl restart pointsman"],
        );
    }
    let waits_for = match waits_for.as_str() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    findings.ok(ABOUT, format!("it runs, {state}{waits_for}"));
}

fn slots(found: &Slots, command: &dyn Fn(&str) -> String, findings: &mut Findings) {
    const ABOUT: &str = "slots";
    match found {
        Slots::None => findings.ok(ABOUT, slots::NO_SLOTS),
        Slots::Unusable(trouble) => findings.error(ABOUT, trouble),
        Slots::Read { faults, each, next } => {
            for fault in faults {
                findings.add(ABOUT, Level::Error, fault, &[&command("slots repair")]);
            }
            match next {
                None => findings.add(
                    ABOUT,
                    Level::Error,
                    "no slot would boot",
                    &[&format!(
                        "make one bootable: {}",
                        command("slots mark-good SLOT")
                    )],
                ),
                Some(name) => findings.ok(ABOUT, format!("a reboot would boot {name}")),
            }
            findings.details(each.iter().cloned());
        }
    }
}

fn update_engine(engine: &UpdateEngine, findings: &mut Findings) {
    const ABOUT: &str = "update_engine";
    match engine {
        UpdateEngine::None(files) => {
            findings.ok(ABOUT, format!("there is none: {files} asks for reboots"))
        }
        UpdateEngine::Silent(trouble) => findings.error(ABOUT, trouble),
        UpdateEngine::Does(what, checked) => {
            let checked = checked.as_ref().map_or(String::new(), |at| {
                format!(", last looked for an update {at}")
            });
            findings.ok(ABOUT, format!("{what}{checked}"));
        }
    }
}

fn clock(facts: &Facts, findings: &mut Findings) {
    const ABOUT: &str = "clock";
    let now = &facts.shown_now;
    match &facts.clock {
        Clock::Synchronised => findings.ok(ABOUT, format!("it is synchronised, and shows {now}")),
        Clock::Adrift => findings.add(
            ABOUT,
            Level::Warning,
            format!("it is not synchronised with a time server, and shows {now}; reboot windows and certificates go by it"),
            &["switch synchronisation on: timedatectl set-ntp true; see: timedatectl timesync-status, or chronyc tracking"],
        ),
        Clock::Unknown(why) => {
            findings.ok(ABOUT, format!("it shows {now}; whether it is synchronised is not known: {why}"));
        }
    }
}

fn hooks(hooks: &HookFacts, findings: &mut Findings) {
    const ABOUT: &str = "hooks";
    let limit = host::duration::print(hooks.limit);
    for why in &hooks.faults {
        findings.add(ABOUT, Level::Error, why, &["see: pointsman hooks"]);
    }
    for (name, own, file) in &hooks.own_limits {
        if *own >= hooks.limit {
            let found = format!(
                "{name}: TIMEOUT is {} s ({file}), and the agent ends a hook after timings.hook-timeout, {limit}: before it could undo what \
                 it has begun",
                own.as_secs()
            );
            let to_do = "set TIMEOUT to less, or timings.hook-timeout to more";
            findings.add(ABOUT, Level::Warning, found, &[to_do]);
        }
    }
    if hooks.faults.is_empty() {
        findings.ok(
            ABOUT,
            "all that are there, and the programs of notify, can be run",
        );
    }
}

#[cfg(test)]
mod tests;
