//! Whose processes, shared memory, names and control groups a container sees: `--pid`, `--ipc`, `--uts`, `--cgroupns`.
//!
//! The words are checked when the container is made. Another container is found by its name at every start, as it may
//! have been started anew since.

use std::path::PathBuf;

use runner::ProcessId;
use runner::spec::{NamespaceMode, Options as SpecOptions, SharedMemory};

use super::options::Options;
use crate::engine::Engine;
use crate::error::{CommandError, Kind, Result};

/// What one of the flags asks for.
enum Wanted<'a> {
    Private,
    Host,
    Container(&'a str),
}

impl Engine {
    /// Sets the namespaces of a container that is about to be started; gives the processes that others lend them by.
    ///
    /// # Errors
    /// A word that is none, another container that does not run.
    pub(super) fn join_namespaces(&self, asked: &Options, options: &mut SpecOptions) -> Result<Vec<ProcessId>> {
        let mut lenders = Vec::new();
        if let Wanted::Container(name) = pid(asked)? {
            let process = self.lender(name, "--pid")?;
            options.namespaces.pid = NamespaceMode::Path(process.directory().join("ns/pid"));
            lenders.push(process);
        }
        if let Wanted::Container(name) = ipc(asked)? {
            let other = self.container_named(name)?;
            if !matches!(other.data.options.place.ipc.as_deref(), Some("shareable" | "host")) {
                return Err(CommandError::new(format!("container {name} does not share its IPC namespace"))
                    .kind(Kind::Container)
                    .hint(format!("start {name} with --ipc shareable")));
            }
            let process = self.lender(name, "--ipc")?;
            options.namespaces.ipc = NamespaceMode::Path(process.directory().join("ns/ipc"));
            options.shared_memory = SharedMemory::Bind(process.directory().join("root/dev/shm"));
            lenders.push(process);
        }
        Ok(lenders)
    }

    /// The first process of a running container, whose namespaces are to be joined. It may end at any time: the runner makes
    /// sure of it when it has opened them.
    pub(super) fn lender(&self, name: &str, flag: &str) -> Result<ProcessId> {
        let id = self.find_container(name)?;
        let state = self.state(&id)?.filter(runner::State::is_running);
        state.and_then(|state| state.process).ok_or_else(|| {
            CommandError::new(format!("{flag} container:{name}: that container is not running"))
                .kind(Kind::Container)
                .hint(format!("`img start {name}` starts it"))
        })
    }
}

/// The namespaces as far as they do not depend on what runs.
///
/// # Errors
/// A word that is none.
pub(super) fn set(asked: &Options, options: &mut SpecOptions) -> Result<()> {
    // Stands for one that is found when the container starts.
    let later = || NamespaceMode::Path(PathBuf::from("/proc"));
    let mode = |wanted: Wanted<'_>| match wanted {
        Wanted::Private => NamespaceMode::Private,
        Wanted::Host => NamespaceMode::Host,
        Wanted::Container(_) => later(),
    };
    options.namespaces.pid = mode(pid(asked)?);
    options.namespaces.ipc = mode(ipc(asked)?);
    options.namespaces.uts = mode(uts(asked)?);
    if asked.place.cgroupns.as_deref() == Some("host") {
        options.namespaces.cgroup = NamespaceMode::Host;
    }
    match asked.place.ipc.as_deref() {
        Some("host") => options.shared_memory = SharedMemory::Bind(PathBuf::from("/dev/shm")),
        Some("none") => options.shared_memory = SharedMemory::None,
        _ => {}
    }
    if options.namespaces.uts != NamespaceMode::Private && asked.hostname.is_none() {
        options.hostname = String::new();
    }
    Ok(())
}

/// Whether the container's name inside is the host's.
pub(super) fn has_name_of_host(asked: &Options) -> bool {
    asked.place.uts.as_deref() == Some("host")
}

fn pid(asked: &Options) -> Result<Wanted<'_>> {
    read("--pid", asked.place.pid.as_deref(), &["private"])
}

fn uts(asked: &Options) -> Result<Wanted<'_>> {
    match read("--uts", asked.place.uts.as_deref(), &["private"])? {
        Wanted::Container(_) => Err(unknown("--uts", asked.place.uts.as_deref(), "private or host")),
        wanted => Ok(wanted),
    }
}

fn ipc(asked: &Options) -> Result<Wanted<'_>> {
    let wanted = read("--ipc", asked.place.ipc.as_deref(), &["private", "shareable", "none"])?;
    if asked.shm_size.is_some() && (!matches!(wanted, Wanted::Private) || asked.place.ipc.as_deref() == Some("none")) {
        let mode = asked.place.ipc.as_deref().unwrap_or_default();
        return Err(CommandError::usage(format!("--shm-size and --ipc {mode} exclude each other"))
            .hint("its /dev/shm is not one of its own"));
    }
    Ok(wanted)
}

fn read<'a>(flag: &str, text: Option<&'a str>, own: &[&str]) -> Result<Wanted<'a>> {
    match text {
        None | Some("") => Ok(Wanted::Private),
        Some(word) if own.contains(&word) => Ok(Wanted::Private),
        Some("host") => Ok(Wanted::Host),
        Some(word) => match word.strip_prefix("container:").filter(|name| !name.is_empty()) {
            Some(name) => Ok(Wanted::Container(name)),
            None => Err(unknown(flag, text, &format!("{}, host or container:NAME", own.join(", ")))),
        },
    }
}

fn unknown(flag: &str, text: Option<&str>, known: &str) -> CommandError {
    CommandError::usage(format!("{flag} {}: there is no such mode", text.unwrap_or_default()))
        .hint(format!("it takes {known}"))
}
