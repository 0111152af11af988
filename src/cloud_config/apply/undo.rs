//! Taking back what an apply has done, from its record.

use super::{
    Machine,
    error::ApplyError,
    record::{Journal, Record, Will, beside},
    tree::{Entry, Place},
};

/// What somebody has changed since an apply put it there.
///
/// # Errors
/// When a place cannot be looked at.
pub(super) fn changed(machine: &Machine, record: &Record) -> Result<Vec<String>, ApplyError> {
    let mut changed = Vec::new();
    for will in &record.will {
        let Will::Put {
            place,
            before,
            after,
            ..
        } = will;
        let now = look(machine, place)?;
        if now != *after && now != *before && *after != Entry::Folder {
            changed.push(format!(
                "{} has been changed since it was applied",
                place.path
            ));
        }
    }
    Ok(changed)
}

fn look(machine: &Machine, place: &Place) -> Result<Entry, ApplyError> {
    machine
        .tree
        .look(place)
        .map_err(|error| ApplyError::step(&place.path, error))
}

/// Takes back, the last thing first, as much as can be; what could not be. With `force` also what somebody has changed.
pub(super) fn undo(
    machine: &Machine,
    journal: &Journal,
    will: &[Will],
    force: bool,
) -> Vec<String> {
    let mut left = Vec::new();
    for will in will.iter().rev() {
        let Will::Put {
            n,
            place,
            before,
            after,
        } = will;
        let name = beside(journal.number, *n);
        machine.tree.sweep(place, &name);
        let now = match machine.tree.look(place) {
            Ok(now) => now,
            Err(error) => {
                left.push(format!("{}: {error}", place.path));
                continue;
            }
        };
        if now == *before {
            continue;
        }
        if now != *after && !force {
            left.push(format!(
                "{} has been changed meanwhile and stays",
                place.path
            ));
            continue;
        }
        let undone = match (before, after) {
            (Entry::Absent, Entry::Folder) => match machine.tree.remove(place) {
                // Somebody uses it.
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
                other => other,
            },
            (Entry::Absent, _) => machine.tree.remove(place),
            (Entry::Folder, _) => {
                let own = nix::unistd::geteuid().as_raw();
                machine.tree.make_folder(place, (own, 0), 0o755)
            }
            (before, _) => journal.put_back(&machine.tree, place, before, *n),
        };
        if let Err(error) = undone {
            left.push(format!("{}: {error}", place.path));
        }
    }
    left
}
