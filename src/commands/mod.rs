//! The command line: one file a command, each with its arguments (whose doc comments are the help) and `run`. No logic
//! that another front would need too lives here; that is the engine's.
//!
//! Only the tree of the one command asked for is built: clap's tree of all of them costs as much as a container start.

// The doc comments of arguments are their help on the command line, where NAME[:TAG] is no link.
#![allow(rustdoc::broken_intra_doc_links)]

mod blame;
mod build;
mod build_call;
mod build_inputs;
mod build_output;
mod build_platforms;
mod build_steps;
mod builder;
mod builder_cache;
mod cgroup;
mod commit;
mod console;
mod container;
mod copy;
mod cp;
mod diff;
mod doctor;
mod enter;
mod events;
mod examples;
mod exec;
mod export;
mod flags;
mod generate;
mod generate_systemd;
mod healthcheck;
mod history;
mod image_prune;
mod image_tree;
mod images;
mod import;
mod inspect;
mod load;
mod login;
mod logs;
mod manifest;
mod manifest_list;
mod monitor;
mod mount;
mod network;
mod pause;
mod port;
mod prune;
mod ps;
mod pull;
mod push;
mod remote;
mod rm;
mod rmi;
mod run;
mod save;
mod start;
mod stats;
mod stop;
mod switches;
mod system;
mod system_check;
mod system_df;
mod system_prune;
mod table;
mod tag;
mod targets;
mod top;
mod unshare;
mod update;
mod version;
mod volume;
mod volume_copy;
mod why;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches};

use crate::config::Context;
use crate::error::{CommandError, Kind, Result};
use crate::ui;
pub use table::{COMMANDS, Command, Group};

/// Runs the program with its argument vector and says how it ended.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    match dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            ui::error(&error);
            error.into()
        }
    }
}

/// What a command's `run` looks like.
pub trait Run: clap::Args {
    /// Does it; the exit code is the process's.
    ///
    /// # Errors
    /// Whatever ends the command.
    fn run(self, context: &Context) -> Result<ExitCode>;
}

fn dispatch(arguments: Vec<OsString>) -> Result<ExitCode> {
    let arguments = table::spell_out(arguments);
    let words = table::words(&arguments);
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    match words.as_slice() {
        [] if arguments.len() == 1 => return ui::out(guide()).map(|()| ExitCode::SUCCESS),
        [] => return top_level(arguments),
        ["help"] => return ui::out(overview()).map(|()| ExitCode::SUCCESS),
        ["help", rest @ ..] => {
            let mut again = vec![arguments[0].clone()];
            again.extend(rest.iter().map(OsString::from));
            again.push("--help".into());
            return dispatch(again);
        }
        _ => {}
    }
    let Some(command) = table::find(&words) else {
        let asks = arguments.iter().skip(1).any(|word| word == "--help" || word == "-h");
        if let ([group], true) = (words.as_slice(), asks)
            && let Some(text) = group_help(group)
        {
            return ui::out(text).map(|()| ExitCode::SUCCESS);
        }
        return Err(unknown(&words));
    };
    let mut tree = tree(command);
    let arguments = switches::spell_out(&tree, arguments)?;
    let with_value =
        |word: &OsString| [&b"=true"[..], b"=false"].iter().any(|end| word.as_encoded_bytes().ends_with(end));
    if arguments.iter().any(with_value) {
        tree = with_switch_values(tree);
    }
    let matches = match tree.try_get_matches_from(&arguments) {
        Ok(matches) => matches,
        Err(error) => return clap_error(&error),
    };
    let context = Context::new(&globals(&matches))?;
    let mut inner = &matches;
    while let Some((_, deeper)) = inner.subcommand() {
        inner = deeper;
    }
    (command.run)(inner, &context)
}

/// `img --version`, `img --help`, a global flag without a command.
fn top_level(arguments: Vec<OsString>) -> Result<ExitCode> {
    if arguments.iter().skip(1).any(|word| word == "--help" || word == "-h") {
        return ui::out(overview()).map(|()| ExitCode::SUCCESS);
    }
    match root().try_get_matches_from(&arguments) {
        Ok(_) => Err(CommandError::usage("a command is missing").hint("`img help` lists them")),
        Err(error) => clap_error(&error),
    }
}

/// The flags that go before any command.
fn root() -> clap::Command {
    let path = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("PATH").help(help).action(ArgAction::Set).hide(true)
    };
    clap::Command::new("img")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        // As in docker, of what is given twice the last one counts.
        .args_override_self(true)
        .arg(path("root", "Where images, layers and containers are kept [env: IMG_ROOT]"))
        .arg(path("runroot", "Where the state of running containers is kept [env: IMG_RUNROOT]"))
        .arg(path("config", "The configuration file [env: IMG_CONFIG]"))
}

/// The whole tree of one command.
pub fn tree(command: &Command) -> clap::Command {
    let mut names = command.name.split(' ').rev();
    let last = names.next().unwrap_or(command.name);
    let leaf = (command.arguments)(clap::Command::new(last))
        .visible_aliases(command.aliases)
        .after_help(examples::of(command.name));
    let inner = names.fold(leaf, |inner, name| {
        clap::Command::new(name).subcommand(inner).subcommand_required(true).disable_help_subcommand(true)
    });
    root().subcommand(inner).subcommand_required(true)
}

/// The tree with switches that also take `=true` and `=false`, as docker's and podman's do. Only made where somebody wrote
/// one of these, so that the help stays plain.
fn with_switch_values(command: clap::Command) -> clap::Command {
    let valued = |arg: Arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_parser(clap::value_parser!(bool))
            .default_value("false")
            .default_missing_value("true"),
        _ => arg,
    };
    command.mut_args(valued).mut_subcommands(with_switch_values)
}

/// What stood before the command.
pub struct Globals {
    /// `--root`
    pub root: Option<OsString>,
    /// `--runroot`
    pub runroot: Option<OsString>,
    /// `--config`
    pub config: Option<OsString>,
}

fn globals(matches: &ArgMatches) -> Globals {
    let get = |name: &str| matches.get_one::<String>(name).map(OsString::from);
    Globals { root: get("root"), runroot: get("runroot"), config: get("config") }
}

/// Help and version are answers; anything else clap says becomes an error in our words.
fn clap_error(error: &clap::Error) -> Result<ExitCode> {
    use clap::error::ErrorKind;
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ui::out(text).map(|()| ExitCode::SUCCESS);
    }
    let text = text.trim().strip_prefix("error: ").unwrap_or(text.trim()).to_owned();
    let (message, usage) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut result = CommandError::usage(message.replace('\n', " "));
    for line in usage.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = line.strip_prefix("tip: ").unwrap_or(line);
        let line = if line.starts_with("For more information") { "try the command with --help" } else { line };
        result = result.hint(line);
    }
    Err(result)
}

fn unknown(words: &[&str]) -> CommandError {
    let asked = words[0];
    let group: Vec<&str> = table::members(asked).collect();
    if !group.is_empty() {
        let what = words.get(1).map_or_else(
            || format!("`img {asked}` needs a command"),
            |second| format!("`img {asked}` has no command {second:?}"),
        );
        return CommandError::usage(what).hint(format!("there are: {}", group.join(", ")));
    }
    let error = CommandError::usage(format!("img has no command {asked:?}")).kind(Kind::Usage);
    match table::nearest(asked) {
        Some(near) => error.hint(format!("did you mean `img {near}`?")),
        None => error.hint("`img help` lists the commands"),
    }
}

/// What bare `img` prints.
fn guide() -> String {
    "img builds, pulls, stores and runs container images; nothing stays resident.\n\n\
     \x20 img pull debian                     fetch an image\n\
     \x20 img run -it debian /bin/bash        a shell in a new container\n\
     \x20 img build -t app .                  build the Buildfile in this directory\n\
     \x20 img history app                     where every byte of it came from\n\n\
     `img help` lists all commands, `img COMMAND --help` explains one, `img doctor` says what this machine can do.\n"
        .into()
}

/// What `img help` prints: every command with its first sentence, by group.
fn overview() -> String {
    let mut text = String::from("Usage: img [--root PATH] [--runroot PATH] [--config PATH] COMMAND [ARGUMENTS]\n");
    for group in Group::ALL {
        text.push_str(&format!("\n{}:\n", group.title()));
        for command in COMMANDS.iter().filter(|command| command.group == group) {
            text.push_str(&format!("  {:<16} {}\n", command.name, about(command)));
        }
    }
    text.push_str("\n`img COMMAND --help` explains one. `img image …` and `img container …` work as in docker.\n");
    text
}

/// What `img image --help` and its like print: the commands of the group; `None` if it is no group.
fn group_help(group: &str) -> Option<String> {
    let members: Vec<&str> = table::members(group).collect();
    let lines: Vec<String> = members
        .iter()
        .filter_map(|member| {
            let words = table::spell_out(["img", group, member].map(OsString::from).to_vec());
            let words: Vec<&str> = words.iter().skip(1).filter_map(|word| word.to_str()).collect();
            let command = table::find(&words)?;
            Some(format!("  {member:<10} {}\n", about(command)))
        })
        .collect();
    let what = match group {
        "image" => "Manage images: docker's spelling; each command works without the word `image` too",
        "container" => "Manage containers: docker's spelling; each command works without the word `container` too",
        "builder" => "Look after what builds leave behind: their logs and their cache",
        "generate" => "Write files for other programs",
        "healthcheck" => "Ask containers for their health",
        _ => "Look after the store and this machine",
    };
    (!lines.is_empty()).then(|| {
        format!(
            "{what}\n\nUsage: img {group} COMMAND [ARGUMENTS]\n\nCommands:\n{}\n\
             `img {group} COMMAND --help` explains one.\n\nOptions:\n  -h, --help  Print help\n",
            lines.concat()
        )
    })
}

/// The first sentence of a command's help.
fn about(command: &Command) -> String {
    (command.arguments)(clap::Command::new("x")).get_about().map(ToString::to_string).unwrap_or_default()
}

/// Whether an argument is an option rather than a word.
fn is_option(argument: &OsStr) -> bool {
    argument.as_encoded_bytes().first() == Some(&b'-')
}

/// Does something with each of many names: one that fails is reported and the others still get their turn; the exit
/// code says whether all went well.
pub fn each<N: AsRef<str>>(names: &[N], mut work: impl FnMut(&str) -> Result<()>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        if let Err(error) = work(name.as_ref()) {
            ui::error(&error);
            code = error.into();
        }
    }
    code
}

/// Prints what is known of each of many names, as one list; those that are not there are reported as by [`each`].
pub fn inspect_each<N: AsRef<str>>(
    names: &[N],
    format: Option<&str>,
    mut look_up: impl FnMut(&str) -> Result<serde_json::Value>,
) -> Result<ExitCode> {
    let mut found = Vec::new();
    let code = each(names, |name| {
        found.push(look_up(name)?);
        Ok(())
    });
    ui::format::print_inspect(format, &found)?;
    Ok(code)
}
