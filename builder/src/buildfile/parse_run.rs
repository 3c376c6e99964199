//! RUN: its command, documents and flags, and the options of `--mount`.

use super::diagnostic::{Diagnostic, did_you_mean};
use super::instruction::{Command, NetworkMode, Run};
use super::parser::Parser;
use super::words;

/// Parses the arguments of RUN.
pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Run, Box<Diagnostic>> {
    let mut mounts = Vec::new();
    for flag in parser.take_flags("mount") {
        let value = flag.value.unwrap_or_default();
        // Options with variables can only be judged once their values are known.
        if !value.contains('$') {
            MountOption::parse(&value).map_err(|message| parser.at(flag.start, flag.end, message))?;
        }
        mounts.push((value, parser.line.span(flag.start, flag.end)));
    }
    let network = match parser.take_value("network")? {
        None => NetworkMode::Default,
        Some((value, flag)) => match value.as_str() {
            "default" => NetworkMode::Default,
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            _ => {
                let message = format!("--network is default, none or host, not {value:?}");
                return Err(parser.at(flag.start, flag.end, message));
            }
        },
    };
    if let Some((value, flag)) = parser.take_value("security")?
        && value != "sandbox"
    {
        let message = match value.as_str() {
            "insecure" => "RUN --security=insecure is not supported yet".to_owned(),
            _ => format!("--security is sandbox or insecure, not {value:?}"),
        };
        return Err(parser.at(flag.start, flag.end, message));
    }
    if let Some(flag) = parser.take_flags("device").first() {
        return Err(parser.at(flag.start, flag.end, "RUN --device is not supported yet"));
    }
    parser.no_more_flags(&["mount", "network", "security"])?;
    let command = parser.command()?;
    let empty = match &command {
        Command::Shell(text) => text.is_empty(),
        Command::Exec(args) => args.is_empty(),
    };
    if empty {
        return Err(parser.about_arguments("RUN needs a command"));
    }
    Ok(Run { command, documents: parser.line.heredocs.clone(), mounts, network })
}

/// What kind of mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory kept between builds.
    Cache,
    /// Memory.
    Tmpfs,
}

/// How a cache mount is shared by steps that run at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Everybody writes the same directory.
    #[default]
    Shared,
    /// A step gets a directory of its own while another uses it.
    Private,
    /// A step waits until the other is done.
    Locked,
}

/// One `--mount` of a RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOption {
    /// `type`.
    pub kind: MountKind,
    /// `target`, as written.
    pub target: String,
    /// `source` inside `from`; empty means its root.
    pub source: String,
    /// `from`: a stage or an image; none means the build context (bind) or nothing (cache).
    pub from: Option<String>,
    /// `id` of a cache; its target if none is given.
    pub id: Option<String>,
    /// `sharing` of a cache.
    pub sharing: Sharing,
    /// Not writable. Binds are read-only unless `rw` is given.
    pub read_only: bool,
    /// `mode` of a cache directory.
    pub mode: Option<u32>,
    /// `uid` of a cache directory.
    pub uid: Option<u32>,
    /// `gid` of a cache directory.
    pub gid: Option<u32>,
    /// `size` of a tmpfs, bytes.
    pub size: Option<u64>,
}

impl MountOption {
    /// Reads the value of a `--mount` flag.
    ///
    /// # Errors
    /// A message for an unknown or misplaced option, a bad value, or a missing target. Secrets and agents are named
    /// as not supported yet.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut mount = Self {
            kind: MountKind::Bind,
            target: String::new(),
            source: String::new(),
            from: None,
            id: None,
            sharing: Sharing::Shared,
            read_only: true,
            mode: None,
            uid: None,
            gid: None,
            size: None,
        };
        let fields = words::comma_separated(text)?;
        let kind = fields.iter().find_map(|field| field.strip_prefix("type=")).unwrap_or("bind");
        mount.kind = match kind {
            "bind" => MountKind::Bind,
            "cache" => MountKind::Cache,
            "tmpfs" => MountKind::Tmpfs,
            "secret" | "ssh" => return Err(format!("RUN --mount=type={kind} is not supported yet")),
            other => return Err(format!("unknown mount type {other:?}: it is bind, cache, tmpfs, secret or ssh")),
        };
        mount.read_only = mount.kind == MountKind::Bind;
        for field in fields.iter().filter(|field| !field.starts_with("type=")) {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field.as_str(), None),
            };
            mount.set(&key.to_ascii_lowercase(), value)?;
        }
        if mount.target.is_empty() {
            return Err(format!("a mount of type {kind} needs a target"));
        }
        if mount.target.trim_matches(['/', '.']).is_empty() {
            return Err("the target of a mount cannot be the root directory".to_owned());
        }
        Ok(mount)
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        use MountKind::{Bind, Cache, Tmpfs};
        let allowed: &[MountKind] = match key {
            "target" | "dst" | "destination" => &[Bind, Cache, Tmpfs],
            "source" | "src" | "from" | "readonly" | "ro" | "readwrite" | "rw" => &[Bind, Cache],
            "id" | "sharing" | "mode" | "uid" | "gid" => &[Cache],
            "size" => &[Tmpfs],
            _ => {
                let known =
                    ["target", "source", "from", "readonly", "rw", "id", "sharing", "mode", "uid", "gid", "size"];
                let near = did_you_mean(key, known).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                return Err(format!("unknown mount option {key:?}{near}"));
            }
        };
        if !allowed.contains(&self.kind) {
            return Err(format!("the mount option {key:?} does not fit this type"));
        }
        if matches!(key, "readonly" | "ro" | "readwrite" | "rw") {
            let on = match value.map(str::to_ascii_lowercase).as_deref() {
                None | Some("true" | "1") => true,
                Some("false" | "0") => false,
                Some(other) => return Err(format!("the mount option {key} is true or false, not {other:?}")),
            };
            self.read_only = on == matches!(key, "readonly" | "ro");
            return Ok(());
        }
        let value = value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{key} needs a value"))?;
        let number = |radix| {
            u32::from_str_radix(value, radix).ok().filter(|&id| id != u32::MAX).ok_or_else(|| {
                format!("the mount option {key} is {} number, not {value:?}", if radix == 8 { "an octal" } else { "a" })
            })
        };
        match key {
            "target" | "dst" | "destination" => self.target = value.to_owned(),
            "source" | "src" => self.source = value.to_owned(),
            "from" => self.from = Some(value.to_owned()),
            "id" => self.id = Some(value.to_owned()),
            "mode" => {
                let mode = number(8)?;
                if mode > 0o7777 {
                    return Err(format!("the mode {value} is larger than 07777"));
                }
                self.mode = Some(mode);
            }
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            "size" => self.size = Some(size(value).ok_or_else(|| format!("{value:?} is not a size in bytes"))?),
            _ => {
                self.sharing = match value {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => return Err(format!("sharing is shared, private or locked, not {value:?}")),
                }
            }
        }
        Ok(())
    }
}

/// Bytes with an optional unit: `64m`, `1g`, `1048576`.
fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, shift) = match lower.char_indices().next_back()? {
        (at, 'k') => (&lower[..at], 10),
        (at, 'm') => (&lower[..at], 20),
        (at, 'g') => (&lower[..at], 30),
        (at, 't') => (&lower[..at], 40),
        _ => (lower, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_every_kind() {
        let bind = MountOption::parse("target=/src,source=a,from=stage").unwrap();
        assert_eq!((bind.kind, bind.read_only, bind.from.as_deref()), (MountKind::Bind, true, Some("stage")));
        assert!(!MountOption::parse("type=bind,dst=/x,rw").unwrap().read_only);
        assert!(MountOption::parse("type=bind,dst=/x,rw=false").unwrap().read_only);
        assert!(MountOption::parse("type=cache,dst=/x,readonly").unwrap().read_only);
        assert!(!MountOption::parse("type=cache,dst=/x,ro=false").unwrap().read_only);
        let cache = MountOption::parse("type=cache,target=/c,id=x,sharing=locked,mode=0700,uid=1,gid=2").unwrap();
        assert_eq!((cache.sharing, cache.mode, cache.uid, cache.gid), (Sharing::Locked, Some(0o700), Some(1), Some(2)));
        assert!(!cache.read_only);
        assert_eq!(MountOption::parse("type=tmpfs,target=/t,size=64m").unwrap().size, Some(64 << 20));
    }

    #[test]
    fn mount_mistakes_are_named() {
        for (text, part) in [
            ("type=bind", "needs a target"),
            ("type=cache,target=/", "root"),
            ("type=nope,target=/x", "unknown mount type"),
            ("type=secret,id=x", "not supported yet"),
            ("type=ssh", "not supported yet"),
            ("target=/x,sharing=locked", "does not fit"),
            ("type=cache,target=/x,shraing=locked", "did you mean sharing"),
            ("type=cache,target=/x,sharing=all", "shared, private or locked"),
            ("type=cache,target=/x,mode=9", "octal"),
            ("type=cache,target=/x,uid=4294967295", "number"),
            ("type=tmpfs,target=/x,size=-1", "size"),
            ("type=tmpfs,target", "needs a value"),
        ] {
            let error = MountOption::parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
