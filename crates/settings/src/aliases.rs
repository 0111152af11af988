//! Keys of the configuration that were renamed. The old spelling is read as the new one, with a warning.

/// An old key, and the key that it is now.
pub const ALIASES: &[(&str, &str)] = &[("hold-points", "pin-booted-slot")];

/// What this key is called now, where it is an old one.
#[must_use]
pub fn renamed(key: &str) -> Option<&'static str> {
    let found = ALIASES.iter().find(|(old, _)| *old == key);
    found.map(|(_, new)| *new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SETTINGS;

    #[test]
    fn an_alias_leads_to_a_setting_and_is_none_itself() {
        let is_setting = |key: &str| SETTINGS.iter().any(|setting| setting.key == key);
        for (old, new) in ALIASES {
            assert!(is_setting(new) && !is_setting(old), "{old} → {new}");
            assert_eq!(renamed(old), Some(*new));
            assert_eq!(renamed(new), None);
        }
    }
}
