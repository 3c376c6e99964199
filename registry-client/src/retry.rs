//! When to try again, and how long to wait before.
//!
//! A request is tried again only where that is harmless and likely to help: broken or silent connections, 408, 429 and
//! server faults. The wait doubles and is spread by chance; a `Retry-After` counts instead, up to a bound above which
//! the request fails at once and says how long the server wants to be left alone.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The longest wait of our own choosing.
const LONGEST: Duration = Duration::from_secs(10);

/// What a failed try means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Trying again would fail in the same way.
    GiveUp,
    /// Try again after the usual wait.
    Again,
    /// Try again after the wait that the server asked for.
    After(Duration),
}

/// What `status` means, with the wait that a Retry-After header asks for and the longest one allowed.
pub(crate) fn verdict(status: u16, retry_after: Option<Duration>, longest: Duration) -> Verdict {
    match (status, retry_after) {
        (429 | 503, Some(wait)) if wait > longest => Verdict::GiveUp,
        (429 | 503, Some(wait)) => Verdict::After(wait),
        (408 | 429 | 500 | 502 | 503 | 504, _) => Verdict::Again,
        _ => Verdict::GiveUp,
    }
}

/// The wait before try number `next` (the first try is 1), for the base delay `base`: between half and all of
/// `base * 2^(next - 2)`.
pub(crate) fn delay(base: Duration, next: u32) -> Duration {
    let whole = base.saturating_mul(1 << next.saturating_sub(2).min(16)).min(LONGEST);
    // A hasher with a random key is all the chance that is needed here.
    let chance = RandomState::new().build_hasher().finish() % 1000;
    whole / 2 + whole.mul_f64(chance as f64 / 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again() {
        let second = Duration::from_secs(1);
        assert_eq!(verdict(500, None, second), Verdict::Again);
        assert_eq!(verdict(429, None, second), Verdict::Again);
        assert_eq!(verdict(429, Some(second), second), Verdict::After(second));
        assert_eq!(verdict(429, Some(Duration::from_secs(86_400)), second), Verdict::GiveUp);
        for status in [400, 401, 403, 404, 416, 501] {
            assert_eq!(verdict(status, None, second), Verdict::GiveUp);
        }
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        let base = Duration::from_millis(100);
        for (next, most) in [(2, 100), (3, 200), (4, 400), (60, 10_000)] {
            let wait = delay(base, next).as_millis();
            assert!((most / 2..=most).contains(&wait), "{next}: {wait}");
        }
    }
}
