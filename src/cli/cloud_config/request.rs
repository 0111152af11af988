//! What is to be applied, from any source, and applying it.

use std::time::Duration;

use cloud_config::{
    Addresses, Diagnostic, Level, Mode, PartContent, Unknown,
    apply::{Machine, Outline, Stage},
    plan::{self, Planned, Platform, Step},
    sources::Fetched,
};
use host::node::{self, Root};

use super::{AddressArgs, counted};
use crate::cli::{Exit, Failure, output, progress::Progress};

/// How long an apply at boot waits for another one, such as of another unit.
pub(in crate::cli) const BOOT_PATIENCE: Duration = Duration::from_secs(60);

/// How many warnings are printed; `validate` prints all.
const MOST_WARNINGS: usize = 10;

/// What is to be applied, from any source.
#[derive(Debug)]
pub(in crate::cli) struct ApplyRequest {
    pub(in crate::cli) fetched: Fetched,
    /// The values of `$private_ipv4` and similar variables.
    pub(in crate::cli) addresses: Addresses,
    /// Units of networkd that hold until the next boot: names and texts.
    pub(in crate::cli) network: Vec<(String, String)>,
    /// How long to wait for files that it fetches.
    pub(in crate::cli) wait: Option<Duration>,
    /// What earlier documents wrote stays.
    pub(in crate::cli) adds: bool,
    /// How long another apply is waited for.
    pub(in crate::cli) patience: Duration,
    /// Warnings are treated as errors.
    pub(in crate::cli) strict: bool,
}

impl ApplyRequest {
    pub(super) fn new(fetched: Fetched, addresses: &AddressArgs) -> Self {
        Self {
            addresses: addresses.addresses(fetched.metadata.addresses.clone()),
            network: Vec::new(),
            wait: None,
            adds: false,
            patience: Duration::ZERO,
            strict: false,
            fetched,
        }
    }

    /// Sets how long to wait for files that it fetches.
    pub(in crate::cli) fn waiting(self, wait: Option<Duration>) -> Self {
        Self { wait, ..self }
    }

    /// Warnings are treated as errors.
    pub(super) fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Creates a request at boot, which waits for another apply, because nobody could try again.
    pub(super) fn at_boot(fetched: Fetched, addresses: &AddressArgs) -> Self {
        Self {
            patience: BOOT_PATIENCE,
            ..Self::new(fetched, addresses)
        }
    }

    /// Applies the document.
    ///
    /// # Errors
    /// When it has errors, which are printed, or a step fails, in which case everything is undone.
    pub(in crate::cli) async fn carry_out(self, root: &Root) -> Result<Outline, Failure> {
        let machine = Machine::open(root)?.waiting(self.wait);
        let machine = machine.adding(self.adds).patient(self.patience);
        let mut machine = machine.of_document(&self.fetched.user_data);
        machine.lock().await?;
        let name = self.fetched.origin.clone();
        let steps = self.steps(root, &machine)?;
        let progress = Progress::of_what_may_end_soon();
        let mut machine = machine.followed_by(move |stage| match stage {
            Stage::Fetching => progress.doing("fetching files"),
            Stage::Changing { what, done, of } => progress.steps(&what, done, of),
        });
        Ok(machine.apply(&steps, &name).await?)
    }

    /// Plans the steps for this machine.
    pub(super) fn steps(self, root: &Root, machine: &Machine) -> Result<Vec<Step>, Failure> {
        let Self {
            fetched,
            addresses,
            network,
            adds,
            strict,
            ..
        } = self;
        // Documents add up in compatibility mode only.
        let mode = match adds {
            true => Mode::Compatible,
            false => Mode::Own,
        };
        let name = fetched.origin;
        let failed = |text: String| Failure::new(Exit::Failed, text);
        let parts = cloud_config::parts(fetched.user_data)
            .map_err(|error| failed(format!("{name}: {error}")))?;
        let mut planned = vec![Planned::Platform(Platform {
            hostname: fetched.metadata.hostname,
            keys: fetched.metadata.ssh_keys,
            network,
        })];
        let (mut wrong, mut warnings) = (0, Vec::new());
        for part in parts {
            let shown = match &part.name {
                Some(part) => format!("{name} ({part})"),
                None => name.clone(),
            };
            warnings.extend(part.skipped().map(|warning| warning.line(&shown)));
            let text = match part.content {
                PartContent::Script(script) => {
                    planned.push(Planned::Script(script));
                    continue;
                }
                PartContent::Skipped(_) => continue,
                PartContent::CloudConfig(text) => text,
            };
            let mut reading = cloud_config::read(&text, &addresses, Unknown::Error, mode);
            for diagnostic in &mut reading.diagnostics {
                diagnostic.line += part.lines_before;
            }
            let of = |level| {
                reading
                    .diagnostics
                    .iter()
                    .filter(move |one| one.level == level)
            };
            let errors: Vec<Diagnostic> = of(Level::Error).cloned().collect();
            wrong += errors.len();
            output::note_text(&cloud_config::print(
                &errors,
                &shown,
                &text,
                part.lines_before,
            ));
            warnings.extend(of(Level::Warning).map(|warning| warning.line(&shown)));
            planned.push(Planned::Document(Box::new(reading.document)));
        }
        // Warnings are printed as one line each: `validate` shows the text.
        for warning in warnings.iter().take(MOST_WARNINGS) {
            output::note(warning);
        }
        if let Some(more) = warnings.len().checked_sub(MOST_WARNINGS).filter(|n| *n > 0) {
            output::note(format!(
                "{name}: {} more; `pointsman cloud-config validate` shows all",
                counted(more, "warning")
            ));
        }
        if wrong > 0 {
            return Err(failed(format!(
                "{name}: {}; nothing is done",
                counted(wrong, "error")
            )));
        }
        if strict && !warnings.is_empty() {
            return Err(failed(format!(
                "{name}: {}, which are errors with --strict; nothing is done",
                counted(warnings.len(), "warning")
            )));
        }
        let hostname = node::hostname(root);
        let known = plan::Machine {
            addresses: &addresses,
            hostname: &hostname,
            text: &|path| machine.text(path),
        };
        plan::plan(planned, &known).map_err(|error| failed(format!("{name}: {error}")))
    }
}
