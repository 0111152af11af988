//! What the files and disks of this node say.

use std::time::Duration;

use host::hooks::{
    Hooks,
    available::{self, Available},
};
use slots::storage::Access;

use crate::{
    cli::{
        Context, config,
        doctor::facts::{Certificates, Configuration, HookFacts, Slots, Unread},
        slots as slots_command,
    },
    notify::missing_programs,
};

/// The configuration, and where each value is from.
pub(super) fn configuration(context: &Context) -> Configuration {
    Configuration {
        faults: context.faults().iter().map(ToString::to_string).collect(),
        warnings: context.config.fleet_lock_warning().into_iter().collect(),
        is_missing: context.is_not_configured(),
        strategy: context.config.strategy,
        settings: config::in_force(&context.config),
    }
}

/// The dates of the certificates in files.
pub(super) fn certificates(context: &Context) -> Vec<Certificates> {
    let files = context.config.certificate_files().into_iter();
    let read = files.map(|file| {
        let are_authorities = file.are_authorities();
        let what = match are_authorities {
            true => "the authorities' certificate",
            false => "the certificate",
        };
        Certificates {
            named: format!("{}: {what} {}", file.at, file.path),
            are_authorities,
            valid_until: file.valid_until.map_err(|error| match error.is_denied() {
                true => Unread::Denied(error.to_string()),
                false => Unread::Wrong(error.into()),
            }),
        }
    });
    read.collect()
}

/// The slots.
pub(super) fn slots(context: &Context) -> Slots {
    let slots = match slots_command::find(context, Access::Read) {
        Ok(Ok(slots)) => slots,
        Ok(Err(_)) => return Slots::None,
        Err(failure) => return Slots::Unusable(failure.into()),
    };
    let all = slots.slots();
    Slots::Read {
        faults: slots.findings().iter().map(ToString::to_string).collect(),
        each: all
            .iter()
            .map(|slot| format!("{}: {}", slot.name(), slot.attributes))
            .collect(),
        next: slots.next().map(|next| all[next].name()),
    }
}

/// The hooks, and the programs of `notify`.
pub(super) fn hooks(context: &Context) -> HookFacts {
    let config = &context.config;
    let limit = config.timings.hook_timeout;
    let mut faults = Hooks::new(&config.root, limit).complaints();
    faults.extend(missing_programs(config));
    let all = available::list(&config.root);
    let enabled: Vec<&Available> = all
        .iter()
        .filter(|hook| hook.is_enabled_somewhere())
        .collect();
    for hook in &enabled {
        faults.extend(
            hook.missing
                .iter()
                .map(|why| format!("{}: {why}", hook.name)),
        );
        if !hook.is_enabled() {
            faults.push(format!(
                "{} is enabled in some of its stages only",
                hook.name
            ));
        }
    }
    let own_limits = enabled.iter().filter_map(|hook| {
        let (seconds, file) = hook.setting("TIMEOUT")?;
        let seconds = seconds.parse().ok()?;
        Some((
            hook.name.clone(),
            Duration::from_secs(seconds),
            file.to_string(),
        ))
    });
    HookFacts {
        limit,
        own_limits: own_limits.collect(),
        faults,
    }
}
