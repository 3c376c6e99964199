//! User namespaces: from `--userns` and its relatives to the map of ids that the runner takes.
//!
//! What a container writes has its own ids on the disk, whatever its map is, so a map may be another one at each start.

use std::path::PathBuf;

use runner::spec::parse::{MountKind, MountRequest};
use runner::spec::{NamespaceMode, Options as SpecOptions};
use runner::{ProcessId, RunningIds};

use super::options::Options;
use super::options::ids::Ids;
use crate::engine::Engine;
use crate::error::{CommandError, Context as _, Kind, Result};

/// How many ids a container gets, unless said otherwise: all that distributions use.
const SIZE: u32 = 65_536;
/// Where ranges are chosen from that nobody has set apart: above what useradd(8) gives out, below what tools with signed
/// numbers stumble over.
const POOL: (u32, u32) = (1_000_000_000, 1_879_048_191);
/// The name in /etc/subuid that podman uses for this.
const POOL_OWNER: &str = "containers";
/// More ranges than this are refused by the kernel (user_namespaces(7)).
const RANGES_MAX: usize = 340;

type Range = (u32, u32, u32);

impl Ids {
    /// Whether the container has a user namespace of its own.
    pub fn mapped(&self) -> bool {
        self.has_map() || !matches!(self.userns.as_deref(), None | Some("" | "host"))
    }

    /// Whether the ids are given one by one.
    fn has_map(&self) -> bool {
        let names = self.subuidname.is_some() || self.subgidname.is_some();
        names || !self.uidmap.is_empty() || !self.gidmap.is_empty()
    }
}

/// Sets the map, as far as it does not depend on what runs.
///
/// # Errors
/// Words that make no sense, ids that are not there.
pub(super) fn set(asked: &Options, options: &mut SpecOptions) -> Result<()> {
    let ids = &asked.ids;
    options.time_offsets = ids.timens_offset.iter().map(|text| offset(text)).collect::<Result<_>>()?;
    if !ids.mapped() {
        return Ok(());
    }
    if asked.privileged {
        return Err(CommandError::usage("--privileged and a user namespace of its own exclude each other")
            .hint("add the capabilities it needs with --cap-add; they hold inside its namespaces"));
    }
    options.namespaces.user = Some(NamespaceMode::Private);
    let mapped = ids.has_map();
    match (ids.userns.as_deref().unwrap_or("private"), mapped) {
        ("private" | "", true) => (options.uid_map, options.gid_map) = maps(ids)?,
        (mode, true) => {
            return Err(CommandError::usage(format!("--userns {mode} and a map of ids exclude each other"))
                .hint("a map says itself which ids are meant"));
        }
        ("private" | "" | "auto", false) => options.auto_ids = Some(pool(SIZE)?),
        ("keep-id", false) => {
            options.uid_map = vec![(0, 0, u32::MAX)];
            options.gid_map = vec![(0, 0, u32::MAX)];
        }
        ("nomap", false) => {
            return Err(CommandError::usage("--userns nomap is for ordinary users")
                .hint("root's containers have ids of nobody with --userns auto"));
        }
        (mode, false) => match (mode.strip_prefix("auto:size="), mode.strip_prefix("container:")) {
            (Some(size), _) => {
                let size = size
                    .parse()
                    .ok()
                    .filter(|size| *size > 0)
                    .ok_or_else(|| CommandError::usage(format!("--userns {mode}: {size:?} is no number of ids")))?;
                options.auto_ids = Some(pool(size)?);
            }
            // Stands for what is found when the container starts.
            (_, Some(name)) if !name.is_empty() => options.auto_ids = Some(pool(SIZE)?),
            _ if mode.strip_prefix("ns:").is_some_and(|path| path.starts_with('/')) => {
                options.namespaces.user = Some(NamespaceMode::Path(PathBuf::from(&mode["ns:".len()..])));
            }
            _ => {
                return Err(CommandError::usage(format!("--userns {mode}: there is no such mode"))
                    .hint("it takes host, auto, auto:size=N, keep-id, private, container:NAME and ns:/PATH"));
            }
        },
    }
    Ok(())
}

impl Engine {
    /// Takes the map of another container, whose first process is given back, or of a namespace that is joined, if that is what
    /// was asked for. Who names the host's own shares its ids.
    ///
    /// # Errors
    /// It does not run; it has no root.
    pub(super) fn join_ids(&self, asked: &Options, options: &mut SpecOptions) -> Result<Option<ProcessId>> {
        let mode = asked.ids.userns.as_deref().unwrap_or_default();
        let (path, lender) = match (mode.strip_prefix("container:"), &options.namespaces.user) {
            (Some(name), _) => {
                let lender = self.lender(name, "--userns")?;
                (lender.directory().join("ns/user"), Some(lender))
            }
            (None, Some(NamespaceMode::Path(path))) => (path.clone(), None),
            (None, _) => return Ok(None),
        };
        let ids = RunningIds::of_namespace(&path)
            .map_err(|error| CommandError::from(error).prefixed(&format!("cannot use --userns {mode}")))?;
        options.auto_ids = None;
        let Some(ids) = ids else {
            options.namespaces.user = None;
            return Ok(lender);
        };
        if ids.outside((0, 0)).is_none() {
            return Err(CommandError::new(format!("cannot use --userns {mode}: the namespace has no root (0)"))
                .hint("its map must have one, who sets the container up: as `0 100000 65536`"));
        }
        (options.uid_map, options.gid_map) = (ids.users().to_vec(), ids.groups().to_vec());
        Ok(lender)
    }
}

/// Lets mounts show files as they are on the disk to a container with other ids: those of ours, and volumes, which are the
/// container's.
pub(super) fn show_as_on_disk(mounts: &mut [MountRequest], ours: impl Fn(&MountRequest) -> bool) {
    for mount in mounts.iter_mut().filter(|mount| mount.kind == MountKind::Bind && ours(mount)) {
        mount.idmap.get_or_insert_with(String::new);
    }
}

fn maps(ids: &Ids) -> Result<(Vec<Range>, Vec<Range>)> {
    let ranges = |flag: &str, texts: &[String]| texts.iter().map(|text| range(flag, text)).collect::<Result<Vec<_>>>();
    // As in podman what is given for one of the two holds for the other: a name by its own file, ranges as they are.
    let users = match (&ids.subuidname, &ids.subgidname) {
        (Some(name), _) => stacked(&subordinate("/etc/subuid", name)?),
        (None, _) if !ids.uidmap.is_empty() => ranges("--uidmap", &ids.uidmap)?,
        (None, Some(name)) => stacked(&subordinate("/etc/subuid", name)?),
        (None, None) => ranges("--gidmap", &ids.gidmap)?,
    };
    let groups = match (&ids.subgidname, &ids.subuidname) {
        (Some(name), _) => stacked(&subordinate("/etc/subgid", name)?),
        (None, _) if !ids.gidmap.is_empty() => ranges("--gidmap", &ids.gidmap)?,
        (None, Some(name)) => stacked(&subordinate("/etc/subgid", name)?),
        (None, None) => users.clone(),
    };
    if users.len().max(groups.len()) > RANGES_MAX {
        return Err(CommandError::usage(format!("a map of ids has at most {RANGES_MAX} ranges")));
    }
    if ![&users, &groups].iter().all(|map| map.iter().any(|(inside, ..)| *inside == 0)) {
        return Err(CommandError::usage("the map of ids leaves out root (0), which sets the container up")
            .hint("as --uidmap 0:100000:65536"));
    }
    Ok((users, groups))
}

/// `CONTAINER:HOST[:COUNT]`.
fn range(flag: &str, text: &str) -> Result<Range> {
    let bad = || {
        CommandError::usage(format!("{flag} {text} is not CONTAINER:HOST:COUNT"))
            .hint(format!("as {flag} 0:100000:65536"))
    };
    let numbers = text.split(':').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>().ok_or_else(bad)?;
    match numbers.as_slice() {
        [inside, outside] => Ok((*inside, *outside, 1)),
        [inside, outside, count] => Ok((*inside, *outside, *count)),
        _ => Err(bad()),
    }
}

/// Ranges of the host one after the other from 0 inside.
fn stacked(ranges: &[(u32, u32)]) -> Vec<Range> {
    let mut next = 0u32;
    let one = |(first, count): &(u32, u32)| {
        let inside = next;
        next = next.saturating_add(*count);
        (inside, *first, *count)
    };
    ranges.iter().map(one).collect()
}

/// What /etc/subuid or /etc/subgid has for a name (subuid(5)): first id and how many.
fn subordinate(file: &str, name: &str) -> Result<Vec<(u32, u32)>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let ranges = entries(&text, name);
    match ranges.is_empty() {
        true => Err(CommandError::usage(format!("{file} has no ids for {name}"))
            .kind(Kind::Usage)
            .hint(format!("add a line such as {name}:100000:65536"))),
        false => Ok(ranges),
    }
}

fn entries(text: &str, name: &str) -> Vec<(u32, u32)> {
    let line = |line: &str| {
        let mut parts = line.trim().split(':');
        (parts.next()? == name).then_some(())?;
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok().filter(|count| *count > 0)?))
    };
    text.lines().filter_map(line).collect()
}

/// Where automatic ranges are chosen from: what is set apart for that in /etc/subuid, else ours.
fn pool(size: u32) -> Result<(u32, u32, u32)> {
    let text = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    let (first, last) = match entries(&text, POOL_OWNER).into_iter().max_by_key(|(_, count)| *count) {
        Some((first, count)) => (first, first.saturating_add(count - 1)),
        None => POOL,
    };
    match last - first >= size - 1 {
        true => Ok((size, first, last)),
        false => {
            Err(CommandError::usage(format!("{size} ids are more than there are for containers ({first} to {last})")))
        }
    }
}

/// `boottime=1d`: seconds, or with s, m, h or d behind.
fn offset(text: &str) -> Result<(String, i64)> {
    let bad = || {
        CommandError::usage(format!("--timens-offset {text} is not CLOCK=TIME"))
            .hint("as boottime=1d or monotonic=-3600; the clocks are boottime and monotonic")
    };
    let (clock, time) = text.split_once('=').ok_or_else(bad)?;
    let clock = Some(clock).filter(|clock| matches!(*clock, "boottime" | "monotonic")).ok_or_else(bad)?;
    let unit = match time.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3600,
        Some('m') => 60,
        _ => 1,
    };
    let number: i64 = time.trim_end_matches(['d', 'h', 'm', 's']).parse().map_err(|_| bad())?;
    Ok((clock.to_owned(), number.checked_mul(unit).ok_or_else(bad)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_files_and_offsets() {
        assert_eq!(range("--uidmap", "0:100000:65536").unwrap(), (0, 100_000, 65_536));
        assert_eq!(range("--uidmap", "5:7").unwrap(), (5, 7, 1));
        for bad in ["", "0", "0:1:2:3", "a:b:c", "-1:0:1"] {
            assert!(range("--uidmap", bad).is_err(), "{bad}");
        }
        let file = "# x\nme:100:10\nyou:500:5\nme:300:20\nme:1:0\n";
        assert_eq!(entries(file, "me"), [(100, 10), (300, 20)]);
        assert_eq!(stacked(&entries(file, "me")), [(0, 100, 10), (10, 300, 20)]);
        assert_eq!(offset("boottime=1d").unwrap(), ("boottime".into(), 86_400));
        assert_eq!(offset("monotonic=-2h").unwrap(), ("monotonic".into(), -7200));
        assert_eq!(offset("boottime=90").unwrap(), ("boottime".into(), 90));
        for bad in ["boottime", "realtime=1", "boottime=x", "boottime="] {
            assert!(offset(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_that_make_no_sense_are_refused() {
        let set = |change: &dyn Fn(&mut Options)| {
            let mut asked = Options::default();
            change(&mut asked);
            set(&asked, &mut SpecOptions::default()).map(drop)
        };
        let mode = |mode: &'static str| set(&|asked| asked.ids.userns = Some(mode.into()));
        for good in ["host", "auto", "auto:size=10", "keep-id", "private", "container:x", "ns:/x"] {
            mode(good).unwrap();
        }
        for bad in ["nomap", "ns:", "ns:x", "auto:size=0", "auto:size=x", "container:", "sideways"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
        assert!(set(&|asked| asked.ids.uidmap = vec!["1:1000:5".into()]).is_err(), "root is left out");
        assert!(set(&|asked| (asked.privileged, asked.ids.userns) = (true, Some("auto".into()))).is_err());
    }
}
