//! The columns that a table of processes can have: those of ps by ps's names, and podman's.

use std::collections::HashMap;
use std::fs;

use runner::security::capabilities::{self, Capability};

use crate::engine::processes::{Process, machine_memory};
use crate::error::{CommandError, Result};

/// Names of users and groups.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub users: HashMap<u32, String>,
    pub groups: HashMap<u32, String>,
    /// The users of the host, when the others are the container's.
    pub host_users: HashMap<u32, String>,
}

/// What a column shows of a process.
pub(super) type Show = fn(&Process, &Names) -> String;

/// A column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub heading: String,
    pub value: Show,
}

/// Names in `ps -o`, heading, value; the first name of a line is listed in messages.
const COLUMNS: &[(&[&str], &str, Show)] = &[
    (&["pid", "tgid"], "PID", |process, _| process.pid.to_string()),
    (&["ppid"], "PPID", |process, _| process.parent.to_string()),
    (&["pgid", "pgrp"], "PGID", |process, _| process.group.to_string()),
    (&["sid", "sess", "session"], "SID", |process, _| process.session.to_string()),
    (&["user", "euser", "uname"], "USER", |process, names| names.user(process.user(1))),
    (&["ruser"], "RUSER", |process, names| names.user(process.user(0))),
    // ps -f shows the name of the user under UID, and so does docker.
    (&["uid", "euid"], "UID", |process, names| names.user(process.user(1))),
    (&["ruid"], "RUID", |process, _| process.user(0).to_string()),
    (&["group", "egroup"], "GROUP", |process, names| names.group(process.group_id(1))),
    (&["rgroup"], "RGROUP", |process, names| names.group(process.group_id(0))),
    (&["gid", "egid"], "GID", |process, _| process.group_id(1).to_string()),
    (&["comm", "ucomm"], "COMMAND", |process, _| process.name.clone()),
    (&["ucmd"], "CMD", |process, _| process.name.clone()),
    (&["args", "command"], "COMMAND", |process, _| process.command.clone()),
    (&["cmd"], "CMD", |process, _| process.command.clone()),
    (&["etime"], "ELAPSED", |process, _| span(process.elapsed(), false)),
    (&["etimes"], "ELAPSED", |process, _| process.elapsed().to_string()),
    (&["time", "cputime"], "TIME", |process, _| span(process.cpu_seconds(), true)),
    (&["stime"], "STIME", |process, _| clock(process)),
    (&["start", "start_time", "bsdstart"], "START", |process, _| clock(process)),
    (&["lstart"], "STARTED", |process, _| {
        process.start_time().to_zoned(jiff::tz::TimeZone::system()).strftime("%a %b %e %H:%M:%S %Y").to_string()
    }),
    (&["tty", "tt", "tname"], "TTY", |process, _| process.terminal_name()),
    (&["c"], "C", |process, _| format!("{:.0}", process.cpu_share().min(99.0))),
    (&["%cpu", "pcpu"], "%CPU", |process, _| format!("{:.1}", process.cpu_share())),
    (&["%mem", "pmem"], "%MEM", |process, _| {
        format!("{:.1}", process.resident as f64 * 100.0 / machine_memory().max(1) as f64)
    }),
    (&["vsz", "vsize"], "VSZ", |process, _| (process.virtual_size / 1024).to_string()),
    (&["rss", "rssize"], "RSS", |process, _| (process.resident / 1024).to_string()),
    (&["sz"], "SZ", |process, _| (process.virtual_size / 4096).to_string()),
    (&["stat"], "STAT", |process, _| long_state(process)),
    (&["s", "state"], "S", |process, _| process.state.to_string()),
    (&["ni", "nice"], "NI", |process, _| process.nice.to_string()),
    (&["pri"], "PRI", |process, _| (39 - process.priority).to_string()),
    (&["nlwp", "thcount"], "NLWP", |process, _| process.threads.to_string()),
    (&["psr"], "PSR", |process, _| field_of_stat(process, 36)),
    (&["wchan"], "WCHAN", |process, _| wait_channel(process)),
    (&["cgroup"], "CGROUP", |process, _| process.cgroup.clone()),
    (&["label"], "LABEL", |process, _| label(process)),
];

/// Podman's names; the first are its own, the others its words for columns above.
const PODMAN: &[(&str, &str, Show)] = &[
    ("pid", "PID", |process, _| process.pids.last().unwrap_or(&process.pid).to_string()),
    ("ppid", "PPID", |process, _| {
        let parent = Process::read(process.parent).filter(|parent| parent.pids.len() == process.pids.len());
        parent.and_then(|parent| parent.pids.last().copied()).unwrap_or(0).to_string()
    }),
    ("hpid", "HPID", |process, _| process.pid.to_string()),
    ("user", "USER", |process, names| names.user(inside(process, "uid_map", process.user(1)))),
    ("uid", "UID", |process, _| inside(process, "uid_map", process.user(1)).to_string()),
    ("group", "GROUP", |process, names| names.group(inside(process, "gid_map", process.group_id(1)))),
    ("gid", "GID", |process, _| inside(process, "gid_map", process.group_id(1)).to_string()),
    ("huser", "HUSER", |process, names| names.host_user(process.user(1))),
    ("hgroup", "HGROUP", |process, _| process.group_id(1).to_string()),
    ("groups", "GROUPS", |process, names| {
        let groups = process.status.get("Groups").map(String::as_str).unwrap_or_default().split_whitespace();
        groups
            .filter_map(|id| id.parse().ok())
            .map(|id| names.group(inside(process, "gid_map", id)))
            .collect::<Vec<_>>()
            .join(",")
    }),
    ("comm", "COMMAND", |process, _| process.name.clone()),
    ("args", "COMMAND", |process, _| process.command.clone()),
    ("capinh", "INHERITED CAPS", |process, _| capability_names(process, "CapInh")),
    ("capprm", "PERMITTED CAPS", |process, _| capability_names(process, "CapPrm")),
    ("capeff", "EFFECTIVE CAPS", |process, _| capability_names(process, "CapEff")),
    ("capbnd", "BOUNDING CAPS", |process, _| capability_names(process, "CapBnd")),
    ("capamb", "AMBIENT CAPS", |process, _| capability_names(process, "CapAmb")),
    ("seccomp", "SECCOMP", |process, _| {
        match process.status.get("Seccomp").map(String::as_str) {
            Some("0") => "disabled",
            Some("1") => "strict",
            Some("2") => "filter",
            _ => "?",
        }
        .to_owned()
    }),
    ("label", "LABEL", |process, _| label(process)),
    ("pcpu", "%CPU", |process, _| format!("{:.3}", process.cpu_share())),
    ("elapsed", "ELAPSED", |process, _| go_duration(process.elapsed())),
    ("etime", "ELAPSED", |process, _| go_duration(process.elapsed())),
    ("time", "TIME", |process, _| go_duration(process.cpu_seconds())),
    ("tty", "TTY", |process, _| process.terminal_name()),
    ("state", "STATE", |process, _| process.state.to_string()),
    ("stime", "STIME", |process, _| clock(process)),
    ("nice", "NI", |process, _| process.nice.to_string()),
    ("pgid", "PGID", |process, _| process.group.to_string()),
    ("rss", "RSS", |process, _| (process.resident / 1024).to_string()),
    ("vsz", "VSZ", |process, _| (process.virtual_size / 1024).to_string()),
];

/// The column of ps of that name.
pub(super) fn column(name: &str) -> Result<Column> {
    let found = COLUMNS.iter().find(|(names, ..)| names.contains(&name.to_ascii_lowercase().as_str()));
    let (_, heading, value) = found.ok_or_else(|| {
        let names: Vec<&str> = COLUMNS.iter().map(|(names, ..)| names[0]).collect();
        CommandError::usage(format!("there is no column {name:?}")).hint(format!("there are: {}", names.join(", ")))
    })?;
    Ok(Column { heading: (*heading).to_owned(), value: *value })
}

/// Podman's column of that name.
pub(super) fn podman_column(name: &str) -> Option<Column> {
    let (_, heading, value) = PODMAN.iter().find(|(known, ..)| *known == name)?;
    Some(Column { heading: (*heading).to_owned(), value: *value })
}

/// `[DAYS-]HH:MM:SS`; without hours where they may be left out.
fn span(seconds: u64, hours: bool) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let text = format!("{:02}:{:02}", rest % 3600 / 60, rest % 60);
    match (days, rest / 3600) {
        (0, 0) if !hours => text,
        (0, hours) => format!("{hours:02}:{text}"),
        (days, hours) => format!("{days}-{hours:02}:{text}"),
    }
}

/// `1h2m3s`, as Go prints a duration.
fn go_duration(seconds: u64) -> String {
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// When it was started: the time today, else the day.
fn clock(process: &Process) -> String {
    let form = if process.elapsed() < 86_400 { "%H:%M" } else { "%b%d" };
    process.start_time().to_zoned(jiff::tz::TimeZone::system()).strftime(form).to_string()
}

fn long_state(process: &Process) -> String {
    let mut text = process.state.to_string();
    if process.nice != 0 {
        text.push(if process.nice < 0 { '<' } else { 'N' });
    }
    if process.session == process.pid {
        text.push('s');
    }
    if process.threads > 1 {
        text.push('l');
    }
    let foreground = field_of_stat(process, 5);
    if foreground == process.group.to_string() && process.terminal != 0 {
        text.push('+');
    }
    text
}

/// A field of /proc/PID/stat, counted from the one after the name.
fn field_of_stat(process: &Process, at: usize) -> String {
    let text = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    let field = text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(at));
    field.unwrap_or("-").to_owned()
}

fn wait_channel(process: &Process) -> String {
    match fs::read_to_string(format!("/proc/{}/wchan", process.pid)) {
        Ok(text) if !text.is_empty() && text != "0" => text,
        _ => "-".to_owned(),
    }
}

fn label(process: &Process) -> String {
    let text = fs::read_to_string(format!("/proc/{}/attr/current", process.pid)).unwrap_or_default();
    let text = text.trim_end_matches(['\0', '\n']);
    if text.is_empty() { "?".to_owned() } else { text.to_owned() }
}

/// An id of the host as the process's own user namespace has it.
fn inside(process: &Process, map: &str, id: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{}/{map}", process.pid)).unwrap_or_default();
    let mapped = text.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
        let (first, host, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let offset = id.checked_sub(host)?;
        (offset < count).then(|| first + offset)
    });
    mapped.unwrap_or(65_534)
}

/// The capabilities of a set by name, as podman prints them.
fn capability_names(process: &Process, set: &str) -> String {
    let bits = process.status.get(set).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    let has = |capability: &&Capability| bits & (1 << capabilities::number(**capability)) != 0;
    let names: Vec<&str> =
        capabilities::ALL.iter().filter(has).map(|&capability| capabilities::name(capability)).collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count == capabilities::ALL.len() => "full".to_owned(),
        _ => names.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_ps_writes_them() {
        assert_eq!((span(5, true), span(65, false)), ("00:00:05".into(), "01:05".into()));
        assert_eq!(span(90_061, true), "1-01:01:01");
        assert_eq!((go_duration(3661), go_duration(59)), ("1h1m1s".into(), "59s".into()));
    }

    #[test]
    fn every_column_shows_something_of_us() {
        let own = Process::read(std::process::id() as i32).unwrap();
        for (names, ..) in COLUMNS {
            assert!(!(column(names[0]).unwrap().value)(&own, &Names::default()).is_empty(), "{names:?}");
        }
        for (name, ..) in PODMAN.iter().filter(|(name, ..)| *name != "groups") {
            assert!(!(podman_column(name).unwrap().value)(&own, &Names::default()).is_empty(), "{name}");
        }
    }
}
