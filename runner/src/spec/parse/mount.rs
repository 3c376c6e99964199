//! `--mount`, and the one form that all kinds of mount flags come to.

use serde::{Deserialize, Serialize};

use super::{Error, Result, boolean, size, unknown};

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind,
    /// A volume, by name; without one an anonymous volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// Another image's files, read only.
    Image,
    /// A pseudo terminal file system of its own.
    Devpts,
    /// A file system in a file of the host, or on a block device.
    DiskImage,
    /// procfs; at /proc only.
    Proc,
    /// Layers that are handed in beside the spec; the source is their number. No flag of a command line makes one.
    Layers,
    /// A file in memory that is handed in beside the spec; the source is its number. No flag of a command line makes one.
    File,
}

/// Whether mounts made later on one side show up on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Neither way, this mount only.
    Private,
    /// Neither way, submounts too: the default.
    RPrivate,
    /// Both ways.
    Shared,
    /// Both ways, submounts too.
    RShared,
    /// From the host to the container.
    Slave,
    /// From the host to the container, submounts too.
    RSlave,
}

impl Propagation {
    const NAMES: [(&'static str, Propagation); 6] = [
        ("private", Propagation::Private),
        ("rprivate", Propagation::RPrivate),
        ("shared", Propagation::Shared),
        ("rshared", Propagation::RShared),
        ("slave", Propagation::Slave),
        ("rslave", Propagation::RSlave),
    ];

    /// From its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
    }

    /// The name, which is also the OCI mount option.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, value)| *value == self).map_or("rprivate", |(name, _)| name)
    }
}

/// Whether submounts of a bind mount come along, and read only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindRecursion {
    /// They come along, and are read only if the mount is: the default.
    #[default]
    Enabled,
    /// They stay behind.
    Disabled,
    /// They come along and stay writable, also if the mount is read only.
    Writable,
    /// They come along and must become read only, or the start fails.
    ReadOnly,
}

/// SELinux labels for the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relabel {
    /// `z`: containers share it.
    Shared,
    /// `Z`: this container's own.
    Private,
}

/// A mount as it was asked for. The engine turns volumes and images into bind mounts before a spec is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// What.
    pub kind: MountKind,
    /// A host path, a volume's name, an image; as written.
    pub source: Option<String>,
    /// Where in the container; absolute.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
    /// `None`: the default, rprivate.
    pub propagation: Option<Propagation>,
    /// For bind mounts.
    pub recursion: BindRecursion,
    /// Make the host directory if there is none (`-v` does, `--mount` does not).
    pub create_source: bool,
    /// Do not copy the image's files into a new volume.
    pub no_copy: bool,
    /// A path inside the source: of a volume, an image, a directory that stands for either.
    pub subpath: Option<String>,
    /// The driver for a new volume.
    pub volume_driver: Option<String>,
    /// Options for that driver.
    pub volume_options: Vec<(String, String)>,
    /// Labels for a new volume.
    pub volume_labels: Vec<(String, String)>,
    /// Size of a tmpfs in bytes.
    pub tmpfs_size: Option<u64>,
    /// Mode of a tmpfs.
    pub tmpfs_mode: Option<u32>,
    /// SELinux.
    pub relabel: Option<Relabel>,
    /// Give the content to the container's user (`U`).
    pub chown: bool,
    /// Map ids of the mount (`idmap`, with an optional mapping).
    pub idmap: Option<String>,
    /// Writes go to a layer that is thrown away (`O`).
    pub overlay: bool,
    /// Left out if its source is missing.
    #[serde(default)]
    pub optional: bool,
    /// Further mount options, as `noexec` or `uid=5`, already checked.
    pub options: Vec<String>,
}

impl MountRequest {
    /// A mount with nothing said but what and where.
    pub fn new(kind: MountKind, source: Option<&str>, target: &str) -> Self {
        MountRequest {
            kind,
            source: source.map(str::to_owned),
            target: target.to_owned(),
            read_only: kind == MountKind::Image,
            propagation: None,
            recursion: BindRecursion::default(),
            create_source: false,
            no_copy: false,
            subpath: None,
            volume_driver: None,
            volume_options: Vec::new(),
            volume_labels: Vec::new(),
            tmpfs_size: None,
            tmpfs_mode: None,
            relabel: None,
            chown: false,
            idmap: None,
            overlay: false,
            optional: false,
            options: Vec::new(),
        }
    }
}

pub(super) const WHAT: &str = "mount";

const KEYS: [&str; 30] = [
    "type",
    "source",
    "src",
    "target",
    "destination",
    "dst",
    "readonly",
    "ro",
    "rw",
    "consistency",
    "bind-propagation",
    "bind-recursive",
    "bind-nonrecursive",
    "bind-create-src",
    "volume-subpath",
    "volume-nocopy",
    "volume-driver",
    "volume-label",
    "volume-opt",
    "image-subpath",
    "subpath",
    "tmpfs-size",
    "tmpfs-mode",
    "relabel",
    "tmpfs-uid",
    "tmpfs-gid",
    "chown",
    "idmap",
    "overlay",
    "offset",
];

/// `--mount`: comma-separated `key=value` pairs; a field may be in double quotes to hold commas.
pub fn mount(text: &str) -> Result<MountRequest> {
    let error = |reason: String| Error::invalid(WHAT, text, reason);
    let mut request = MountRequest::new(MountKind::Volume, None, "");
    let mut seen: Vec<&str> = Vec::new();
    let mut read_only = None;
    let fields = fields(text)?;
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value)),
            None => (field.trim(), None),
        };
        // podman's other word for it.
        let lower = if key == "U" { "chown".to_owned() } else { key.to_ascii_lowercase() };
        let Some(&key) = KEYS.iter().find(|known| **known == lower) else {
            return Err(unknown(WHAT, text, key, &KEYS));
        };
        if seen.contains(&key) && !matches!(key, "volume-opt" | "volume-label") {
            return Err(error(format!("`{key}` is given twice")));
        }
        seen.push(key);
        let needed = || value.filter(|value| !value.is_empty()).ok_or_else(|| error(format!("`{key}` needs a value")));
        let flag = || value.map_or(Ok(true), |value| boolean(WHAT, value));
        let pair = || -> Result<(String, String)> {
            let (name, value) = needed()?.split_once('=').unwrap_or((needed()?, ""));
            Ok((name.to_owned(), value.to_owned()))
        };
        match key {
            "type" => request.kind = kind(text, needed()?)?,
            "source" | "src" => request.source = Some(needed()?.to_owned()),
            "target" | "destination" | "dst" => request.target = needed()?.to_owned(),
            "readonly" | "ro" => read_only = Some(flag()?),
            "rw" => read_only = Some(!flag()?),
            // It only ever meant something to Docker Desktop.
            "consistency" => drop(needed()?),
            "bind-propagation" => {
                let name = needed()?;
                let names: Vec<&str> = Propagation::NAMES.iter().map(|(name, _)| *name).collect();
                request.propagation = Some(Propagation::parse(name).ok_or_else(|| unknown(WHAT, text, name, &names))?);
            }
            "bind-recursive" => request.recursion = recursion(text, needed()?)?,
            "bind-nonrecursive" => {
                request.recursion = if flag()? { BindRecursion::Disabled } else { BindRecursion::Enabled };
            }
            "bind-create-src" => request.create_source = flag()?,
            "volume-subpath" | "image-subpath" | "subpath" => request.subpath = Some(relative(text, needed()?)?),
            "volume-nocopy" => request.no_copy = flag()?,
            "volume-driver" => request.volume_driver = Some(needed()?.to_owned()),
            "volume-label" => request.volume_labels.push(pair()?),
            "volume-opt" => request.volume_options.push(pair()?),
            "tmpfs-size" => request.tmpfs_size = Some(size(WHAT, needed()?)?),
            "tmpfs-mode" => request.tmpfs_mode = Some(mode(text, needed()?)?),
            "relabel" => {
                request.relabel = Some(match needed()? {
                    "shared" | "z" => Relabel::Shared,
                    "private" | "Z" => Relabel::Private,
                    other => return Err(unknown(WHAT, text, other, &["shared", "private"])),
                });
            }
            "chown" => request.chown = flag()?,
            "overlay" => request.overlay = flag()?,
            "tmpfs-uid" | "tmpfs-gid" | "offset" => {
                let value = needed()?;
                let number = if key == "offset" { size(WHAT, value)? } else { u64::from(id(text, value)?) };
                request.options.push(format!("{}={number}", key.trim_start_matches("tmpfs-")));
            }
            _ => request.idmap = Some(value.unwrap_or_default().to_owned()),
        }
    }
    request.read_only = read_only.unwrap_or(request.kind == MountKind::Image);
    check(text, &request, &seen)?;
    Ok(request)
}

fn check(text: &str, request: &MountRequest, seen: &[&str]) -> Result<()> {
    let error = |reason: String| Error::invalid(WHAT, text, reason);
    target(WHAT, text, &request.target)?;
    let (own, name): (&[&str], _) = match request.kind {
        MountKind::Bind => (
            &[
                "bind-propagation",
                "bind-recursive",
                "bind-nonrecursive",
                "bind-create-src",
                "relabel",
                "chown",
                "idmap",
                "overlay",
                "subpath",
            ],
            "bind",
        ),
        MountKind::Volume => (
            &[
                "volume-subpath",
                "subpath",
                "volume-nocopy",
                "volume-driver",
                "volume-label",
                "volume-opt",
                "relabel",
                "chown",
                "idmap",
                "overlay",
            ],
            "volume",
        ),
        MountKind::Tmpfs => (&["tmpfs-size", "tmpfs-mode", "tmpfs-uid", "tmpfs-gid"], "tmpfs"),
        MountKind::Image => (&["image-subpath", "subpath"], "image"),
        MountKind::Devpts => (&[], "devpts"),
        MountKind::DiskImage => (&["offset", "idmap", "overlay"], "image-file"),
        MountKind::Proc => (&[], "proc"),
        MountKind::Layers => (&[], "layers"),
        MountKind::File => (&[], "file"),
    };
    let common = ["type", "source", "src", "target", "destination", "dst", "readonly", "ro", "rw", "consistency"];
    if let Some(key) = seen.iter().find(|key| !common.contains(key) && !own.contains(key)) {
        return Err(error(format!("`{key}` does not go with type={name}")));
    }
    match (request.kind, &request.source) {
        (MountKind::Bind, None) => {
            Err(error("a bind mount needs a source".to_owned()).with_hint("add src=/path/on/the/host"))
        }
        (MountKind::Image, None) => Err(error("an image mount needs a source".to_owned()).with_hint("add src=IMAGE")),
        (MountKind::DiskImage, None) => {
            Err(error("an image file needs a source".to_owned()).with_hint("add src=disk.img"))
        }
        (MountKind::Proc, _) if request.target.trim_end_matches('/') != "/proc" => {
            Err(error("procfs can only be mounted at /proc, where what must be hidden is hidden".to_owned()))
        }
        (MountKind::Tmpfs | MountKind::Devpts | MountKind::Proc, Some(_)) => {
            Err(error(format!("type={name} takes no source")))
        }
        (MountKind::Volume, Some(source)) if source.starts_with(['/', '.', '~']) => {
            Err(error(format!("`{source}` is a path, not the name of a volume")).with_hint("add type=bind"))
        }
        (MountKind::Volume, Some(source)) => volume_name(WHAT, text, source),
        (MountKind::Volume, None) if request.subpath.is_some() => {
            Err(error("a path inside a volume needs the volume's name".to_owned()))
        }
        _ if request.recursion == BindRecursion::ReadOnly && !request.read_only => {
            Err(error("bind-recursive=readonly needs readonly".to_owned()))
        }
        _ if request.overlay && request.read_only => {
            Err(error("overlay (writes are thrown away) and readonly exclude each other".to_owned()))
        }
        _ => Ok(()),
    }
}

fn kind(text: &str, name: &str) -> Result<MountKind> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "image" => MountKind::Image,
        "devpts" => MountKind::Devpts,
        "image-file" => MountKind::DiskImage,
        "proc" => MountKind::Proc,
        _ => {
            let known = ["bind", "volume", "tmpfs", "image", "devpts", "image-file", "proc"];
            return Err(unknown(WHAT, text, name, &known));
        }
    })
}

fn recursion(text: &str, name: &str) -> Result<BindRecursion> {
    Ok(match name {
        "enabled" => BindRecursion::Enabled,
        "disabled" => BindRecursion::Disabled,
        "writable" => BindRecursion::Writable,
        "readonly" => BindRecursion::ReadOnly,
        _ => return Err(unknown(WHAT, text, name, &["enabled", "disabled", "writable", "readonly"])),
    })
}

fn id(text: &str, value: &str) -> Result<u32> {
    value.parse().map_err(|_| Error::invalid(WHAT, text, format!("`{value}` is not the number of a user or group")))
}

pub(super) fn mode(text: &str, value: &str) -> Result<u32> {
    let parsed = u32::from_str_radix(value, 8).ok().filter(|&mode| mode <= 0o7777);
    parsed.ok_or_else(|| Error::invalid(WHAT, text, format!("`{value}` is not a mode like 1777")))
}

/// A mount's place: absolute, not the root itself, without `..`.
pub(super) fn target(what: &'static str, text: &str, target: &str) -> Result<()> {
    let error = |reason: &str| Error::invalid(what, text, reason);
    if target.is_empty() {
        return Err(error("it says nowhere to mount").with_hint("add the path in the container"));
    }
    if !target.starts_with('/') {
        return Err(error(&format!("the path in the container, `{target}`, is not absolute")));
    }
    if target.split('/').any(|part| part == "..") {
        return Err(error("the path in the container leads upwards with `..`"));
    }
    if target.split('/').all(|part| matches!(part, "" | ".")) {
        return Err(
            error("the root of the container cannot be mounted over").with_hint("use --rootfs for another root")
        );
    }
    if target.contains('\0') {
        return Err(error("the path in the container holds a zero byte"));
    }
    Ok(())
}

fn relative(text: &str, path: &str) -> Result<String> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(Error::invalid(WHAT, text, format!("`{path}` does not lie inside")));
    }
    Ok(path.to_owned())
}

/// Docker's names for volumes: a letter or digit, then letters, digits, `_`, `.`, `-`.
pub(super) fn volume_name(what: &'static str, text: &str, name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.len() >= 2
        && name.len() <= 255
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if good {
        return Ok(());
    }
    let hint = if name.contains('/') {
        format!("for a directory of the host write `./{name}` or its full path")
    } else {
        "a name has two or more letters, digits, `_`, `.` or `-`, and begins with a letter or digit".to_owned()
    };
    Err(Error::invalid(what, text, format!("`{name}` is not the name of a volume")).with_hint(hint))
}

/// Splits at commas as CSV does: a field that begins with a double quote ends at the next single one, two of them stand
/// for one.
fn fields(text: &str) -> Result<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let Some((part, after)) = quoted.split_once('"') else {
                    return Err(Error::invalid(WHAT, text, "a quote is not closed"));
                };
                field.push_str(part);
                match after.strip_prefix('"') {
                    Some(after) => {
                        field.push('"');
                        quoted = after;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        if field.is_empty() {
            return Err(Error::invalid(WHAT, text, "a field is empty").with_hint("as type=bind,src=/a,dst=/b,ro"));
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(Error::invalid(WHAT, text, "something follows a closing quote")),
        }
    }
}
