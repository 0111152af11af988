//! The hooks of a node that a person takes out by hand: `lock --drain` and its `unlock`.

use host::{
    hooks::{For, HookError, Hooks},
    node,
};
use semaphore::records::Holder;

use super::{Context, output};
use crate::agent::effects;

fn hooks(context: &Context) -> Hooks {
    let config = &context.config;
    let hooks = Hooks::new(&config.root, config.timings.hook_timeout);
    hooks.run_for(For::Lock).telling(output::note)
}

/// What the hooks are told; no image is left or gone to.
fn variables(context: &Context, holder: &Holder, phase: &str) -> Vec<(String, String)> {
    let root = &context.config.root;
    let reason = holder.reason.clone().unwrap_or_default();
    let values = [
        ("NODE", holder.id.as_str()),
        ("HOSTNAME", &node::hostname(root)),
        ("GROUP", context.config.group.as_str()),
        ("FROM", ""),
        ("TO", ""),
        ("PHASE", phase),
        ("REASON", &reason),
    ];
    effects::variables(&context.config, values)
}

/// Whether the drain could be done at all, before anything is taken for it.
///
/// # Errors
/// When a hook cannot be run.
pub(super) fn possible(context: &Context) -> Result<(), HookError> {
    hooks(context).check("pre-reboot.d")
}

/// Runs the drain hooks.
///
/// # Errors
/// The first that fails.
pub(super) async fn drain(context: &Context, holder: &Holder) -> Result<(), HookError> {
    let variables = variables(context, holder, "draining");
    hooks(context).run("pre-reboot.d", &variables).await
}

/// Runs the hooks that undo a drain, all of them, and says which have failed; whether none has.
pub(super) async fn undo(context: &Context, holder: &Holder, phase: &str) -> bool {
    let variables = variables(context, holder, phase);
    let failed = hooks(context).run_all("post-boot.d", &variables).await;
    for error in &failed {
        output::note(format!("warning: {error}"));
    }
    failed.is_empty()
}
