//! Errors that are kept as values.

use std::{error::Error, fmt, ops::Deref, sync::Arc};

/// An error that is kept whole until somebody shows it, also where it cannot be cloned or compared itself: clones share it, and
/// it equals one that says the same.
#[derive(Debug)]
pub struct Kept<E>(Arc<E>);

impl<E> Clone for Kept<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> From<E> for Kept<E> {
    fn from(error: E) -> Self {
        Self(Arc::new(error))
    }
}

impl<E> Deref for Kept<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.0
    }
}

impl<E: fmt::Display> PartialEq for Kept<E> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.to_string() == other.0.to_string()
    }
}

impl<E: fmt::Display> Eq for Kept<E> {}

impl<E: fmt::Display> fmt::Display for Kept<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: Error> Error for Kept<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn kept_errors_are_equal_when_they_say_the_same() {
        let kept = |text: &str| Kept::from(io::Error::other(text.to_owned()));
        let full = kept("no space left");
        assert_eq!(full, full.clone());
        assert_eq!(full, kept("no space left"));
        assert_ne!(full, kept("read-only file system"));
        assert_eq!(full.to_string(), "no space left");
        assert_eq!(full.kind(), io::ErrorKind::Other);
    }
}
