//! Where the time of one command goes, when somebody asks: marks along the way from the command line to the end of the container.
//!
//! The marks lie in a page that all processes forked from here share, so that those of a monitor and of the child count too
//! (their clock is the same). Nothing is measured before [`enable`]: a mark then costs one look at a pointer. The
//! phases between marks follow one another, so their sum is the whole by construction; of two things done side by side, the mounts
//! and the network, the one that takes longer shows for what it took longer.

mod sys;

use std::time::Duration;

/// Something that was just finished, in the order of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The program `img` itself was loaded and has read its command line.
    Loaded,
    /// The image was found, and pulled if need be.
    Resolved,
    /// The container's record was written.
    Recorded,
    /// The spec was made: flags and image joined, volumes found.
    Specified,
    /// The monitor was forked, where there is one, and began.
    Monitored,
    /// The layers were mounted and joined.
    Layered,
    /// The sources of bind mounts and other namespaces were opened, the filter compiled.
    Opened,
    /// The cgroups were made and limited.
    Grouped,
    /// The first process was born in its namespaces.
    Cloned,
    /// The child has all its mounts and the new root.
    Mounted,
    /// The network was set up.
    Networked,
    /// The child is in its sandbox: user, capabilities, filter.
    Confined,
    /// The program was executed.
    Executed,
    /// The program ended.
    Ended,
    /// Network, cgroups and mount points were taken back.
    TornDown,
    /// The end was recorded, or the container removed.
    Finished,
}

/// All marks in order, with the name of the phase that each ends.
const PHASES: [(Mark, &str); 16] = [
    (Mark::Loaded, "load img"),
    (Mark::Resolved, "resolve"),
    (Mark::Recorded, "record"),
    (Mark::Specified, "specify"),
    (Mark::Monitored, "monitor"),
    (Mark::Layered, "layers"),
    (Mark::Opened, "open"),
    (Mark::Grouped, "cgroup"),
    (Mark::Cloned, "clone"),
    (Mark::Mounted, "mounts"),
    (Mark::Networked, "network"),
    (Mark::Confined, "sandbox"),
    (Mark::Executed, "exec"),
    (Mark::Ended, "program"),
    (Mark::TornDown, "tear-down"),
    (Mark::Finished, "finish"),
];

/// A part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// Begins to measure; the time that this process has already spent computing counts.
///
/// # Errors
/// No memory.
pub fn enable() -> std::io::Result<()> {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    sys::share(Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.unsigned_abs() as u32))
}

/// Notes that something was finished, the first time.
pub fn mark(mark: Mark) {
    sys::set(mark as usize);
}

/// The phases that had a mark, in order; empty if nothing is measured.
pub fn phases() -> Vec<Phase> {
    let Some((begin, marks)) = sys::read() else { return Vec::new() };
    between(begin, &marks)
}

fn between(begin: u64, marks: &[u64; sys::SLOTS]) -> Vec<Phase> {
    let mut last = begin;
    let mut found = Vec::new();
    for (mark, name) in PHASES {
        let at = marks[mark as usize];
        if at != 0 {
            found.push(Phase { name, took: Duration::from_nanos(at.saturating_sub(last)) });
            last = last.max(at);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_sum_to_the_whole_whatever_overlaps() {
        let mut marks = [0; sys::SLOTS];
        for (mark, at) in
            [(Mark::Loaded, 110), (Mark::Cloned, 200), (Mark::Mounted, 350), (Mark::Networked, 300), (Mark::Ended, 900)]
        {
            marks[mark as usize] = at;
        }
        let phases = between(100, &marks);
        let names: Vec<_> = phases.iter().map(|phase| (phase.name, phase.took.as_nanos())).collect();
        assert_eq!(names, [("load img", 10), ("clone", 90), ("mounts", 150), ("network", 0), ("program", 550)]);
        assert_eq!(phases.iter().map(|phase| phase.took.as_nanos()).sum::<u128>(), 800);
    }

    #[test]
    fn nothing_is_measured_unasked_and_forks_share() {
        assert!(phases().is_empty());
        mark(Mark::Loaded);
        assert!(phases().is_empty());
        enable().unwrap();
        mark(Mark::Loaded);
        let forked = crate::broker::in_child(|| {
            mark(Mark::Cloned);
            mark(Mark::Loaded);
            Ok(())
        });
        forked.unwrap();
        let found = phases();
        assert_eq!(found.iter().map(|phase| phase.name).collect::<Vec<_>>(), ["load img", "clone"]);
        assert!(found[0].took > Duration::ZERO);
    }
}
