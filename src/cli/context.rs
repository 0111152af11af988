//! What a command works with: the configuration, as far as it is certain, and the flags of this command line.

use std::{borrow::Cow, cell::Cell};

use host::node;
use jiff::Timestamp;
use semaphore::{etcd::Semaphore, keys::Keys};
use settings::{Config, ConfigError, Faults, Origin, SETTINGS, Setting, Sources};

use super::{Exit, Failure, common::CommonArgs, output};
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
    /// Whether the dates of the certificate have been said.
    warned: Cell<bool>,
}

/// The settings that say which semaphore is meant, and how it is reached, with the flag of each.
const OF_ETCD: [(&str, &str); 9] = [
    ("etcd.endpoints", "--endpoint"),
    ("group", "--group"),
    ("key-prefix", "--key-prefix"),
    ("etcd.cafile", "--etcd-cafile"),
    ("etcd.certfile", "--etcd-certfile"),
    ("etcd.keyfile", "--etcd-keyfile"),
    ("etcd.username", "--etcd-username"),
    ("etcd.password-file", "--etcd-password-file"),
    ("etcd.timeout", "--timeout"),
];
/// What stands for a password.
const HIDDEN: &str = "(hidden)";
/// How many of them have to be said where nothing else says them; the others may be left out.
const NEEDED: usize = 3;

/// The settings that say where the slots are.
const OF_SLOTS: [(&str, &str); 2] = [("slots.disk", "--disk"), ("slots.booted", "--booted")];

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
            warned: Cell::default(),
        })
    }

    /// With what is right in the configuration, after saying what is wrong: whoever must act at a machine in trouble
    /// is not to mend an unrelated line first.
    #[must_use]
    pub fn lenient(sources: Sources, common: CommonArgs) -> Self {
        let (config, faults) = sources.load_what_is_right();
        for fault in &faults {
            output::note(format!("pointsman: {fault}"));
        }
        Self {
            config,
            sources,
            faults,
            common,
            warned: Cell::default(),
        }
    }

    /// A command of this program with the flags of this command line, as a shell reads it.
    #[must_use]
    pub fn command(&self, words: &str) -> String {
        format!("pointsman {words}{}", self.common.again(words))
    }

    /// The flags of this command line for a command that names its group already, unless that is the default one.
    #[must_use]
    pub fn flags_but_the_group(&self, words: &str) -> String {
        let mut common = self.common.clone();
        common.etcd.group.take_if(|group| !group.is_empty());
        common.again(words)
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
            format!("{doing}: the configuration has to be mended first, see above"),
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

    fn flag_given(&self, key: &str) -> bool {
        self.sources.flags.given(key).is_some()
    }

    /// For what needs to know where the slots are. What may be missing because a file could not be read at all is no
    /// hindrance: without a word the disk is the one this system was booted from.
    ///
    /// # Errors
    /// When a fault is of just those settings, and no flag gives them.
    pub fn slots_are_certain(&self) -> Result<(), Failure> {
        let wrong = OF_SLOTS.into_iter().find(|(key, _)| {
            let concerned = |fault: &ConfigError| fault.concerns(key) == Some(true);
            self.faults.iter().any(concerned) && !self.flag_given(key)
        });
        match wrong {
            None => Ok(()),
            Some((key, flag)) => Err(Failure::new(
                Exit::Usage,
                format!("{key} has to be mended first, see above, or be given here: {flag}"),
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
            "strategy has to be mended first, see above: it says whether that is done in etcd or on this node alone",
        ))
    }

    /// The configuration by which etcd is asked: the whole, where its faults do not touch what says which semaphore is
    /// meant; else the flags alone, where they say it.
    fn of_etcd(&self) -> Result<Cow<'_, Config>, Failure> {
        let open = |key: &str| {
            let concerned = |fault: &ConfigError| fault.concerns(key) != Some(false);
            self.faults.iter().any(concerned) && !self.flag_given(key)
        };
        if !OF_ETCD.iter().any(|(key, _)| open(key)) {
            return Ok(Cow::Borrowed(&self.config));
        }
        if OF_ETCD[..NEEDED]
            .iter()
            .all(|(key, _)| self.flag_given(key))
        {
            let flags = self.sources.flags.clone();
            return Ok(Cow::Owned(Config::resolve(&self.sources.root, flags)?));
        }
        let read: Vec<String> = OF_ETCD
            .iter()
            .filter_map(|(key, flag)| {
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
                "which semaphore is meant is not certain before that is mended. To go on without the configuration, say \
                 all of it by flags; as far as it could be read, and with the defaults, that would be: {}",
                read.join(" ")
            ),
        ))
    }

    /// The group's semaphore.
    ///
    /// # Errors
    /// When which one it is is not certain, or a certificate or password cannot be read.
    pub fn semaphore(&self) -> Result<Semaphore, Failure> {
        self.semaphore_of(self.config.group.clone())
    }

    /// Another group's semaphore.
    ///
    /// # Errors
    /// As [`Self::semaphore`].
    pub fn semaphore_of(&self, group: node::Group) -> Result<Semaphore, Failure> {
        let keys = Keys::new(&self.of_etcd()?.prefix, group);
        self.semaphore_at(keys)
    }

    /// The semaphore under these keys.
    ///
    /// # Errors
    /// As [`Self::semaphore`].
    pub fn semaphore_at(&self, keys: Keys) -> Result<Semaphore, Failure> {
        let config = self.of_etcd()?;
        let options = config.etcd_options()?;
        // etcd only closes the connection, without a reason.
        let warning = config.certificate_warning(Timestamp::now());
        if let Some(warning) = warning.filter(|warning| warning.contains("expired"))
            && !self.warned.replace(true)
        {
            output::note(format!("pointsman: warning: {warning}"));
        }
        Ok(Semaphore::new(
            options,
            keys,
            EffectRunner::back_off(&config),
        ))
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
