//! Whether and when a program that has ended is started again. Pure.
//!
//! The waits double from 100 ms to a minute and begin anew after a run of ten seconds, as Docker has it. A program that was asked to
//! stop is never started again, whatever the policy. The policy is that of the moment: it may have been changed meanwhile.

use std::time::Duration;

use crate::spec::parse::RestartPolicy;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);

/// A run of this length makes the waits short again.
const LONG_RUN: Duration = Duration::from_secs(10);

/// How one run of a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its exit code was not 0.
    pub failed: bool,
    /// It was asked to stop.
    pub requested: bool,
    /// How long it ran.
    pub length: Duration,
}

/// Decides after each run.
#[derive(Debug, Default)]
pub struct Restarter {
    wait: Option<Duration>,
}

impl Restarter {
    /// How long to wait before the next run, which would be the `restarts + 1`st restart; `None`: that was all.
    pub fn after(&mut self, policy: RestartPolicy, run: &Run, restarts: u32) -> Option<Duration> {
        let again = !run.requested
            && match policy {
                RestartPolicy::No => false,
                RestartPolicy::OnFailure(most) => run.failed && most.is_none_or(|most| restarts < most),
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            };
        again.then(|| self.next_wait(run.length))
    }

    /// As [`Restarter::after`], for a run that ended in order to begin anew, whatever the policy: at once after a long run, else as
    /// long as after any other, or a system that restarts as it boots would never stop doing so.
    pub fn anew(&mut self, run: &Run) -> Option<Duration> {
        let wait = self.next_wait(run.length);
        (!run.requested).then_some(if run.length < LONG_RUN { wait } else { Duration::ZERO })
    }

    fn next_wait(&mut self, length: Duration) -> Duration {
        let wait = match self.wait {
            Some(wait) if length < LONG_RUN => (wait * 2).min(LONGEST),
            _ => FIRST,
        };
        self.wait = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Run = Run { failed: true, requested: false, length: Duration::from_secs(1) };

    #[test]
    fn policies() {
        let after = |policy, run: Run, restarts| Restarter::default().after(policy, &run, restarts).is_some();
        let good = Run { failed: false, ..FAILED };
        let stopped = Run { requested: true, ..FAILED };
        assert!(!after(RestartPolicy::No, FAILED, 0));
        assert!(after(RestartPolicy::OnFailure(None), FAILED, 1000));
        assert!(!after(RestartPolicy::OnFailure(None), good, 0));
        assert!(after(RestartPolicy::OnFailure(Some(3)), FAILED, 2));
        assert!(!after(RestartPolicy::OnFailure(Some(3)), FAILED, 3));
        for policy in [RestartPolicy::Always, RestartPolicy::UnlessStopped] {
            assert!(after(policy, good, 7) && after(policy, FAILED, 7) && !after(policy, stopped, 0));
        }
    }

    #[test]
    fn waits_double_and_begin_anew() {
        let mut restarter = Restarter::default();
        let mut after = |run: &Run| restarter.after(RestartPolicy::Always, run, 0);
        let waits: Vec<u128> = (0..12).map(|_| after(&FAILED).unwrap().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        let long = Run { length: Duration::from_secs(10), ..FAILED };
        assert_eq!(after(&long), Some(FIRST));
        assert_eq!(after(&FAILED), Some(FIRST * 2));
    }

    #[test]
    fn beginning_anew_is_free_after_a_long_run_only() {
        let mut restarter = Restarter::default();
        let waits: Vec<u128> = (0..3).map(|_| restarter.anew(&FAILED).unwrap().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400]);
        let long = Run { length: LONG_RUN, ..FAILED };
        assert_eq!(restarter.anew(&long), Some(Duration::ZERO));
        assert_eq!(restarter.anew(&FAILED), Some(FIRST * 2));
        assert_eq!(restarter.anew(&Run { requested: true, ..FAILED }), None);
    }
}
