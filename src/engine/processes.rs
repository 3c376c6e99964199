//! Processes of this machine as /proc has them. One that ends while it is looked at is left out; nothing here runs
//! anything, least of all a program of an image.

use std::collections::HashMap;
use std::fs;

use jiff::Timestamp;

/// One process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its number on the host.
    pub pid: i32,
    /// Its number in each pid namespace it is in, the host's first.
    pub pids: Vec<i32>,
    /// Its parent on the host.
    pub parent: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// `S`, `R`, `D`, `Z`, `T`.
    pub state: char,
    /// The name the kernel has for it.
    pub name: String,
    /// Program and arguments, or the name in brackets.
    pub command: String,
    /// Device number of its terminal; 0 for none.
    pub terminal: u32,
    /// Processor time, in hundredths of a second.
    pub ticks: u64,
    /// When it was started, in hundredths of a second since boot.
    pub started: u64,
    /// Niceness.
    pub nice: i64,
    /// Priority.
    pub priority: i64,
    /// Threads.
    pub threads: u64,
    /// Virtual size, bytes.
    pub virtual_size: u64,
    /// Resident size, bytes.
    pub resident: u64,
    /// Lines of /proc/PID/status by key.
    pub status: HashMap<String, String>,
    /// Its cgroup2 group, or the first there is.
    pub cgroup: String,
}

/// Hundredths of a second: what the kernel shows times in, on every architecture (USER_HZ).
const TICKS: u64 = 100;

impl Process {
    /// The process of this number, if there is one.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        let file = |name: &str| {
            fs::read(format!("/proc/{pid}/{name}")).ok().map(|text| String::from_utf8_lossy(&text).into_owned())
        };
        let stat = file("stat")?;
        let (name, rest) = (stat.split_once('(')?.1.rsplit_once(')')?.0, stat.rsplit_once(')')?.1);
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let unsigned = |at: usize| u64::try_from(number(at)).unwrap_or(0);
        let status: HashMap<String, String> = file("status")?
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect();
        let arguments = file("cmdline").unwrap_or_default();
        let arguments = arguments.trim_end_matches('\0').replace('\0', " ");
        let groups = file("cgroup").unwrap_or_default();
        let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let first = groups.lines().find_map(|line| line.splitn(3, ':').nth(2));
        let pids = status.get("NSpid").map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect());
        let small = |at: usize| i32::try_from(number(at)).unwrap_or(0);
        Some(Self {
            pid,
            pids: pids.unwrap_or_else(|| vec![pid]),
            state: fields.first()?.chars().next()?,
            parent: small(1),
            group: small(2),
            session: small(3),
            terminal: u32::try_from(number(4)).unwrap_or(0),
            ticks: unsigned(11) + unsigned(12),
            priority: number(15),
            nice: number(16),
            threads: unsigned(17),
            started: unsigned(19),
            virtual_size: unsigned(20),
            resident: status.get("VmRSS").and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
                * 1024,
            command: if arguments.is_empty() { format!("[{name}]") } else { arguments },
            name: name.to_owned(),
            cgroup: unified.or(first).unwrap_or("/").to_owned(),
            status,
        })
    }

    /// The real (0), effective (1), saved (2) or file system (3) user.
    #[must_use]
    pub fn user(&self, which: usize) -> u32 {
        self.id("Uid", which)
    }

    /// The same for the group.
    #[must_use]
    pub fn group_id(&self, which: usize) -> u32 {
        self.id("Gid", which)
    }

    fn id(&self, key: &str, which: usize) -> u32 {
        let ids = self.status.get(key).map(String::as_str).unwrap_or_default();
        ids.split_whitespace().nth(which).and_then(|id| id.parse().ok()).unwrap_or(0)
    }

    /// How long it has been running, in seconds.
    #[must_use]
    pub fn elapsed(&self) -> u64 {
        uptime().saturating_sub(self.started / TICKS)
    }

    /// When it was started.
    #[must_use]
    pub fn start_time(&self) -> Timestamp {
        let elapsed = i64::try_from(self.elapsed()).unwrap_or(0);
        Timestamp::from_second(Timestamp::now().as_second() - elapsed).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Its processor time, in seconds.
    #[must_use]
    pub fn cpu_seconds(&self) -> u64 {
        self.ticks / TICKS
    }

    /// The part of one processor that it has used over its life, in hundredths.
    #[must_use]
    pub fn cpu_share(&self) -> f64 {
        match self.elapsed() {
            0 => 0.0,
            elapsed => self.ticks as f64 / elapsed as f64,
        }
    }

    /// Its terminal as `ps` names it; `?` for none.
    #[must_use]
    pub fn terminal_name(&self) -> String {
        let (major, minor) = ((self.terminal >> 8) & 0xfff, (self.terminal & 0xff) | ((self.terminal >> 12) & 0xfff00));
        match (self.terminal, major) {
            (0, _) => "?".into(),
            (_, 136..=143) => format!("pts/{}", minor + (major - 136) * 256),
            (_, 4) if minor < 64 => format!("tty{minor}"),
            (_, 4) => format!("ttyS{}", minor - 64),
            _ => format!("{major}:{minor}"),
        }
    }
}

/// Seconds since boot.
fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

/// The memory of this machine, in bytes.
#[must_use]
pub fn machine_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The names of ids in a file such as /etc/passwd or /etc/group.
#[must_use]
pub fn names_of_ids(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok())) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_a_process() {
        let own = Process::read(std::process::id() as i32).unwrap();
        assert!(own.pids.contains(&own.pid) && own.threads >= 1 && own.resident > 0 && own.elapsed() < 3600);
        assert_eq!(own.user(1), rustix::process::geteuid().as_raw());
        assert!(Process::read(i32::MAX).is_none());
    }

    #[test]
    fn terminals_have_names() {
        let name =
            |major: u32, minor: u32| Process { terminal: (major << 8) | minor, ..Process::default() }.terminal_name();
        assert_eq!((name(136, 3).as_str(), name(4, 1).as_str(), name(0, 0).as_str()), ("pts/3", "tty1", "?"));
    }

    #[test]
    fn names_are_looked_up_by_number() {
        let names = names_of_ids("root:x:0:0::/root:/bin/sh\nbroken\nweb:x:33:33::/:/bin/false\nadmin:x:0:0\n");
        assert_eq!((names[&0].as_str(), names[&33].as_str(), names.len()), ("root", "web", 2));
    }
}
