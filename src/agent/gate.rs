//! May this node go for a reboot now, as far as the node itself is concerned? Pure.
//!
//! What needs the cluster (the queue, a pause, a quarantine) is the semaphore's matter.

use std::time::Duration;

use jiff::Zoned;
use semaphore::records::Image;
use settings::{
    Strategy,
    window::{Window, WindowState},
};

/// A point in time: on the wall clock, for the window, and on the monotonic one, for waiting.
#[derive(Debug, Clone)]
pub struct Now {
    /// Local time.
    pub wall: Zoned,
    /// Time since some fixed point of this run; never jumps.
    pub monotonic: Duration,
    /// Random, to name a claim that begins now.
    pub random: u128,
}

impl Now {
    /// The name of a claim that begins now.
    #[must_use]
    pub fn nonce(&self) -> String {
        format!("{:032x}", self.random)
    }
}

/// What the node's operator set.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What is asked before a reboot.
    pub strategy: Strategy,
    /// When reboots may start; none: always.
    pub window: Option<Window>,
    /// How long people logged in are given.
    pub login_grace: Duration,
    /// How long after the reboot call the node may take to go down before it is looked at again.
    pub shutdown_timeout: Duration,
    /// How long a quarantined update stays staged before update_engine is made to look for a better one.
    pub quarantine_reset: Duration,
    /// How long to wait after a failed try (reboot call, drain, journal) before the next.
    pub retry: Duration,
}

/// Whether an update waits for a reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Not known: why.
    Unknown(String),
    /// None; the word for what update_engine does instead.
    None(String),
    /// One is staged: this.
    Staged(Image),
    /// One is staged, and which cannot be told, or it could not boot: why.
    Unusable(String),
}

/// What logind says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logins {
    /// Who is logged in at a terminal: name and terminal.
    pub people: Vec<(String, String)>,
    /// Who blocks shutdowns: who and why.
    pub inhibitors: Vec<(String, String)>,
    /// Whether the system is going down: logind prepares for it, or systemd has the job.
    pub going_down: bool,
}

/// All that is known of the node from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The update, if any.
    pub update: Update,
    /// What the boot loader would take now, an update's staging aside; none on a node without slots, and a reason
    /// where it cannot be told.
    pub next: Result<Option<Image>, String>,
    /// What logind says; the reason where it says nothing.
    pub logind: Result<Logins, String>,
    /// The packages that ask for the reboot, where a file does and names some.
    pub packages: Vec<String>,
}

/// Why a reboot is wanted, and into what.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Intent {
    /// The reason, for people.
    pub reason: String,
    /// What boots next: the staged update, or what the boot loader takes.
    pub to: Image,
    /// Whether a person asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_person: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// No reboot is wanted.
    Nothing,
    /// One is wanted and must wait: for what, and until when at the latest on the monotonic clock, where
    /// that is known.
    Blocked {
        /// A sentence.
        why: String,
        /// The time at which to ask again.
        until: Option<Duration>,
    },
    /// Only the people logged in are in the way.
    People(Vec<(String, String)>),
    /// Now; and until when, where the window closes.
    Go {
        /// For this.
        intent: Intent,
        /// The time at which to ask again.
        until: Option<Duration>,
    },
}

/// What a person asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Request {
    /// Their reason.
    pub reason: String,
}

/// The intent these facts and this request amount to.
#[must_use]
pub fn intent(facts: &Facts, request: Option<&Request>, runs: &Image) -> Option<Intent> {
    let staged = match &facts.update {
        Update::Staged(image) => Some(image.clone()),
        _ => None,
    };
    let reason = match (request, &staged) {
        (Some(request), _) => request.reason.clone(),
        (None, Some(_)) if !facts.packages.is_empty() => update_of(&facts.packages),
        (None, Some(image)) => format!("update to {image}"),
        (None, None) => return None,
    };
    Some(Intent {
        reason,
        by_person: request.is_some(),
        // Somebody may have put the other slot first: that is what a reboot boots then.
        to: staged
            .or_else(|| facts.next.clone().ok().flatten())
            .unwrap_or_else(|| runs.clone()),
    })
}

/// How many packages are named in a reason.
const NAMED: usize = 5;

/// The reason of a reboot that packages ask for.
fn update_of(packages: &[String]) -> String {
    let named = packages.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let more = match packages.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("update of {}{more}", named.join(", "))
}

/// Decides, without regard to people logged in (they are asked before the queue, not after it).
#[must_use]
pub fn gate(rules: &Rules, facts: &Facts, intent: Option<Intent>, now: &Now) -> Gate {
    let blocked = |why: String| Gate::Blocked { why, until: None };
    // It may be quarantined, and whoever reboots boots it.
    if let Update::Unusable(why) = &facts.update {
        return blocked(why.clone());
    }
    let Some(intent) = intent else {
        return Gate::Nothing;
    };
    if let (Err(why), false) = (&facts.next, matches!(facts.update, Update::Staged(_))) {
        return blocked(format!("what would boot cannot be told: {why}"));
    }
    if rules.strategy == Strategy::Off {
        return blocked("the strategy is `off`: this node does not reboot by itself".into());
    }
    let logins = match &facts.logind {
        Ok(logins) => logins,
        Err(why) => return blocked(format!("logind cannot be asked to reboot: {why}")),
    };
    if logins.going_down {
        return blocked("the system is going down already".into());
    }
    let mut until = None;
    if let Some(window) = &rules.window {
        match window.state(&now.wall) {
            WindowState::Closed { opens } => {
                return Gate::Blocked {
                    why: format!(
                        "outside the reboot window; it opens {}",
                        opens.strftime("%a %Y-%m-%d %H:%M %Z")
                    ),
                    until: Some(look_at(now, &opens)),
                };
            }
            WindowState::Open { until: closes } => {
                until = Some(look_at(now, &closes));
            }
        }
    }
    if let Some((who, why)) = logins.inhibitors.first() {
        return blocked(format!("{who} blocks shutdowns: {why}"));
    }
    Gate::Go { intent, until }
}

/// As [`gate`], before the queue: people logged in are given their time first, unless it is up
/// (`grace_over`).
#[must_use]
pub fn gate_with_people(
    rules: &Rules,
    facts: &Facts,
    intent: Option<Intent>,
    grace_over: bool,
    now: &Now,
) -> Gate {
    match (gate(rules, facts, intent, now), &facts.logind) {
        (Gate::Go { .. }, Ok(logins))
            if !logins.people.is_empty() && !grace_over && !rules.login_grace.is_zero() =>
        {
            Gate::People(logins.people.clone())
        }
        (gate, _) => gate,
    }
}

/// How long a window is left unlooked at. It follows the wall clock, which may be set meanwhile; and while a machine sleeps
/// the monotonic clock stands still.
const WINDOW_LOOK: Duration = Duration::from_secs(60);

/// When to look whether that time of the window has come.
fn look_at(now: &Now, then: &Zoned) -> Duration {
    now.monotonic + from_now(&now.wall, then).min(WINDOW_LOOK)
}

fn from_now(now: &Zoned, then: &Zoned) -> Duration {
    then.timestamp()
        .duration_since(now.timestamp())
        .try_into()
        .unwrap_or_default()
}
