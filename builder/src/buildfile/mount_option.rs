//! The options of `RUN --mount` (Dockerfile reference, "RUN --mount"): which there are, which go together, and what
//! their values may be.

use super::diagnostic::did_you_mean;
use super::words;

/// What kind of mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory kept between builds.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret given from outside, as a file or a variable.
    Secret,
    /// The socket of an ssh agent given from outside.
    Ssh,
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
    /// `target`, as written; empty if a secret or an agent has none.
    pub target: String,
    /// `source` inside `from`; empty means its root.
    pub source: String,
    /// `from`: a stage or an image; none means the build context (bind) or nothing (cache).
    pub from: Option<String>,
    /// `id` of a cache, a secret or an agent.
    pub id: Option<String>,
    /// `sharing` of a cache.
    pub sharing: Sharing,
    /// Not writable. Binds are read-only unless `rw` is given.
    pub read_only: bool,
    /// `mode` of a cache directory, a secret or an agent's socket.
    pub mode: Option<u32>,
    /// `uid` of a cache directory, a secret or an agent's socket.
    pub uid: Option<u32>,
    /// `gid` of a cache directory, a secret or an agent's socket.
    pub gid: Option<u32>,
    /// `size` of a tmpfs, bytes.
    pub size: Option<u64>,
    /// `required` of a secret or an agent: the step fails without it.
    pub required: bool,
    /// `env` of a secret: the variable that has it.
    pub env: Option<String>,
}

impl MountOption {
    /// Reads the value of a `--mount` flag.
    ///
    /// # Errors
    /// A message for an unknown or misplaced option, a bad value, or a missing target.
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
            required: false,
            env: None,
        };
        let fields = words::comma_separated(text)?;
        let kind = fields.iter().find_map(|field| field.strip_prefix("type=")).unwrap_or("bind");
        mount.kind = match kind {
            "bind" => MountKind::Bind,
            "cache" => MountKind::Cache,
            "tmpfs" => MountKind::Tmpfs,
            "secret" => MountKind::Secret,
            "ssh" => MountKind::Ssh,
            other => {
                let near = did_you_mean(other, ["bind", "cache", "tmpfs", "secret", "ssh"]);
                let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                return Err(format!("unknown mount type {other:?}: it is bind, cache, tmpfs, secret or ssh{near}"));
            }
        };
        mount.read_only = matches!(mount.kind, MountKind::Bind | MountKind::Secret);
        for field in fields.iter().filter(|field| !field.starts_with("type=")) {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field.as_str(), None),
            };
            mount.set(&key.to_ascii_lowercase(), value)?;
        }
        if let Some(id) = &mount.id {
            check_id(id, mount.kind)?;
        }
        if mount.target.is_empty() {
            return match mount.kind {
                MountKind::Ssh => Ok(mount),
                MountKind::Secret if mount.id.is_some() => Ok(mount),
                MountKind::Secret => Err("a secret needs an id or a target".to_owned()),
                _ => Err(format!("a mount of type {kind} needs a target")),
            };
        }
        if mount.target.trim_matches(['/', '.']).is_empty() {
            return Err("the target of a mount cannot be the root directory".to_owned());
        }
        Ok(mount)
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), String> {
        use MountKind::{Bind, Cache, Secret, Ssh, Tmpfs};
        let allowed: &[MountKind] = match key {
            "target" | "dst" | "destination" => &[Bind, Cache, Tmpfs, Secret, Ssh],
            "source" | "src" => &[Bind, Cache, Secret],
            "from" | "readonly" | "ro" | "readwrite" | "rw" => &[Bind, Cache],
            "id" | "mode" | "uid" | "gid" => &[Cache, Secret, Ssh],
            "sharing" => &[Cache],
            "size" => &[Tmpfs],
            "required" => &[Secret, Ssh],
            "env" => &[Secret],
            _ => {
                let known = [
                    "target", "source", "from", "readonly", "rw", "id", "sharing", "mode", "uid", "gid", "size",
                    "required", "env", "type",
                ];
                let near = did_you_mean(key, known).map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                return Err(format!("unknown mount option {key:?}{near}"));
            }
        };
        if !allowed.contains(&self.kind) {
            return Err(format!("the mount option {key:?} does not fit this type"));
        }
        if matches!(key, "readonly" | "ro" | "readwrite" | "rw" | "required") {
            let on = match value.map(str::to_ascii_lowercase).as_deref() {
                None | Some("true" | "1") => true,
                Some("false" | "0") => false,
                Some(other) => return Err(format!("the mount option {key} is true or false, not {other:?}")),
            };
            match key {
                "required" => self.required = on,
                _ => self.read_only = on == matches!(key, "readonly" | "ro"),
            }
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
            // An old name for the id of a secret, and the winner of the two.
            "source" | "src" if self.kind == Secret => self.id = Some(value.to_owned()),
            "source" | "src" => self.source = value.to_owned(),
            "from" => self.from = Some(value.to_owned()),
            "id" if self.kind == Secret => {
                self.id.get_or_insert(value.to_owned());
            }
            "id" => self.id = Some(value.to_owned()),
            "env" => {
                let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if !value.chars().all(name) || value.starts_with(|c: char| c.is_ascii_digit()) {
                    return Err(format!("{value:?} cannot be the name of a variable"));
                }
                self.env = Some(value.to_owned());
            }
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

/// Whether an id is fit to be one: it is shown, and that of a secret ends in the name of a file.
fn check_id(id: &str, kind: MountKind) -> Result<(), String> {
    let bad = id.split('/').any(|part| part == "..") || id.chars().any(char::is_control);
    let nameless = kind != MountKind::Cache && (id.ends_with('/') || id.ends_with("/.") || id == ".");
    if bad || nameless { Err(format!("{id:?} cannot be an id")) } else { Ok(()) }
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
    fn secrets_and_agents() {
        let secret = MountOption::parse("type=secret,id=a/b,required,uid=5,mode=0440").unwrap();
        assert_eq!((secret.id.as_deref(), secret.required, secret.uid), (Some("a/b"), true, Some(5)));
        assert_eq!((secret.mode, &*secret.target, secret.env.as_deref()), (Some(0o440), "", None));
        let secret = MountOption::parse("type=secret,env=TOKEN,source=x,required=false").unwrap();
        assert_eq!((secret.id.as_deref(), secret.env.as_deref(), secret.required), (Some("x"), Some("TOKEN"), false));
        assert_eq!(MountOption::parse("type=secret,target=/x/y").unwrap().id, None);
        let agent = MountOption::parse("type=ssh").unwrap();
        assert_eq!((agent.kind, &*agent.target, agent.id), (MountKind::Ssh, "", None));
    }

    #[test]
    fn mount_mistakes_are_named() {
        for (text, part) in [
            ("type=bind", "needs a target"),
            ("type=cache,target=/", "root"),
            ("type=nope,target=/x", "unknown mount type"),
            ("type=secrt,id=x", "did you mean secret?"),
            ("type=secret", "needs an id or a target"),
            ("type=secret,id=../..", "cannot be an id"),
            ("type=cache,target=/x,id=../..", "cannot be an id"),
            ("type=ssh,id=a/", "cannot be an id"),
            ("type=secret,id=x,requird=true", "did you mean required?"),
            ("type=secret,id=x,required=maybe", "true or false"),
            ("type=secret,id=x,from=stage", "does not fit"),
            ("type=secret,id=x,env=A-B", "name of a variable"),
            ("type=secret,id=x,target=/", "root"),
            ("type=ssh,env=X", "does not fit"),
            ("type=ssh,source=/x", "does not fit"),
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
