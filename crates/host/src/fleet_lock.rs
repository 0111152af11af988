//! The ids by which nodes are known in FleetLock, the HTTP protocol of Fedora CoreOS' update agent. Pure.

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// The application by which Zincati, Fedora CoreOS' update agent, derives its id from the machine id
/// (sd_id128_get_app_specific(3)).
const ZINCATI: u128 = 0xde35_106b_6ec2_4688_b63a_fdda_a156_679b;

/// The id by which Zincati names the machine with this machine id: 32 hex digits that do not tell the machine id. None where
/// that is no machine id.
#[must_use]
pub fn client_id(machine_id: &str) -> Option<String> {
    if !crate::node::is_machine_id(machine_id) {
        return None;
    }
    let key = u128::from_str_radix(machine_id, 16).ok()?;
    let mut hmac = Hmac::<Sha256>::new_from_slice(&key.to_be_bytes()).ok()?;
    hmac.update(&ZINCATI.to_be_bytes());
    let mut bytes: [u8; 16] = hmac.finalize().into_bytes()[..16].try_into().ok()?;
    // The bits of a version 4 UUID, as systemd sets them.
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Some(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// What stands in a key for a text that cannot stand there: 64 hex digits of its SHA-256.
#[must_use]
pub fn hashed(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_derived_as_zincati_does() {
        assert_eq!(
            client_id("1c09ca98649c4c7abc779cd04c96812e").as_deref(),
            Some("978a225b3d7b40e9acd7ce9b62f68444")
        );
        for none in ["", "1c09", "1C09CA98649C4C7ABC779CD04C96812E"] {
            assert_eq!(client_id(none), None, "{none}");
        }
    }

    #[test]
    fn a_text_is_hashed_by_sha_256() {
        assert_eq!(
            hashed(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
