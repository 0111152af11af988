//! A drive of OpenStack, mounted: `openstack/latest/` with `user_data` and `meta_data.json`.

use std::path::Path;

use super::{Absent, Found, Hope, Metadata, file, openstack};

/// Reads the drive. Either file may be missing, but not both: then nothing is mounted there yet.
pub(super) fn read(folder: &Path) -> Result<Found, Absent> {
    let latest = folder.join("openstack/latest");
    let user_data = file::read_if_there(&latest.join("user_data"))?;
    let path = latest.join("meta_data.json");
    let said = file::read_if_there(&path)?;
    if user_data.is_none() && said.is_none() {
        let reason = format!(
            "{}: found neither user_data nor meta_data.json, expected a config drive mounted at {}",
            latest.display(),
            folder.display()
        );
        return Err(Absent::none_here(Hope::Later, reason));
    }
    let mut metadata = Metadata::default();
    if let Some(said) = said {
        let name = path.display().to_string();
        let (known, content) = openstack::meta_data(&said, &name).map_err(Absent::here)?;
        metadata = known;
        if let Some(content) = content {
            if !openstack::stays_below(&content) {
                let reason = format!("{name}: content_path {content:?} leads out of the drive");
                return Err(Absent::never(reason).here());
            }
            let path = folder
                .join("openstack")
                .join(content.trim_start_matches('/'));
            metadata.network = file::read_if_there(&path)?;
        }
    }
    Ok(Found {
        user_data: user_data.unwrap_or_default(),
        metadata,
    })
}
