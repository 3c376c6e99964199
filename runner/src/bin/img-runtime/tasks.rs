//! Commands that start processes or read limits: create, run, exec, update.
//!
//! In the foreground a process without a terminal of the container's own gets pipes, not our descriptors: a terminal of the
//! host is never handed in.

use std::io::Read;

use oci_spec::runtime::{LinuxResources, Process};
use runner::oci::{CreateOptions, ExecOptions, Foreground, Stdio};
use serde_json::{Value, json};

use crate::commands::{Context, Result};
use crate::log::Log;

/// The largest process.json or list of limits that is read.
const MAX_INPUT: u64 = 16 << 20;
/// The most descriptors that are passed on.
const MAX_FDS: u32 = 1024;

fn create_options(context: &Context, foreground: bool) -> Result<CreateOptions> {
    Ok(CreateOptions {
        bundle: context.path("bundle").unwrap_or_else(|| ".".into()),
        console_socket: context.path("console-socket"),
        pid_file: context.path("pid-file"),
        preserve_fds: preserve_fds(context)?,
        listen_fds: listen_fds(),
        no_pivot: context.args.has("no-pivot"),
        no_new_keyring: context.args.has("no-new-keyring"),
        systemd_cgroup: context.systemd_cgroup,
        foreground,
    })
}

/// Sockets that a service manager has opened for the container: not those that were meant for another process
/// (sd_listen_fds(3)).
fn listen_fds() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let ours = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|count| ours && *count <= MAX_FDS).unwrap_or(0)
}

/// How many descriptors the caller wants to pass on.
fn preserve_fds(context: &Context) -> std::result::Result<u32, String> {
    let count = context.args.number("preserve-fds")?.unwrap_or(0);
    match count <= MAX_FDS {
        true => Ok(count),
        false => Err(format!("cannot preserve {count} descriptors: at most {MAX_FDS} are passed on")),
    }
}

/// `create`.
pub fn create(context: &Context) -> Result {
    context.runtime.create(context.id(), &create_options(context, false)?, Stdio::Inherit)?;
    Ok(0)
}

/// `run`: create, start and, in the foreground, wait and delete.
pub fn run(context: &Context, log: &Log) -> Result {
    let (runtime, id) = (&context.runtime, context.id());
    let detach = context.args.has("detach");
    let options = create_options(context, !detach)?;
    if detach {
        runtime.create(id, &options, Stdio::Inherit)?;
        return match runtime.start(id) {
            Ok(()) => Ok(0),
            Err(error) => {
                // The error is the one to tell.
                let _ = runtime.delete(id, true);
                Err(error.into())
            }
        };
    }
    if !context.args.has("no-subreaper") {
        runner::oci::inherit_orphans()?;
    }
    let foreground = Foreground::new()?;
    let code = (|| {
        let created = runtime.create(id, &options, foreground.stdio()?)?;
        let pidfd = created.pidfd;
        runtime.start(id)?;
        foreground.wait(&pidfd, created.console)
    })();
    match code {
        Ok(code) => {
            if !context.args.has("keep") {
                let failed = runtime.delete(id, false)?;
                failed.iter().for_each(|error| log.warning(&error.to_string()));
            }
            Ok(code as u8)
        }
        Err(error) => {
            if context.runtime.load(id).is_ok() && !error.to_string().contains("already exists") {
                let _ = runtime.delete(id, true);
            }
            Err(error.into())
        }
    }
}

/// `exec`.
pub fn exec(context: &Context) -> Result {
    let (runtime, id, args) = (&context.runtime, context.id(), &context.args);
    if args.get("cgroup").is_some_and(|path| !path.is_empty() && path != "/") {
        return Err("a cgroup inside of the container's cannot be chosen".into());
    }
    let detach = args.has("detach");
    let process = args.get("process").map(read_process).transpose()?;
    if process.is_none() && args.words.len() < 2 {
        return Err("process args cannot be empty".into());
    }
    let options = ExecOptions {
        process,
        args: args.words[1..].to_vec(),
        cwd: context.path("cwd"),
        env: args.all("env").to_vec(),
        user: args.get("user").map(user).transpose()?,
        additional_gids: args
            .all("additional-gids")
            .iter()
            .map(|text| text.parse().map_err(|_| format!("invalid group {text:?}")))
            .collect::<std::result::Result<_, _>>()?,
        capabilities: args.all("cap").to_vec(),
        terminal: args.has("tty"),
        apparmor: args.get("apparmor").map(str::to_owned),
        label: args.get("process-label").map(str::to_owned),
        no_new_privileges: args.has("no-new-privs"),
        ignore_paused: args.has("ignore-paused"),
        console_socket: context.path("console-socket"),
        pid_file: context.path("pid-file"),
        preserve_fds: preserve_fds(context)? + listen_fds(),
        foreground: !detach,
    };
    let process = runtime.process_of(id, &options)?;
    if detach {
        runtime.exec(id, &process, &options, Stdio::Inherit)?;
        return Ok(0);
    }
    let foreground = Foreground::new()?;
    let executed = runtime.exec(id, &process, &options, foreground.stdio()?)?;
    Ok(foreground.wait(&executed.pidfd, executed.console)? as u8)
}

fn read_process(path: &str) -> std::result::Result<Process, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("cannot understand {path}: {error}"))
}

fn user(text: &str) -> std::result::Result<(u32, Option<u32>), String> {
    let number = |part: &str| {
        let value = part.parse::<u32>().ok().filter(|value| *value != u32::MAX);
        value.ok_or_else(|| format!("invalid user {text:?}: it is UID[:GID], in numbers"))
    };
    match text.split_once(':') {
        Some((user, group)) => Ok((number(user)?, Some(number(group)?))),
        None => Ok((number(text)?, None)),
    }
}

/// `update`.
pub fn update(context: &Context) -> Result {
    let resources = match context.args.get("resources").filter(|path| !path.is_empty()) {
        Some(path) => {
            let mut text = Vec::new();
            let read = match path {
                "-" => std::io::stdin().take(MAX_INPUT).read_to_end(&mut text),
                path => std::fs::File::open(path).and_then(|file| file.take(MAX_INPUT).read_to_end(&mut text)),
            };
            read.map_err(|error| format!("cannot read the limits from {path}: {error}"))?;
            serde_json::from_slice(&text).map_err(|error| format!("cannot understand the limits: {error}"))?
        }
        None => resources(context)?,
    };
    context.runtime.update(context.id(), &resources)?;
    Ok(0)
}

/// Limits from flags.
fn resources(context: &Context) -> std::result::Result<LinuxResources, String> {
    let args = &context.args;
    let mut json = json!({});
    let flags = [
        ("memory", "memory", "limit"),
        ("memory-reservation", "memory", "reservation"),
        ("memory-swap", "memory", "swap"),
        ("cpu-period", "cpu", "period"),
        ("cpu-quota", "cpu", "quota"),
        ("cpu-burst", "cpu", "burst"),
        ("cpu-share", "cpu", "shares"),
        ("cpu-idle", "cpu", "idle"),
        ("cpu-rt-period", "cpu", "realtimePeriod"),
        ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
        ("pids-limit", "pids", "limit"),
        ("blkio-weight", "blockIO", "weight"),
    ];
    for (flag, group, field) in flags {
        let value = match (args.get(flag), group) {
            // With a unit, as runc takes it.
            (Some(text), "memory") if text != "-1" => runner::spec::parse::size("memory", text).ok().map(Value::from),
            (Some(text), _) => text.parse::<i64>().ok().map(Value::from),
            (None, _) => continue,
        };
        json[group][field] = value.ok_or_else(|| format!("invalid value for {flag}"))?;
    }
    for (flag, field) in [("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")] {
        if let Some(text) = args.get(flag) {
            json["cpu"][field] = text.into();
        }
    }
    serde_json::from_value(json).map_err(|error| format!("cannot understand the limits: {error}"))
}
