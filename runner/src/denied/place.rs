//! A stopped process as /proc shows it: its user, capabilities and limits, the files its calls name, and their mounts.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Stat};

use super::call::{self, Ended};
use super::ids::Ids;
use crate::inroot::Root;
use crate::running_ids::{Range, ranges};

/// The longest path read from a process.
const MAX_PATH: usize = 4096;

/// A process that stands still while it is looked at.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    status: String,
}

/// A mount of a process: where, of what type, with what options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Where, in the container.
    pub point: String,
    /// Options of the mount.
    pub options: String,
    /// The type of file system.
    pub kind: String,
    /// Options of the file system.
    pub super_options: String,
}

impl Process {
    /// Reads what /proc says of `pid`.
    pub fn new(pid: i32) -> Self {
        // A process that is just dying has nothing to say; then nothing is known of it.
        let status = crate::sys::read_small(format!("/proc/{pid}/status")).unwrap_or_default();
        Self { pid, status }
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// Its effective user, as its user namespace calls it.
    pub fn uid(&self) -> u32 {
        let outside = self.field("Uid").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
        Ids::of(self).and_then(|ids| ids.user(outside)).unwrap_or(outside)
    }

    /// `uid_map` or `gid_map`: first id inside, first id outside, how many.
    pub fn id_map(&self, name: &str) -> Vec<Range> {
        ranges(&crate::sys::read_small(format!("/proc/{}/{name}", self.pid)).unwrap_or_default())
    }

    /// Whether it has the capability of this number in effect.
    pub fn has(&self, capability: u32) -> bool {
        let set = self.field("CapEff").and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(u64::MAX);
        set >> capability & 1 == 1
    }

    /// Whether it is the first process of its pid namespace.
    pub fn is_init(&self) -> bool {
        self.field("NSpid").is_some_and(|pids| pids.split_whitespace().last() == Some("1"))
    }

    /// Whether no exec gains privileges.
    pub fn no_new_privs(&self) -> bool {
        self.field("NoNewPrivs") == Some("1")
    }

    /// The soft limit that this line of /proc/PID/limits begins with; `None` for unlimited.
    pub fn limit(&self, name: &str) -> Option<u64> {
        let text = crate::sys::read_small(format!("/proc/{}/limits", self.pid)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    }

    fn root(&self) -> Option<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(format!("/proc/{}/root", self.pid), flags, Mode::empty()).ok().map(Root::new)
    }

    /// The text at an address of its memory.
    fn text(&self, address: u64) -> Option<String> {
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.pid)).ok()?;
        let mut bytes = Vec::new();
        while bytes.len() < MAX_PATH {
            // Up to the end of the page: what comes after it may not be there.
            let at = address.checked_add(bytes.len() as u64)?;
            let mut piece = vec![0; (4096 - at % 4096) as usize];
            let count = memory.read_at(&mut piece, at).ok().filter(|count| *count > 0)?;
            match piece[..count].iter().position(|byte| *byte == 0) {
                Some(end) => {
                    bytes.extend(&piece[..end]);
                    return Some(String::from_utf8_lossy(&bytes).into_owned());
                }
                None => bytes.extend(&piece[..count]),
            }
        }
        None
    }

    /// The absolute path of the file that a call is about.
    pub fn object(&self, call: &Ended) -> Option<PathBuf> {
        let link = |name: &str| std::fs::read_link(format!("/proc/{}/{name}", self.pid)).ok();
        if let Some((path, directory)) = call::path(call.name) {
            let text = self.text(call.arguments[path])?;
            if text.starts_with('/') {
                return Some(normal(Path::new(&text)));
            }
            let from = directory.map(|index| call.arguments[index] as i32).filter(|fd| *fd >= 0);
            let base = from.map_or_else(|| link("cwd"), |fd| link(&format!("fd/{fd}")))?;
            return Some(normal(&base.join(text)));
        }
        let on_descriptor = call::is_on_descriptor(call.name);
        on_descriptor.then(|| link(&format!("fd/{}", call.arguments[0] as i32))).flatten()
    }

    /// Opens a file of the process, or the nearest directory above it that is there.
    pub fn open(&self, path: &Path) -> Option<OwnedFd> {
        let root = self.root()?;
        path.ancestors().find_map(|path| root.open(path, OFlags::PATH).ok())
    }

    /// What a file of the process is.
    pub fn stat(&self, path: &Path) -> Option<Stat> {
        rustix::fs::fstat(self.root()?.open(path, OFlags::PATH).ok()?).ok()
    }

    /// The mount that a file lies on.
    pub fn mount(&self, path: &Path) -> Option<Mount> {
        let id = crate::mount::id(self.open(path)?).ok()?;
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.pid)).ok()?;
        table.lines().find_map(|line| mount_of(line, id))
    }
}

/// A line of mountinfo if it is that of mount `id`.
fn mount_of(line: &str, id: u64) -> Option<Mount> {
    let fields: Vec<&str> = line.split(' ').collect();
    if *fields.first()? != id.to_string() {
        return None;
    }
    let rest = fields.iter().position(|field| *field == "-")?;
    let text = |at: usize| fields.get(at).map(|field| (*field).to_owned()).unwrap_or_default();
    Some(Mount { point: text(4), options: text(5), kind: text(rest + 1), super_options: text(rest + 3) })
}

/// The path without dots, as text alone says it.
fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    path.components().fold(PathBuf::from("/"), |mut path, part| {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_understood() {
        let process = Process::new(std::process::id() as i32);
        assert_eq!(process.uid(), rustix::process::geteuid().as_raw());
        let path = Path::new("/proc/self/status/none");
        assert_eq!(process.mount(path).map(|mount| mount.kind).as_deref(), Some("proc"));
        let text = c"hello";
        assert_eq!(process.text(text.as_ptr() as u64).as_deref(), Some("hello"));
        assert_eq!(process.text(8), None);
    }

    #[test]
    fn paths_and_mounts() {
        assert_eq!(normal(Path::new("/a/./b/../../../c")), Path::new("/c"));
        let line = "31 2 0:27 / /data ro,nodev - tmpfs tmpfs rw,size=64k";
        let mount = mount_of(line, 31).unwrap();
        assert_eq!((mount.point.as_str(), mount.kind.as_str()), ("/data", "tmpfs"));
        assert_eq!((mount.options.as_str(), mount.super_options.as_str()), ("ro,nodev", "rw,size=64k"));
        assert_eq!(mount_of(line, 3), None);
    }
}
