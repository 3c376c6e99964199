//! The processes of containers as a table: `top` of one, and one list of all. The columns are those of `ps`, and podman's
//! own (`hpid`, `capeff`, `seccomp`, `label`), all read from /proc by ourselves: a program of the image might lie, or not be
//! there.

use std::collections::HashMap;

use runner::cgroup::Cgroup;
use rustix::fs::{OFlags, ResolveFlags};

use super::columns::{Column, Names, column, podman_column};
use crate::engine::Engine;
use crate::engine::processes::{Process, names_of_ids};
use crate::error::{CommandError, Result};

/// The columns of `ps -ef`, which docker shows when nothing is asked for.
const FULL: &str = "uid,pid,ppid,c,stime,tty,time,cmd";
/// The columns of `ps aux`.
const BY_USER: &str = "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,time,command";
/// The columns of `ps` alone, and of `ps -e`.
const SHORT: &str = "pid,tty,time,ucmd";
/// The options of ps that choose columns, or say what is so anyway.
const LETTERS: &str = "aAdefFlujgrxwHT";
/// Largest /etc/passwd of a container that is read.
const PASSWD_MAX: usize = 1 << 20;

/// A table of processes.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its headings.
    pub headings: Vec<String>,
    /// A row for each process.
    pub rows: Vec<Vec<String>>,
}

/// A process of a container, for the list of all.
#[derive(Clone, Debug)]
pub struct Member {
    /// The container's id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// The process.
    pub process: Process,
    /// Its user's name on the host, or number.
    pub user: String,
}

impl Engine {
    /// The processes of a container; `words` are options of `ps`, or names of podman's columns.
    ///
    /// # Errors
    /// No such container, one that does not run, words that are not understood.
    pub fn top(&self, name: &str, words: &[String]) -> Result<Table> {
        let (columns, inside) = columns(words)?;
        let id = self.find_container(name)?;
        let processes =
            self.processes(&id)?.ok_or_else(|| CommandError::new(format!("container {name} is not running")))?;
        let names = if inside { self.names_inside(&id) } else { names_of_host() };
        let cell = |process: &Process, column: &Column| (column.value)(process, &names);
        Ok(Table {
            headings: columns.iter().map(|column| column.heading.clone()).collect(),
            rows: processes
                .iter()
                .map(|process| columns.iter().map(|column| cell(process, column)).collect())
                .collect(),
        })
    }

    /// The processes of all running containers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn all_processes(&self) -> Result<Vec<Member>> {
        let names = names_of_host();
        let mut members = Vec::new();
        for container in self.containers(false, &[], false)? {
            for process in self.processes(&container.id)?.into_iter().flatten() {
                let user = process.user(1);
                members.push(Member {
                    container: container.id.clone(),
                    name: container.name.clone(),
                    user: names.users.get(&user).cloned().unwrap_or_else(|| user.to_string()),
                    process,
                });
            }
        }
        Ok(members)
    }

    /// The processes of one container, parents first; `None` if it does not run.
    fn processes(&self, id: &str) -> Result<Option<Vec<Process>>> {
        let Some(state) = self.state(id)?.filter(runner::State::is_running) else { return Ok(None) };
        match members(&state) {
            // It has ended meanwhile, and its groups are gone.
            Err(_) if state.pidfd().is_err() => Ok(None),
            read => Ok(Some(read?)),
        }
    }

    /// The names that the container itself has for users and groups. Its files are an image's: they are looked up within its
    /// root, must be plain, and are read to a limit.
    fn names_inside(&self, id: &str) -> Names {
        let read = |path: &str| -> Option<String> {
            let root = runner::root_of_running(&self.state_dir(id)).ok()?;
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            let file = std::fs::File::from(store::scoped::open(root, path, flags, resolve).ok()?);
            if !file.metadata().ok()?.is_file() {
                return None;
            }
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(file, PASSWD_MAX as u64), &mut text).ok()?;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        // A container without such files has numbers for names.
        let names = |path: &str| names_of_ids(&read(path).unwrap_or_default());
        Names { users: names("/etc/passwd"), groups: names("/etc/group"), host_users: names_of_host().users }
    }
}

/// The processes in the groups of a running container.
fn members(state: &runner::State) -> runner::Result<Vec<Process>> {
    let group = Cgroup::open(&state.cgroup)?;
    let mut pids = group.processes()?;
    pids.sort_unstable();
    let started = |pid| runner::ProcessId::of(pid).ok().flatten();
    let read: Vec<_> = pids.into_iter().filter_map(|pid| Some((started(pid)?, Process::read(pid)?))).collect();
    // A number may have been given to a process elsewhere since the list was read: one that is the same before and after,
    // and in the list again, was the container's when it was read.
    let members = group.processes()?;
    let is_member = |(id, _): &(runner::ProcessId, Process)| members.contains(&id.pid) && started(id.pid) == Some(*id);
    Ok(read.into_iter().filter(is_member).map(|(_, process)| process).collect())
}

fn names_of_host() -> Names {
    let names = |path: &str| names_of_ids(&std::fs::read_to_string(path).unwrap_or_default());
    let users = names("/etc/passwd");
    Names { host_users: users.clone(), users, groups: names("/etc/group") }
}

/// The columns that the words ask for, and whether they are podman's, which tell of the inside.
fn columns(words: &[String]) -> Result<(Vec<Column>, bool)> {
    let list =
        |names: &str| names.split([',', ' ']).filter(|name| !name.is_empty()).map(column).collect::<Result<Vec<_>>>();
    if words.is_empty() {
        return Ok((list(FULL)?, false));
    }
    let first = &words[0];
    if !first.starts_with('-')
        && words.iter().flat_map(|word| word.split([',', ' '])).all(|word| podman_column(word).is_some())
    {
        let names = words.iter().flat_map(|word| word.split([',', ' '])).filter(|name| !name.is_empty());
        return Ok((names.filter_map(podman_column).collect(), true));
    }
    let mut columns = Vec::new();
    let mut letters = String::new();
    let mut words = words.iter().flat_map(|word| word.split(' ')).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches('-');
        let before = bare.split('o').next().unwrap_or_default();
        if bare == word && before.chars().any(|letter| !LETTERS.contains(letter)) {
            // Neither BSD's options without a dash, nor podman's column.
            column(word)?;
        }
        let (flags, value) = match word.strip_prefix("--format") {
            Some(rest) => ("o", rest.strip_prefix('=').unwrap_or(rest).to_owned()),
            None => match bare.split_once('o') {
                Some((before, rest)) => (before, rest.to_owned()),
                None => {
                    letters.push_str(bare);
                    continue;
                }
            },
        };
        letters.push_str(flags);
        let value = if value.is_empty() { words.next().unwrap_or_default().to_owned() } else { value };
        if value.is_empty() {
            return Err(CommandError::usage("-o wants names of columns").hint("as in -o pid,user,cmd"));
        }
        // `pid=NUMBER` names the heading: the last name of a list may.
        match value.rsplit_once('=') {
            Some((names, heading)) => {
                columns.extend(list(names)?);
                if let Some(last) = columns.last_mut() {
                    last.heading = heading.to_owned();
                }
            }
            None => columns.extend(list(&value)?),
        }
    }
    if let Some(letter) = letters.chars().find(|letter| !LETTERS.contains(*letter)) {
        return Err(CommandError::usage(format!("option {letter:?} of ps is not known here")).hint(
            "there are -e, -f, -F, -l, aux and -o with names of columns; or columns alone, as `pid hpid capeff`",
        ));
    }
    if !columns.is_empty() {
        return Ok((columns, false));
    }
    let default = match &letters {
        letters if letters.contains('u') => BY_USER,
        letters if letters.contains('F') => "uid,pid,ppid,c,sz,rss,psr,stime,tty,time,cmd",
        letters if letters.contains('f') => FULL,
        letters if letters.contains('l') => "s,uid,pid,ppid,c,pri,ni,sz,tty,time,ucmd",
        _ => SHORT,
    };
    Ok((list(default)?, false))
}

impl Names {
    /// The name of a user or its number.
    pub(super) fn user(&self, id: u32) -> String {
        name_or_number(&self.users, id)
    }

    /// The name of a group or its number.
    pub(super) fn group(&self, id: u32) -> String {
        name_or_number(&self.groups, id)
    }

    /// The name that the host has for a user.
    pub(super) fn host_user(&self, id: u32) -> String {
        name_or_number(&self.host_users, id)
    }
}

fn name_or_number(names: &HashMap<u32, String>, id: u32) -> String {
    names.get(&id).cloned().unwrap_or_else(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headings(words: &str) -> String {
        let words: Vec<String> = words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let (columns, _) = columns(&words).unwrap();
        columns.iter().map(|column| column.heading.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_of_ps_and_names_of_podman() {
        assert_eq!(headings(""), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(headings("-ef"), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(headings("aux"), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        assert_eq!(headings("-eo pid,cmd"), "PID CMD");
        assert_eq!(headings("-o pid -o user=WHO"), "PID WHO");
        assert_eq!(headings("-e"), "PID TTY TIME CMD");
        assert_eq!(headings("pid hpid capeff"), "PID HPID EFFECTIVE CAPS");
        assert_eq!(headings("pid,seccomp,label"), "PID SECCOMP LABEL");
        for bad in ["-o", "-o nonsense", "-Q", "--sort=pid", "nonsense"] {
            let words: Vec<String> = bad.split(' ').map(str::to_owned).collect();
            assert!(columns(&words).is_err(), "{bad}");
        }
    }
}
