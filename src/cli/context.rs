//! What a command works with: the configuration, as far as it is certain, and the flags of this command line.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
};

use host::{fleet_lock, node, time};
use jiff::Timestamp;
use semaphore::{acts::Person, etcd::Semaphore, keys::Keys};
use settings::{
    Config, ConfigError, Faults, FleetLock, Origin, SETTINGS, Setting, Sources, Strategy,
};

use super::{
    Exit, Failure,
    common::{About, CommonArgs, ReasonArgs, SETTING_FLAGS, SettingFlag},
    output,
};
use crate::agent::effects::EffectRunner;

/// What a command works with.
pub struct Context {
    /// The configuration; where it has faults, without what is wrong in it.
    pub config: Config,
    /// Where it came from, to be read again.
    pub sources: Sources,
    /// What is wrong with it; each command decides by these whether it knows enough to go on.
    faults: Faults,
    /// The flags of this command line, for the commands that are suggested.
    common: CommonArgs,
    /// Whether the command is about all groups: then it does not matter which is this node's.
    of_all_groups: bool,
    /// Whether the dates of the certificate have been said.
    warned: Cell<bool>,
    /// Why the person who runs the command does so.
    reason: RefCell<String>,
}

/// What stands for a password.
const HIDDEN: &str = "(hidden)";
/// How many of the flags for etcd are needed where nothing else says them, the group among them; the others may be left out.
const NEEDED: usize = 3;

/// The flags of the settings that say which reboot lock is meant, and how it is reached.
fn of_etcd() -> impl Iterator<Item = &'static SettingFlag> {
    let all = SETTING_FLAGS.iter();
    all.filter(|one| matches!(one.about, About::Etcd | About::RebootLock | About::Group))
}

/// The FleetLock server that a node asks which has no etcd; none where it asks none, or somebody has said where etcd is.
fn asks_only(config: &Config) -> Option<&FleetLock> {
    let no_etcd = config.given.origin("etcd.endpoints") == Origin::Default;
    let server = config.fleet_lock.as_ref();
    server.filter(|_| no_etcd && config.strategy == Strategy::FleetLock)
}

impl Context {
    /// With a configuration that is without fault.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn strict(sources: Sources, common: CommonArgs) -> Result<Self, ConfigError> {
        Ok(Self {
            config: sources.load()?,
            sources,
            faults: Faults::new(),
            common,
            of_all_groups: false,
            warned: Cell::default(),
            reason: RefCell::default(),
        })
    }

    /// With what is right in the configuration, after saying what is wrong: whoever must act on a machine in trouble
    /// does not have to repair an unrelated line first. For a command about all groups, the group is unrelated.
    #[must_use]
    pub fn lenient(sources: Sources, common: CommonArgs, of_all_groups: bool) -> Self {
        let (config, faults) = sources.load_what_is_right();
        for fault in &faults {
            output::note(format!("pointsman: {fault}"));
        }
        Self {
            config,
            sources,
            faults,
            common,
            of_all_groups,
            warned: Cell::default(),
            reason: RefCell::default(),
        }
    }

    /// A command of this program with the flags of this command line, as a shell reads it.
    #[must_use]
    pub fn command(&self, words: &str) -> String {
        format!("pointsman {words}{}", self.common.again(words))
    }

    /// As [`Self::command`], in this group.
    #[must_use]
    pub fn command_in(&self, group: &node::Group, words: &str) -> String {
        let mut common = self.common.clone();
        let own = *group == self.config.group;
        if !own {
            common.etcd.group = Some(group.as_str().to_owned());
        }
        format!("pointsman {words}{}", common.again(words))
    }

    /// The flags of this command line for a command that names its group already, unless that is the default one.
    #[must_use]
    pub fn flags_but_the_group(&self, words: &str) -> String {
        let mut common = self.common.clone();
        common.etcd.group.take_if(|group| !group.is_empty());
        common.again(words)
    }

    /// A time as people are shown it, in the machine's time zone.
    #[must_use]
    pub fn time(&self, at: Timestamp) -> String {
        time::shown(at, &node::time_zone(&self.config.root))
    }

    /// Whether this command line says which disk has the slots.
    #[must_use]
    pub fn names_the_disk(&self) -> bool {
        self.common.slots.disk.is_some()
    }

    /// For what may be done only by a configuration without fault.
    ///
    /// # Errors
    /// When it has any.
    pub fn without_fault(&self, doing: &str) -> Result<(), Failure> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Usage,
            format!("{doing}: fix the error in the configuration first, see above"),
        ))
    }

    /// What is wrong with the configuration.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Whether nobody has configured anything: no file, no variable, no flag.
    #[must_use]
    pub fn is_not_configured(&self) -> bool {
        let given = |setting: &Setting| self.config.given.origin(setting.key) != Origin::Default;
        self.faults.is_empty() && !SETTINGS.iter().any(given)
    }

    /// Whether a flag of this command line says which group is meant.
    #[must_use]
    pub fn names_the_group(&self) -> bool {
        self.flag_given("group")
    }

    /// A flag of this command line that says how etcd is reached, or what in it is meant; none where there is none.
    #[must_use]
    pub(super) fn flag_of_etcd(&self) -> Option<&'static str> {
        let mut given = of_etcd().filter(|one| self.flag_given(one.key));
        given.next().map(|one| one.flag)
    }

    fn flag_given(&self, key: &str) -> bool {
        self.sources.flags.given(key).is_some()
    }

    /// For what needs to know where the slots are. What may be missing because a file could not be read at all is no
    /// hindrance: without a word the disk is the one this system was booted from.
    ///
    /// # Errors
    /// When a fault is of just those settings, and no flag gives them.
    pub fn slots_are_certain(&self) -> Result<(), Failure> {
        let mut of_slots = SETTING_FLAGS.iter().filter(|one| one.about == About::Slots);
        let wrong = of_slots.find(|one| {
            let concerned = |fault: &ConfigError| fault.concerns(one.key) == Some(true);
            self.faults.iter().any(concerned) && !self.flag_given(one.key)
        });
        match wrong {
            None => Ok(()),
            Some(SettingFlag { key, flag, .. }) => Err(Failure::new(
                Exit::Usage,
                format!("{key}: fix the error above first, or give {flag}"),
            )),
        }
    }

    /// For what is done in etcd or on this node alone, as the strategy says.
    ///
    /// # Errors
    /// When just that is wrong.
    pub fn strategy_is_certain(&self) -> Result<(), Failure> {
        let concerned = |fault: &ConfigError| fault.concerns("strategy") == Some(true);
        if !self.faults.iter().any(concerned) {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Usage,
            "strategy: fix the error above first. The strategy decides whether this is done in etcd or on this node alone",
        ))
    }

    /// The configuration by which etcd is asked: the whole, where its faults do not touch what says which reboot lock is
    /// meant; else the flags alone, where they say it.
    fn of_etcd(&self) -> Result<Cow<'_, Config>, Failure> {
        let of_etcd = || of_etcd().filter(|one| !self.of_all_groups || one.about != About::Group);
        let needed = NEEDED - usize::from(self.of_all_groups);
        let open = |key: &str| {
            let concerned = |fault: &ConfigError| fault.concerns(key) != Some(false);
            self.faults.iter().any(concerned) && !self.flag_given(key)
        };
        if !of_etcd().any(|one| open(one.key)) {
            return Ok(Cow::Borrowed(&self.config));
        }
        if of_etcd().take(needed).all(|one| self.flag_given(one.key)) {
            let flags = self.sources.flags.clone();
            return Ok(Cow::Owned(Config::resolve(&self.sources.root, flags)?));
        }
        let read: Vec<String> = of_etcd()
            .filter_map(|SettingFlag { key, flag, .. }| {
                let (text, _) = self.config.given.given(key)?;
                // A password that is in no file of its own is not shown.
                if text == HIDDEN {
                    return None;
                }
                Some(format!("{flag} {}", output::word(text)))
            })
            .collect();
        Err(Failure::new(
            Exit::Usage,
            format!(
                "it is not certain which reboot lock is meant. Fix the error above first. Or give all settings as flags, \
                 for example: {}",
                read.join(" ")
            ),
        ))
    }

    /// The group's reboot lock.
    ///
    /// # Errors
    /// When which one it is is not certain, or a certificate or password cannot be read.
    pub fn semaphore(&self) -> Result<Semaphore, Failure> {
        self.semaphore_of(self.config.group.clone())
    }

    /// Another group's reboot lock.
    ///
    /// # Errors
    /// As [`Self::semaphore`].
    pub fn semaphore_of(&self, group: node::Group) -> Result<Semaphore, Failure> {
        let keys = Keys::new(&self.of_etcd()?.prefix, group);
        self.semaphore_at(keys)
    }

    /// The reboot lock under these keys.
    ///
    /// # Errors
    /// As [`Self::semaphore`].
    pub fn semaphore_at(&self, keys: Keys) -> Result<Semaphore, Failure> {
        let config = self.of_etcd()?;
        if let Some(server) = asks_only(&config) {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "this node asks the FleetLock server {} (strategy fleet-lock), and etcd.endpoints is not set: there is no etcd \
                     that this command could use. To use one all the same: --endpoint URL",
                    server.url
                ),
            ));
        }
        let options = config.etcd_options()?;
        // etcd only closes the connection, without a reason.
        let warning = config.certificate_warning(Timestamp::now());
        if let Some(warning) = warning.filter(|warning| warning.has_expired())
            && !self.warned.replace(true)
        {
            output::note(format!("pointsman: warning: {warning}"));
        }
        let back_off = EffectRunner::back_off(&config);
        Ok(Semaphore::new(options, keys, back_off).by(self.person()))
    }

    /// Whether this node has no etcd: it asks a FleetLock server, and nobody has said where etcd is.
    #[must_use]
    pub fn has_no_etcd(&self) -> bool {
        asks_only(&self.config).is_some()
    }

    /// The id under which this node asks a FleetLock server, and that server; none with another strategy.
    #[must_use]
    pub fn fleet_lock_client(&self) -> Option<(String, &FleetLock)> {
        let server = self.config.fleet_lock.as_ref();
        let server = server.filter(|_| self.config.strategy == Strategy::FleetLock)?;
        let id = node::machine_id(&self.config.root).ok()?;
        Some((fleet_lock::client_id(&id)?, server))
    }

    /// Who runs this command: the user behind sudo, if any.
    #[must_use]
    pub fn person(&self) -> Person {
        let name = std::env::var("SUDO_USER").ok().or_else(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok()??;
            Some(user.name)
        });
        Person {
            name: name.unwrap_or_else(|| "unknown".into()),
            host: node::hostname(&self.config.root),
            reason: self.reason.borrow().clone(),
        }
    }

    /// Notes why they do what follows.
    pub fn because(&self, args: &ReasonArgs) {
        let reason = args.reason.clone().unwrap_or_default();
        self.reason.replace(reason);
    }

    /// The id given, checked, or this node's.
    ///
    /// # Errors
    /// When the given one is no id, or this machine has none.
    pub fn id(&self, given: Option<&str>) -> Result<String, Failure> {
        match given {
            Some(id) => node::check_id(id).map(|()| id.to_owned()),
            None => node::machine_id(&self.config.root),
        }
        .map_err(|e| Failure::new(Exit::Usage, e.to_string()))
    }
}
