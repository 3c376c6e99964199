//! `-v` and `--tmpfs`: the short forms of mounts.

use super::mount::{self, BindRecursion, MountKind, MountRequest, Propagation, Relabel};
use super::{Error, Result, size, unknown};

/// Mount options that both forms pass on.
const FLAGS: [&str; 10] =
    ["exec", "noexec", "dev", "nodev", "suid", "nosuid", "atime", "noatime", "relatime", "strictatime"];

const VOLUME_OPTIONS: [&str; 22] = [
    "ro",
    "rw",
    "z",
    "Z",
    "U",
    "O",
    "copy",
    "nocopy",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "bind",
    "rbind",
    "idmap",
    "exec",
    "noexec",
    "nodev",
    "nosuid",
    "consistent",
];

/// `-v`: `[source:]target[:options]`. A source with a slash, `.` or `~` in front is a path of the host, else the name
/// of a volume; none is an anonymous volume.
pub fn volume(text: &str) -> Result<MountRequest> {
    const WHAT: &str = "volume";
    let error = |reason: String| Error::invalid(WHAT, text, reason);
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            let hint = "a path with a colon can be given with --mount type=bind,src=...,dst=...";
            return Err(error("it has more than three parts".to_owned()).with_hint(hint));
        }
    };
    if source == Some("") {
        return Err(error("its source is empty".to_owned()).with_hint("leave out the colon for an anonymous volume"));
    }
    if let (Some(source), false) = (source, target.starts_with('/'))
        && source.starts_with('/')
        && target.split(',').all(|word| VOLUME_OPTIONS.contains(&word))
    {
        let hint = format!("did you mean `{source}:{source}:{target}`?");
        return Err(error(format!("`{target}` is not a path in the container")).with_hint(hint));
    }
    mount::target(WHAT, text, target)?;
    let path = source.is_some_and(|source| source.starts_with(['/', '.', '~']));
    if let Some(source) = source.filter(|_| !path) {
        mount::volume_name(WHAT, text, source)?;
    }
    let mut request = MountRequest::new(if path { MountKind::Bind } else { MountKind::Volume }, source, target);
    let mut access = None;
    for option in options.split(',').filter(|_| !options.is_empty()) {
        match option {
            "ro" | "rw" => {
                if access.replace(option).is_some_and(|other| other != option) {
                    return Err(error("it is both ro and rw".to_owned()));
                }
                request.read_only = option == "ro";
            }
            "z" => request.relabel = Some(Relabel::Shared),
            "Z" => request.relabel = Some(Relabel::Private),
            "U" => request.chown = true,
            "O" => request.overlay = true,
            "nocopy" => request.no_copy = true,
            "copy" => request.no_copy = false,
            "bind" => request.recursion = BindRecursion::Disabled,
            "rbind" => request.recursion = BindRecursion::Enabled,
            "idmap" => request.idmap = Some(String::new()),
            // They only ever meant something to Docker Desktop.
            "consistent" | "cached" | "delegated" | "default" => {}
            _ if FLAGS.contains(&option) => request.options.push(option.to_owned()),
            _ => match (Propagation::parse(option), option.strip_prefix("idmap=")) {
                (Some(propagation), _) => request.propagation = Some(propagation),
                (_, Some(mapping)) => request.idmap = Some(mapping.to_owned()),
                _ => return Err(unknown(WHAT, text, option, &VOLUME_OPTIONS)),
            },
        }
    }
    if request.kind == MountKind::Volume && request.propagation.is_some() {
        return Err(error("propagation is for paths of the host, not for volumes".to_owned()));
    }
    if request.overlay && request.read_only {
        return Err(error("O (writes are thrown away) and ro exclude each other".to_owned()));
    }
    Ok(request)
}

/// `--tmpfs`: `target[:options]` with size=, mode=, uid=, gid=, nr_inodes=, huge=, ro and mount flags.
pub fn tmpfs(text: &str) -> Result<MountRequest> {
    const WHAT: &str = "tmpfs";
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    mount::target(WHAT, text, target)?;
    let mut request = MountRequest::new(MountKind::Tmpfs, None, target);
    for option in options.split(',').filter(|_| !options.is_empty()) {
        let (key, value) = match option.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (option, None),
        };
        let whole = |value: &str| {
            value.parse::<u32>().map_err(|_| Error::invalid(WHAT, text, format!("`{option}` does not give a number")))
        };
        match (key, value) {
            ("ro", None) => request.read_only = true,
            ("rw", None) => request.read_only = false,
            ("size", Some(value)) if value.ends_with('%') => {
                let share = value.trim_end_matches('%').parse::<u8>().ok().filter(|share| (1..=100).contains(share));
                share.ok_or_else(|| {
                    Error::invalid(WHAT, text, format!("`{value}` is not a share of memory like 50%"))
                })?;
                request.options.push(option.to_owned());
            }
            ("size", Some(value)) => request.tmpfs_size = Some(size(WHAT, value)?),
            ("mode", Some(value)) => request.tmpfs_mode = Some(mount::mode(text, value)?),
            ("uid" | "gid", Some(value)) => {
                whole(value)?;
                request.options.push(option.to_owned());
            }
            ("nr_inodes" | "nr_blocks", Some(value)) => {
                size(WHAT, value)?;
                request.options.push(option.to_owned());
            }
            ("huge", Some("never" | "always" | "within_size" | "advise")) | ("noswap", None) => {
                request.options.push(option.to_owned());
            }
            // Copying the image's files up is a wish of podman's users; saying no to it is always granted.
            ("notmpcopyup", None) => {}
            (flag, None) if FLAGS.contains(&flag) => request.options.push(option.to_owned()),
            (name, None) if Propagation::parse(name).is_some() => request.propagation = Propagation::parse(name),
            _ => {
                let known = [
                    "size",
                    "mode",
                    "uid",
                    "gid",
                    "nr_inodes",
                    "huge",
                    "ro",
                    "exec",
                    "noexec",
                    "dev",
                    "suid",
                    "noswap",
                ];
                return Err(unknown(WHAT, text, key, &known));
            }
        }
    }
    Ok(request)
}
