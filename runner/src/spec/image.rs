//! What an image says about running it, joined with what the user says: Docker's rules.

use std::collections::BTreeMap;

use super::{Error, Result};

/// `PATH` where neither image nor user set one.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The part of an image's configuration that matters to a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageDefaults {
    /// Always run; `CMD` is its arguments.
    pub entrypoint: Vec<String>,
    /// The command, or the entrypoint's arguments.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: String,
    /// `user[:group]`.
    pub user: String,
    /// As `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Paths that get anonymous volumes.
    pub volumes: Vec<String>,
    /// Name or number.
    pub stop_signal: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// What the user said about the same things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChoices {
    /// `--entrypoint`; `Some` of nothing clears the image's.
    pub entrypoint: Option<Vec<String>>,
    /// The words after the image.
    pub args: Vec<String>,
    /// `-e` and `--env-file`, in order: later ones win.
    pub env: Vec<(String, String)>,
    /// `--unsetenv`.
    pub unset: Vec<String>,
    /// `-w`.
    pub workdir: Option<String>,
    /// `-u`.
    pub user: Option<String>,
    /// `--expose`.
    pub expose: Vec<String>,
    /// `--stop-signal`.
    pub stop_signal: Option<String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// The container's host name, for `HOSTNAME`.
    pub hostname: String,
    /// The process gets a terminal, for `TERM`.
    pub terminal: bool,
}

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The whole command.
    pub args: Vec<String>,
    /// `NAME=value`, each name once. `HOME` is missing unless somebody set it: it is known once the user is looked up in
    /// the container.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// `user[:group]`; empty is root.
    pub user: String,
    /// As `80/tcp`, sorted, each once.
    pub exposed_ports: Vec<String>,
    /// Paths that get anonymous volumes.
    pub volumes: Vec<String>,
    /// The signal that asks the container to end.
    pub stop_signal: i32,
    /// Labels, the user's over the image's.
    pub labels: BTreeMap<String, String>,
}

/// Joins the two.
pub fn merge(image: &ImageDefaults, user: &UserChoices) -> Result<Merged> {
    // An entrypoint given by the user (an empty one too) also takes the image's CMD away: it was meant for the other program.
    let (entrypoint, cmd) = match &user.entrypoint {
        Some(entrypoint) => (entrypoint.as_slice(), &[][..]),
        None => (image.entrypoint.as_slice(), image.cmd.as_slice()),
    };
    let entrypoint: Vec<String> = match entrypoint {
        [one] if one.is_empty() => Vec::new(),
        words => words.to_vec(),
    };
    let words = if user.args.is_empty() { cmd } else { user.args.as_slice() };
    let args: Vec<String> = entrypoint.into_iter().chain(words.iter().cloned()).collect();
    if args.is_empty() {
        return Err(Error::conflict(
            "no command was given, and the image has none",
            "add a command after the image's name",
        ));
    }
    let mut exposed_ports: Vec<String> = image.exposed_ports.iter().chain(&user.expose).cloned().collect();
    exposed_ports.sort();
    exposed_ports.dedup();
    let stop_signal = user.stop_signal.as_ref().or(image.stop_signal.as_ref()).filter(|text| !text.is_empty());
    let mut labels = image.labels.clone();
    labels.extend(user.labels.clone());
    Ok(Merged {
        args,
        env: environment(image, user),
        cwd: workdir(user.workdir.as_deref().unwrap_or(&image.workdir))?,
        user: user.user.clone().unwrap_or_else(|| image.user.clone()),
        exposed_ports,
        volumes: image.volumes.clone(),
        stop_signal: stop_signal.map_or(Ok(libc::SIGTERM), |text| super::parse::signal(text))?,
        labels,
    })
}

/// Defaults, then the image's, then the user's; a later value takes the place of an earlier one.
fn environment(image: &ImageDefaults, user: &UserChoices) -> Vec<String> {
    let mut all: Vec<(String, String)> = vec![("PATH".to_owned(), DEFAULT_PATH.to_owned())];
    if !user.hostname.is_empty() {
        all.push(("HOSTNAME".to_owned(), user.hostname.clone()));
    }
    if user.terminal {
        all.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    let pairs = image
        .env
        .iter()
        .filter_map(|text| text.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in pairs.chain(user.env.iter().cloned()) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => all.push((name, value)),
        }
    }
    all.retain(|(name, _)| !user.unset.contains(name));
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn workdir(path: &str) -> Result<String> {
    match path {
        "" => Ok("/".to_owned()),
        path if path.starts_with('/') && !path.contains('\0') => Ok(path.to_owned()),
        path => Err(Error::invalid("working directory", path, "it is not an absolute path")),
    }
}
