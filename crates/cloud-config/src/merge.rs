//! Files of `KEY=value` lines, of which only some lines are replaced.

/// Replaces the lines of these keys, and appends missing ones in the given order.
pub(crate) fn merge(before: &str, pairs: &[(String, String)]) -> String {
    let mut missing: Vec<&(String, String)> = pairs.iter().collect();
    let mut text = String::with_capacity(before.len());
    for line in before.lines() {
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        match pairs.iter().find(|(name, _)| name == key) {
            None => {
                text.push_str(line);
                text.push('\n');
            }
            // A duplicate key is written once.
            Some(pair) => {
                if let Some(at) = missing.iter().position(|one| *one == pair) {
                    missing.remove(at);
                    text.push_str(&format!("{}={}\n", pair.0, pair.1));
                }
            }
        }
    }
    for (name, value) in missing {
        text.push_str(&format!("{name}={value}\n"));
    }
    text
}
