//! A clock that was wrong: files and downloads dated far ahead or far back change nothing but ages.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::support::Sandbox;

/// Dates everything below a directory; mounts are of other devices and left alone.
fn date(at: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let is_directory = at.symlink_metadata().unwrap().is_dir();
    for entry in if is_directory { std::fs::read_dir(at).unwrap().collect() } else { Vec::new() } {
        date(&entry.unwrap().path(), seconds);
    }
}

#[test]
fn what_is_dated_wrongly_is_whole_and_usable() {
    let sandbox = Sandbox::new();
    sandbox.build("context", "made", "FROM busybox\nRUN --mount=type=cache,target=/c echo > /c/f; echo > /f\n").ok();
    sandbox.ok(&["run", "--name", "old", "--network", "none", "made", "sh", "-c", "echo said; echo > /written"]);
    sandbox.ok(&["volume", "create", "data"]);
    // 1970, 2050, and the last second that a 32-bit counter has.
    for seconds in [1, 2_524_608_000, 2_147_483_647] {
        date(&sandbox.root(), seconds);
        sandbox.ok(&["ps", "-a"]);
        sandbox.ok(&["images"]);
        sandbox.img(&["system", "check"]).ok();
        sandbox.img(&["logs", "old"]).ok().prints(&["said"]);
        sandbox.img(&["diff", "old"]).ok().prints(&["A /written"]);
        sandbox.img(&["start", "-a", "old"]).ok();
        sandbox.img(&["system", "df"]).ok();
        // Nothing is taken because it looks old, and nothing is kept from being made.
        sandbox.img(&["system", "prune", "--force", "--filter", "until=24h"]).ok();
        sandbox
            .build("context", "made", "FROM busybox\nRUN --mount=type=cache,target=/c echo > /c/f; echo > /f\n")
            .ok();
        sandbox.img(&["run", "--rm", "--network", "none", "made", "cat", "/f"]).ok();
        sandbox.img(&["volume", "inspect", "data"]).ok();
        assert_eq!(sandbox.inspect("old")["Name"], "/old");
    }
    sandbox.assert_usable();
}

#[test]
fn a_download_from_the_future_is_old_and_one_of_today_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let ingest = sandbox.root().join("ingest");
    let (fresh, ahead, past) = (ingest.join("a".repeat(64)), ingest.join("b".repeat(64)), ingest.join("c".repeat(64)));
    for (path, seconds) in [(&fresh, None), (&ahead, Some(4_102_444_800)), (&past, Some(1))] {
        std::fs::write(path, "part").unwrap();
        if let Some(seconds) = seconds {
            date(path, seconds);
        }
    }
    sandbox.ok(&["tag", "busybox", "other"]);
    assert!(fresh.exists() && !ahead.exists() && !past.exists());
}
