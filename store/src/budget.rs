//! How much of something that grows may stay: at most so many bytes, or so many that so much of the file system is free, but no
//! less than what is reserved. The words are those of `docker builder prune`; images and the build cache are kept to them alike.

use crate::Store;
use crate::error::{Error, Result};

/// What may stay. One that sets no limit lets nothing stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// At most this many bytes.
    pub max_used: Option<u64>,
    /// So few that this many bytes of the file system are free.
    pub min_free: Option<u64>,
    /// This many bytes in any case, whatever else is asked for.
    pub reserved: Option<u64>,
}

impl Budget {
    /// Whether it sets a limit.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.max_used.is_some() || self.min_free.is_some() || self.reserved.is_some()
    }

    /// Whether so many bytes may stay, when so many are free.
    #[must_use]
    pub fn is_kept(&self, taken: u64, free: u64) -> bool {
        let small = self.max_used.is_none_or(|most| taken <= most);
        let roomy = self.min_free.is_none_or(|least| free >= least);
        let limited = self.max_used.is_some() || self.min_free.is_some();
        limited && small && roomy || self.reserved.is_some_and(|reserved| taken <= reserved)
    }
}

/// How many bytes of the store's file system are free for whoever has no privileges there.
///
/// # Errors
/// [`Error::Io`].
pub fn free_space(store: &Store) -> Result<u64> {
    let found = rustix::fs::statvfs(store.root())
        .map_err(|error| Error::io("ask for the free space of", store.root())(error.into()))?;
    Ok(found.f_bavail * found.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_stays_and_the_rest_keeps_to_both_limits() {
        let kept =
            |max_used, min_free, reserved, taken, free| Budget { max_used, min_free, reserved }.is_kept(taken, free);
        assert!(!kept(None, None, None, 0, 100), "without a limit all goes");
        assert!(kept(Some(10), None, None, 10, 0) && !kept(Some(10), None, None, 11, 0));
        assert!(kept(None, Some(5), None, 99, 5) && !kept(None, Some(5), None, 99, 4));
        assert!(!kept(Some(10), Some(5), None, 11, 5) && !kept(Some(10), Some(5), None, 10, 4));
        assert!(kept(None, None, Some(10), 10, 0) && !kept(None, None, Some(10), 11, 100));
        assert!(kept(Some(1), Some(5), Some(10), 10, 0), "what is reserved wins");
    }
}
