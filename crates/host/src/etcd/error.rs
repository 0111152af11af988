/// Why something could not be asked of etcd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No endpoint served the request within its deadline. Whether a change took effect is unknown.
    #[error("{doing}: no etcd endpoint answered{}", list(reasons))]
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// Each endpoint that was tried, and why it did not serve.
        reasons: Vec<(String, String)>,
    },
    /// etcd answered that it will not.
    #[error("{doing}: etcd refuses: {message}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// etcd's words.
        message: String,
    },
}

fn list(reasons: &[(String, String)]) -> String {
    if reasons.is_empty() {
        return ": none is configured".into();
    }
    reasons
        .iter()
        .map(|(endpoint, reason)| format!("\n  {endpoint}: {reason}"))
        .collect()
}
