//! The list of all commands, and how words on the command line find theirs: aliases, docker's `image` and `container`
//! groups, and the nearest name for a slip of the finger.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::ArgMatches;

use super::{
    Run, blame, build, builder, builder_cache, cgroup, commit, console, container, copy, cp, diff, doctor, enter,
    events, exec, export, generate, generate_systemd, healthcheck, history, image_prune, image_tree, images, import,
    inspect, is_option, load, login, logs, manifest, manifest_list, monitor, mount, network, pause, port, ps, pull,
    push, remote, rm, rmi, run, save, start, stats, stop, system, system_check, system_df, system_prune, tag, top,
    unshare, update, version, volume, volume_copy, why,
};
use crate::config::Context;
use crate::error::{CommandError, Result};

/// Where `img help` lists a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Images and registries.
    Images,
    /// Containers.
    Containers,
    /// The store and this machine.
    System,
    /// Not listed: for packagers.
    Hidden,
}

impl Group {
    /// The listed ones, in order.
    pub const ALL: [Self; 3] = [Self::Images, Self::Containers, Self::System];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Images => "Images",
            Self::Containers => "Containers",
            Self::System => "System",
            Self::Hidden => "Hidden",
        }
    }
}

/// One command.
pub struct Command {
    /// Its words: `pull`, `system df`.
    pub name: &'static str,
    /// Other spellings of the last word.
    pub aliases: &'static [&'static str],
    /// Where it is listed.
    pub group: Group,
    /// Adds its arguments and help.
    pub arguments: fn(clap::Command) -> clap::Command,
    /// Runs it.
    pub run: fn(&ArgMatches, &Context) -> Result<ExitCode>,
}

const fn command<A: Run>(name: &'static str, aliases: &'static [&'static str], group: Group) -> Command {
    Command {
        name,
        aliases,
        group,
        arguments: |command| A::augment_args(command),
        run: |matches, context| {
            A::from_arg_matches(matches).map_err(|error| CommandError::usage(error.to_string()))?.run(context)
        },
    }
}

use Group::{Containers, Hidden, Images, System};

/// All commands, in the order in which they are listed.
pub const COMMANDS: &[Command] = &[
    command::<pull::Pull>("pull", &[], Images),
    command::<push::Push>("push", &[], Images),
    command::<copy::Copy>("copy", &[], Images),
    command::<build::Build>("build", &[], Images),
    command::<why::Why>("why", &[], Images),
    command::<blame::Blame>("blame", &[], Images),
    command::<images::Images>("images", &[], Images),
    command::<history::History>("history", &[], Images),
    command::<inspect::Inspect>("inspect", &[], Images),
    command::<tag::Tag>("tag", &[], Images),
    command::<rmi::Rmi>("rmi", &[], Images),
    command::<save::Save>("save", &[], Images),
    command::<load::Load>("load", &[], Images),
    command::<import::Import>("import", &[], Images),
    command::<remote::ListTags>("list-tags", &[], Images),
    command::<remote::Referrers>("referrers", &[], Images),
    command::<remote::Delete>("delete", &[], Images),
    command::<login::Login>("login", &[], Images),
    command::<login::Logout>("logout", &[], Images),
    command::<run::RunCommand>("run", &[], Containers),
    command::<run::Create>("create", &[], Containers),
    command::<start::Start>("start", &[], Containers),
    command::<stop::Stop>("stop", &[], Containers),
    command::<stop::Kill>("kill", &[], Containers),
    command::<pause::Restart>("restart", &[], Containers),
    command::<pause::Pause>("pause", &["freeze"], Containers),
    command::<pause::Unpause>("unpause", &["unfreeze"], Containers),
    command::<pause::Rename>("rename", &[], Containers),
    command::<stop::Wait>("wait", &[], Containers),
    command::<rm::Rm>("rm", &["destroy"], Containers),
    command::<port::Port>("port", &[], Containers),
    command::<ps::Ps>("ps", &["ls"], Containers),
    command::<exec::Exec>("exec", &[], Containers),
    command::<unshare::Nsenter>("nsenter", &[], Containers),
    command::<unshare::Unshare>("unshare", &[], Containers),
    command::<logs::Logs>("logs", &[], Containers),
    command::<logs::Attach>("attach", &[], Containers),
    command::<cgroup::Get>("cgroup get", &[], Containers),
    command::<cgroup::Set>("cgroup set", &[], Containers),
    command::<cgroup::Dump>("cgroup dump", &[], Containers),
    command::<cgroup::Cgroup>("cgroup", &[], Containers),
    command::<cgroup::Priority>("priority", &[], Containers),
    command::<enter::Enter>("enter", &[], Containers),
    command::<update::Update>("update", &[], Containers),
    command::<console::Console>("console", &[], Containers),
    command::<console::Shutdown>("shutdown", &[], Containers),
    command::<top::Top>("top", &[], Containers),
    command::<stats::Stats>("stats", &[], Containers),
    command::<events::Events>("events", &[], Containers),
    command::<monitor::Monitor>("monitor", &[], Containers),
    command::<container::Clone>("clone", &[], Containers),
    command::<container::Prune>("container prune", &[], Containers),
    command::<container::Exists>("container exists", &[], Containers),
    command::<container::ImageExists>("image exists", &[], Images),
    command::<image_prune::Prune>("image prune", &[], Images),
    command::<image_tree::ImageTree>("image tree", &[], Images),
    command::<image_tree::ImageDiff>("image diff", &[], Images),
    command::<manifest::Inspect>("manifest inspect", &[], Images),
    command::<manifest_list::Create>("manifest create", &[], Images),
    command::<manifest_list::Add>("manifest add", &[], Images),
    command::<manifest_list::Annotate>("manifest annotate", &[], Images),
    command::<manifest_list::Drop>("manifest remove", &[], Images),
    command::<manifest_list::Remove>("manifest rm", &[], Images),
    command::<manifest_list::Push>("manifest push", &[], Images),
    command::<manifest_list::Exists>("manifest exists", &[], Images),
    command::<mount::MountImage>("image mount", &[], Images),
    command::<mount::UnmountImage>("image unmount", &["umount"], Images),
    command::<commit::Commit>("commit", &[], Containers),
    command::<cp::Cp>("cp", &[], Containers),
    command::<mount::Mount>("mount", &[], Containers),
    command::<mount::Unmount>("unmount", &["umount"], Containers),
    command::<diff::Diff>("diff", &[], Containers),
    command::<export::Export>("export", &[], Containers),
    command::<network::List>("network ls", &["list"], Containers),
    command::<network::Create>("network create", &[], Containers),
    command::<network::Inspect>("network inspect", &[], Containers),
    command::<network::Remove>("network rm", &["remove"], Containers),
    command::<network::Prune>("network prune", &[], Containers),
    command::<network::Connect>("network connect", &[], Containers),
    command::<network::Disconnect>("network disconnect", &[], Containers),
    command::<network::Reload>("network reload", &[], Containers),
    command::<network::Exists>("network exists", &[], Containers),
    command::<volume::List>("volume ls", &["list"], Containers),
    command::<volume::Create>("volume create", &[], Containers),
    command::<volume::Inspect>("volume inspect", &[], Containers),
    command::<volume::Remove>("volume rm", &["remove"], Containers),
    command::<volume::Prune>("volume prune", &[], Containers),
    command::<volume::Exists>("volume exists", &[], Containers),
    command::<volume_copy::Clone>("volume clone", &[], Containers),
    command::<volume_copy::Snapshot>("volume snapshot", &[], Containers),
    command::<volume_copy::Restore>("volume restore", &[], Containers),
    command::<volume::Export>("volume export", &[], Containers),
    command::<volume::Import>("volume import", &[], Containers),
    command::<volume::Mount>("volume mount", &[], Containers),
    command::<volume::Unmount>("volume unmount", &["umount"], Containers),
    command::<builder_cache::Du>("builder du", &[], System),
    command::<builder_cache::Prune>("builder prune", &[], System),
    command::<builder_cache::Export>("builder export", &[], System),
    command::<builder_cache::Import>("builder import", &[], System),
    command::<builder::Log>("builder log", &["logs"], System),
    command::<version::Info>("info", &[], System),
    command::<version::Version>("version", &[], System),
    command::<doctor::Doctor>("doctor", &[], System),
    command::<system_df::Df>("system df", &[], System),
    command::<system_prune::Prune>("system prune", &[], System),
    command::<system_check::Check>("system check", &[], System),
    command::<system::Reset>("system reset", &[], System),
    command::<system::Unmount>("system unmount", &[], System),
    command::<system::Start>("system start", &[], System),
    command::<system::Stop>("system stop", &[], System),
    command::<healthcheck::HealthcheckRun>("healthcheck run", &[], Containers),
    command::<generate_systemd::GenerateSystemd>("generate systemd", &[], System),
    command::<generate::Completion>("completion", &[], Hidden),
    command::<generate::Man>("man", &[], Hidden),
];

/// docker's groups: the second word means this command.
const GROUPED: &[(&str, &str, &str)] = &[
    ("image", "ls", "images"),
    ("image", "list", "images"),
    ("image", "rm", "rmi"),
    ("image", "remove", "rmi"),
    ("container", "ls", "ps"),
    ("container", "list", "ps"),
    ("container", "ps", "ps"),
];

/// Commands that `img image` and `img container` take under their own name.
const MEMBERS: &[(&str, &[&str])] = &[
    ("builder", &["build"]),
    ("image", &["build", "history", "import", "inspect", "load", "ls", "pull", "push", "rm", "save", "tag"]),
    (
        "container",
        &[
            "attach", "clone", "commit", "cp", "create", "diff", "exec", "export", "inspect", "kill", "logs", "ls",
            "mount", "pause", "port", "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unmount",
            "unpause", "update", "wait",
        ],
    ),
];

/// Global options that take their value as the next word.
const GLOBALS_WITH_VALUE: &[&str] = &["--root", "--runroot", "--config"];

/// Where the first word that is no option stands.
fn first_word(arguments: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(argument) = arguments.get(at) {
        if GLOBALS_WITH_VALUE.iter().any(|&global| argument == global) {
            at += 2;
        } else if is_option(argument) {
            at += 1;
        } else {
            return Some(at);
        }
    }
    None
}

/// Docker's groups rewritten to our plain commands: `image ls` becomes `images`.
pub fn spell_out(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = first_word(&arguments) else { return arguments };
    let Some(second) = arguments.get(at + 1) else { return arguments };
    let grouped = GROUPED.iter().find(|(group, word, _)| arguments[at] == *group && second == *word);
    let member = MEMBERS
        .iter()
        .find(|(group, _)| arguments[at] == *group)
        .and_then(|(_, members)| members.iter().find(|&&member| second == member));
    let plain = grouped.map(|&(_, _, plain)| plain).or(member.copied());
    if let Some(plain) = plain {
        arguments.splice(at..at + 2, [OsString::from(plain)]);
    }
    arguments
}

/// The words that may name a command: the first one and, for `help` and groups, those right after it.
pub fn words(arguments: &[OsString]) -> Vec<OsString> {
    let Some(at) = first_word(arguments) else { return Vec::new() };
    arguments[at..].iter().take_while(|argument| !is_option(argument)).take(3).cloned().collect()
}

/// The command that `words` begin with.
pub fn find(words: &[&str]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| {
        let names: Vec<&str> = command.name.split(' ').collect();
        let Some((last, groups)) = names.split_last() else { return false };
        words.len() >= names.len()
            && words[..groups.len()] == *groups
            && (words[groups.len()] == *last || command.aliases.contains(&words[groups.len()]))
    })
}

/// The commands of a group: `system` → `df`, `prune`, …
pub fn members(group: &str) -> impl Iterator<Item = &'static str> {
    let own = COMMANDS.iter().filter_map(move |command| {
        command.name.split_once(' ').filter(|(first, _)| *first == group).map(|(_, rest)| rest)
    });
    let docker =
        MEMBERS.iter().filter(move |(name, _)| *name == group).flat_map(|(_, members)| members.iter().copied());
    own.chain(docker)
}

/// The command whose name is nearest to `asked`, if any is near.
pub fn nearest(asked: &str) -> Option<&'static str> {
    let names = COMMANDS.iter().filter(|command| command.group != Hidden).map(|command| command.name);
    let near = names.map(|name| (distance(asked, name), name)).min()?;
    (near.0 <= 2 && near.0 < asked.chars().count()).then_some(near.1)
}

/// How many letters must be added, dropped, changed or swapped to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swap = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(swap)
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn docker_groups_are_spelled_out() {
        assert_eq!(spell_out(arguments("img --root /x image ls -q")), arguments("img --root /x images -q"));
        assert_eq!(spell_out(arguments("img container run a")), arguments("img run a"));
        assert_eq!(spell_out(arguments("img run image ls")), arguments("img run image ls"));
    }

    #[test]
    fn every_command_builds_and_has_help() {
        for command in COMMANDS {
            super::super::tree(command).debug_assert();
            let about = (command.arguments)(clap::Command::new("x")).get_about().map(ToString::to_string);
            assert!(about.is_some_and(|about| about.len() > 10), "{} has no help", command.name);
        }
    }

    #[test]
    fn slips_of_the_finger() {
        assert_eq!(distance("pul", "pull"), 1);
        assert_eq!(distance("bulid", "build"), 1);
    }
}
