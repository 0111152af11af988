//! Removing a home that nobody has used.

use std::io;

use super::{
    super::entry::{TreeEntry, TreePath},
    Tree,
};

impl Tree {
    /// Removes a home if it holds only what /etc/skel has. Returns whether it was removed.
    ///
    /// # Errors
    /// When it cannot be read or removed.
    pub(in crate::apply) fn remove_skeleton(&self, home: &str) -> io::Result<bool> {
        let at = |path: String| TreePath {
            path,
            home: Some(home.to_owned()),
        };
        let mut found = vec![String::new()];
        let mut next = 0;
        // A folder comes before its content.
        while let Some(folder) = found.get(next).cloned() {
            next += 1;
            let inside = at(format!("{home}{folder}/x")).split().0;
            if !folder.is_empty() && self.look(&at(format!("{home}{folder}")))? != TreeEntry::Folder
            {
                continue;
            }
            for name in self.names_at(&inside)? {
                let below = format!("{folder}/{name}");
                let here = self.look(&at(format!("{home}{below}")))?;
                let skeleton = self.look(&TreePath::from(format!("/etc/skel{below}").as_str()))?;
                let alike = match (&here, &skeleton) {
                    (TreeEntry::File(here), TreeEntry::File(there)) => here.sha256 == there.sha256,
                    (here, there) => here == there,
                };
                let alike =
                    alike || self.holds_no_keys(&at(format!("{home}{below}")), &below, &here)?;
                if !alike {
                    return Ok(false);
                }
                found.push(below);
            }
        }
        for below in found.into_iter().skip(1).rev() {
            self.remove(&at(format!("{home}{below}")))?;
        }
        self.remove(&TreePath::from(home))?;
        Ok(true)
    }

    /// Tells whether this, in a home, is left over from keys that were removed.
    fn holds_no_keys(&self, place: &TreePath, below: &str, here: &TreeEntry) -> io::Result<bool> {
        Ok(match (below, here) {
            ("/.ssh" | "/.ssh/authorized_keys.d", TreeEntry::Folder) => true,
            ("/.ssh/authorized_keys", TreeEntry::File(_)) => {
                let bytes = self.read_at(place, 1 << 16)?.unwrap_or_default();
                let mut lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
                lines.all(|line| line.is_empty() || line.starts_with(b"#"))
            }
            _ => false,
        })
    }
}
