//! Which command is meant, and what it prints.
//!
//! Commands that start processes are in `tasks`.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runner::oci::{self, Runtime};

use crate::args::Args;
use crate::help_table::{COMMANDS, GLOBAL, command_help, help};
use crate::log::{Format, Log};
use crate::tasks;

/// Where containers are kept if nothing is said.
const ROOT: &str = "/run/img-runtime";

/// Why a command failed, and with which exit code.
#[derive(Debug)]
pub struct Failure {
    /// The whole message.
    pub text: String,
    /// 1, or 255 for exec.
    pub code: u8,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text, code: 1 }
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<runner::Error> for Failure {
    /// The message with all its causes.
    fn from(error: runner::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self { text, code: 1 }
    }
}

/// The result of a command: its exit code.
pub type Result<T = u8> = std::result::Result<T, Failure>;

/// What all commands know.
#[derive(Debug)]
pub struct Context {
    /// The containers.
    pub runtime: Runtime,
    /// The command's flags and words.
    pub args: Args,
    /// `--systemd-cgroup`.
    pub systemd_cgroup: bool,
}

impl Context {
    /// The container meant.
    pub fn id(&self) -> &str {
        self.args.words.first().map(String::as_str).unwrap_or_default()
    }

    /// A path among the flags.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.args.get(name).filter(|text| !text.is_empty()).map(PathBuf::from)
    }
}

/// Carries out a command line; the log is for its error.
pub fn run(arguments: Vec<String>) -> (Log, Result) {
    let global = match Args::parse(GLOBAL, &arguments, true) {
        Ok(global) => global,
        Err(text) => return (Log::plain(), Err(text.into())),
    };
    let format = match global.get("log-format") {
        None | Some("text") => Format::Text,
        Some("json") => Format::Json,
        Some(other) => return (Log::plain(), Err(format!("invalid log-format: {other}").into())),
    };
    let log = match Log::open(global.get("log"), format, global.has("debug")) {
        Ok(log) => log,
        Err(error) => {
            let text = format!("cannot open the log {}: {error}", global.get("log").unwrap_or_default());
            return (Log::plain(), Err(text.into()));
        }
    };
    let result = command(&global, &log);
    (log, result)
}

fn command(global: &Args, log: &Log) -> Result {
    if global.has("version") {
        let version = env!("CARGO_PKG_VERSION");
        return print(&format!("img-runtime version {version}\nspec: {}\n", oci::SPEC_VERSION));
    }
    let Some((name, rest)) = global.words.split_first().filter(|(name, _)| *name != "help") else {
        return print(&help());
    };
    if global.has("help") {
        return print(&help());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Err(format!("no such command: {name:?}; `img-runtime --help` lists them").into());
    };
    let args = Args::parse(command.flags, rest, matches!(command.name, "exec" | "ps"))?;
    if args.has("help") {
        return print(&command_help(command));
    }
    let (least, most) = command.count;
    let count = args.words.len();
    if count < least || count > most {
        let wanted = if least == most { format!("exactly {least}") } else { format!("at least {least}") };
        return Err(format!("{name:?} requires {wanted} argument(s), and has {count}").into());
    }
    if let Some(rootless) = global.get("rootless").filter(|text| !matches!(*text, "true" | "false" | "auto")) {
        return Err(format!("invalid value {rootless:?} for flag -rootless").into());
    }
    let root = global.get("root").filter(|root| !root.is_empty()).unwrap_or(ROOT);
    let root = std::path::absolute(root).map_err(|error| format!("cannot find {root}: {error}"))?;
    log.debug(&format!("{name} {} in {}", args.words.join(" "), root.display()));
    let context = Context { runtime: Runtime::new(root), args, systemd_cgroup: global.has("systemd-cgroup") };
    dispatch(command.name, &context, log)
}

fn dispatch(name: &str, context: &Context, log: &Log) -> Result {
    let (runtime, id) = (&context.runtime, context.id());
    match name {
        "create" => tasks::create(context),
        "run" => tasks::run(context, log),
        "exec" => tasks::exec(context)
            .map_err(|failure| Failure { text: format!("exec failed: {}", failure.text), code: 255 }),
        "update" => tasks::update(context),
        "start" => done(runtime.start(id)),
        "kill" => kill(context),
        "delete" => {
            let failed = runtime.delete(id, context.args.has("force"))?;
            failed.iter().for_each(|error| log.warning(&error.to_string()));
            Ok(0)
        }
        "pause" => done(runtime.pause(id)),
        "resume" => done(runtime.resume(id)),
        "state" => print_json(&runtime.state(id)?),
        "features" => print_json(&oci::features()),
        "list" => list(context),
        "ps" => ps(context),
        "events" => events(context),
        "spec" => spec(context),
        other => Err(format!("{other} is not supported: the state of running processes cannot be saved").into()),
    }
}

fn done(result: runner::Result<()>) -> Result {
    result?;
    Ok(0)
}

fn kill(context: &Context) -> Result {
    let text = context.args.words.get(1).map_or("SIGTERM", String::as_str);
    let signal = runner::spec::parse::signal(text).map_err(|_| format!("unknown signal {text:?}"))?;
    done(context.runtime.kill(context.id(), signal, context.args.has("all")))
}

fn list(context: &Context) -> Result {
    let all = context.runtime.list()?;
    if context.args.has("quiet") {
        return print(&all.iter().map(|(record, _)| format!("{}\n", record.id)).collect::<String>());
    }
    let owner = |uid: u32| {
        let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let found = text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
        });
        found.unwrap_or_else(|| format!("#{uid}"))
    };
    match context.args.get("format") {
        Some("json") => {
            let states = all.iter().map(|(record, status)| {
                let mut state = oci::state_of(record, *status);
                state["owner"] = owner(record.owner).into();
                state
            });
            let states: Vec<_> = states.collect();
            // What runc prints for none.
            if states.is_empty() { print("null\n") } else { print(&format!("{}\n", serde_json::Value::from(states))) }
        }
        None | Some("table") => {
            let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
            rows.extend(all.iter().map(|(record, status)| {
                let pid = record.process.filter(|_| *status != oci::Status::Stopped).map_or(0, |process| process.pid);
                let bundle = record.bundle.display().to_string();
                let status = status.word().to_owned();
                [record.id.clone(), pid.to_string(), status, bundle, record.created.clone(), owner(record.owner)]
            }));
            print(&table(&rows))
        }
        Some(_) => Err("invalid format option".into()),
    }
}

/// Columns at least twelve wide and three apart.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let last = column == N - 1;
            text.push_str(&if last { cell.clone() } else { format!("{cell:<width$}", width = widths[column]) });
        }
        text.push('\n');
    }
    text
}

fn ps(context: &Context) -> Result {
    let pids = context.runtime.processes(context.id())?;
    match context.args.get("format") {
        Some("json") => print(&format!("{}\n", serde_json::json!(pids))),
        None | Some("table") => {
            let options = &context.args.words[1..];
            let mut command = std::process::Command::new("ps");
            if options.is_empty() {
                command.arg("-ef");
            } else {
                command.args(options);
            }
            // Its name as users know it, whatever link led to it.
            let out = command.arg0("ps").output().map_err(|error| format!("cannot run ps: {error}"))?;
            if !out.status.success() {
                return Err(format!("ps failed: {}", String::from_utf8_lossy(&out.stderr).trim()).into());
            }
            let text = String::from_utf8_lossy(&out.stdout);
            let mut lines = text.lines();
            let header = lines.next().unwrap_or_default();
            let column = header.split_whitespace().position(|name| name == "PID");
            let column = column.ok_or("couldn't find PID field in ps output")?;
            let mut shown = format!("{header}\n");
            for line in lines {
                let pid = line.split_whitespace().nth(column).and_then(|field| field.parse::<i32>().ok());
                let pid = pid.ok_or_else(|| format!("unexpected line of ps: {line}"))?;
                if pids.contains(&pid) {
                    shown.push_str(line);
                    shown.push('\n');
                }
            }
            print(&shown)
        }
        Some(_) => Err("invalid format option".into()),
    }
}

fn events(context: &Context) -> Result {
    let line = |event: &oci::Event| print(&format!("{}\n", event.json())).map(drop);
    if context.args.has("stats") {
        line(&context.runtime.stats(context.id())?)?;
        return Ok(0);
    }
    let interval = match context.args.get("interval") {
        None => Duration::from_secs(5),
        Some(text) => runner::spec::parse::duration("interval", text).map_err(|error| error.to_string())?,
    };
    if interval.is_zero() {
        return Err("duration interval must be greater than 0".into());
    }
    for event in context.runtime.events(context.id(), interval)? {
        line(&event?)?;
    }
    Ok(0)
}

fn spec(context: &Context) -> Result {
    let folder = context.path("bundle").unwrap_or_else(|| PathBuf::from("."));
    let path = folder.join("config.json");
    if Path::exists(&path) {
        return Err(format!("file {} exists, remove it first", path.display()).into());
    }
    let rootless = context.args.has("rootless");
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let spec = oci::example(rootless.then_some(ids));
    let text = serde_json::to_string_pretty(&spec).map_err(|error| error.to_string())?;
    std::fs::write(&path, text + "\n").map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(0)
}

/// Prints to standard output. A reader that went away is no error.
fn print(text: &str) -> Result {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        _ => Ok(0),
    }
}

fn print_json(value: &serde_json::Value) -> Result {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    print(&(text + "\n"))
}
