//! What a control file of one version is called, and says, in the other. Pure: files are read by a function that is handed in.

use super::control_file::field;
use super::v2::{cpu_weight, io_weight};

/// Reads a file of the container; `None` if there is none.
pub type Read<'a> = &'a dyn Fn(&str) -> Option<String>;
/// A value in the words of the file that was asked for.
type From = fn(Read<'_>) -> Option<String>;
/// What to write instead, or why it cannot be.
type To = fn(&str, Read<'_>) -> Result<Vec<(&'static str, String)>, String>;

/// The other version's counterpart of a file.
pub enum Other {
    /// It can be read and written there.
    Both(From, To),
    /// It can only be read there.
    Read(From),
    /// There is none, for this reason.
    None(&'static str),
}

/// A version 1 limit of memory as large as this is none.
const UNLIMITED: u64 = 1 << 62;

fn number(text: Option<String>) -> Option<u64> {
    text?.trim().parse().ok()
}

/// Version 2's `max` is version 1's -1.
fn to_one(text: Option<String>) -> Option<String> {
    text.map(|text| if text == "max" { "-1".to_owned() } else { text })
}

fn to_two(text: Option<String>) -> Option<String> {
    let text = text?;
    Some(if text.parse().is_ok_and(|limit: u64| limit >= UNLIMITED) || text == "-1" { "max".to_owned() } else { text })
}

fn max_for_minus(value: &str) -> String {
    if value == "-1" { "max".to_owned() } else { value.to_owned() }
}

fn minus_for_max(value: &str) -> String {
    if value == "max" { "-1".to_owned() } else { value.to_owned() }
}

fn whole(value: &str, what: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("`{value}` is no number of {what}"))
}

/// Quota and period of either version, in microseconds; `None` for no quota.
fn bandwidth(read: Read<'_>) -> Option<(Option<u64>, u64)> {
    if let Some(text) = read("cpu.max") {
        let (quota, period) = text.split_once(' ')?;
        return Some((quota.parse().ok(), period.parse().ok()?));
    }
    let quota = read("cpu.cfs_quota_us")?;
    Some((quota.parse().ok(), number(read("cpu.cfs_period_us"))?))
}

/// Shares that make the difference of this niceness: each step is a quarter.
fn nice_shares(nice: i32) -> u64 {
    (1024.0 * 1.25_f64.powi(-nice)).round().clamp(2.0, 262_144.0) as u64
}

fn nice_of_shares(shares: u64) -> i32 {
    let nice = -((shares.max(1) as f64) / 1024.0).log(1.25);
    (nice.round() as i32).clamp(-20, 19)
}

/// The counterpart of the file `name`; `None` for a name that neither version has.
#[allow(clippy::too_many_lines)]
pub fn other(name: &str) -> Option<Other> {
    use Other::{Both, None as Refused, Read as Only};
    Some(match name {
        // Version 1 by version 2's files.
        "tasks" => Only(|read| read("cgroup.procs")),
        "cpu.shares" => Both(
            |read| Some((number(read("cpu.weight"))? * 1024 / 100).to_string()),
            |value, _| Ok(vec![("cpu.weight", cpu_weight(whole(value, "shares")?).to_string())]),
        ),
        "cpu.cfs_quota_us" => Both(
            |read| bandwidth(read).map(|(quota, _)| quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string())),
            |value, _| Ok(vec![("cpu.max", max_for_minus(value))]),
        ),
        "cpu.cfs_period_us" => Both(
            |read| bandwidth(read).map(|(_, period)| period.to_string()),
            |value, read| {
                let quota = bandwidth(read).and_then(|(quota, _)| quota);
                let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
                Ok(vec![("cpu.max", format!("{quota} {}", whole(value, "microseconds")?))])
            },
        ),
        "cpu.rt_period_us" | "cpu.rt_runtime_us" => Refused("cgroup v2 does not limit real-time scheduling"),
        "cpuacct.usage" => Only(|read| Some((field(read("cpu.stat"), "usage_usec")? * 1000).to_string())),
        "cpuacct.stat" => Only(|read| {
            // In hundredths of a second.
            let part = |key| Some(field(read("cpu.stat"), key)? / 10_000);
            Some(format!("user {}\nsystem {}", part("user_usec")?, part("system_usec")?))
        }),
        "cpuacct.usage_percpu" | "cpuacct.usage_all" => Refused("cgroup v2 does not count by processor"),
        "memory.limit_in_bytes" => {
            Both(|read| to_one(read("memory.max")), |value, _| Ok(vec![("memory.max", max_for_minus(value))]))
        }
        "memory.soft_limit_in_bytes" => {
            Both(|read| to_one(read("memory.low")), |value, _| Ok(vec![("memory.low", max_for_minus(value))]))
        }
        "memory.memsw.limit_in_bytes" => Both(
            |read| match (read("memory.max")?.as_str(), read("memory.swap.max")?.as_str()) {
                ("max", _) | (_, "max") => Some("-1".to_owned()),
                (memory, swap) => Some((memory.parse::<u64>().ok()? + swap.parse::<u64>().ok()?).to_string()),
            },
            |value, read| {
                if value == "-1" {
                    return Ok(vec![("memory.swap.max", "max".to_owned())]);
                }
                let memory = number(read("memory.max")).ok_or("memory and swap together need a limit of memory")?;
                let sum = whole(value, "bytes")?;
                let swap = sum.checked_sub(memory).ok_or("memory and swap together are less than memory alone")?;
                Ok(vec![("memory.swap.max", swap.to_string())])
            },
        ),
        "memory.usage_in_bytes" => Only(|read| read("memory.current")),
        "memory.max_usage_in_bytes" => Only(|read| read("memory.peak")),
        "memory.failcnt" => Only(|read| field(read("memory.events"), "max").map(|count| count.to_string())),
        "memory.oom_control" => Only(|read| {
            let kills = field(read("memory.events"), "oom_kill")?;
            Some(format!("oom_kill_disable 0\nunder_oom 0\noom_kill {kills}"))
        }),
        "memory.swappiness" => Refused("cgroup v2 has no swappiness of a group"),
        "memory.kmem.usage_in_bytes" => {
            Only(|read| field(read("memory.stat"), "kernel").map(|bytes| bytes.to_string()))
        }
        "memory.kmem.tcp.usage_in_bytes" => {
            Only(|read| field(read("memory.stat"), "sock").map(|bytes| bytes.to_string()))
        }
        "memory.kmem.limit_in_bytes" | "memory.kmem.tcp.limit_in_bytes" => {
            Refused("cgroup v2 counts the kernel's memory in with all memory")
        }
        "blkio.weight" | "blkio.bfq.weight" => Both(
            |read| {
                let weight = read("io.bfq.weight").or_else(|| read("io.weight"))?;
                let weight = number(weight.strip_prefix("default ").map(str::to_owned))?;
                // io.weight's 1 to 10000 on the old 10 to 1000.
                Some(if read("io.bfq.weight").is_some() { weight } else { 10 + (weight - 1) * 990 / 9999 }.to_string())
            },
            |value, read| {
                let weight = u16::try_from(whole(value, "weight")?).map_err(|_| "weights go from 10 to 1000")?;
                Ok(match read("io.bfq.weight") {
                    Some(_) => vec![("io.bfq.weight", weight.to_string())],
                    None => vec![("io.weight", io_weight(weight).to_string())],
                })
            },
        ),
        "freezer.state" => Both(
            |read| {
                let frozen = field(read("cgroup.events"), "frozen")? == 1;
                let wanted = read("cgroup.freeze").is_some_and(|text| text == "1");
                Some(
                    if frozen {
                        "FROZEN"
                    } else if wanted {
                        "FREEZING"
                    } else {
                        "THAWED"
                    }
                    .to_owned(),
                )
            },
            |value, _| match value {
                "FROZEN" => Ok(vec![("cgroup.freeze", "1".to_owned())]),
                "THAWED" => Ok(vec![("cgroup.freeze", "0".to_owned())]),
                _ => Err(format!("`{value}` is neither FROZEN nor THAWED")),
            },
        ),
        "cgroup.clone_children" => Refused("cgroup v2 does not copy settings to new groups"),
        "devices.allow" | "devices.deny" | "devices.list" => {
            Refused("the rules are a program of the group; they are chosen by --device and --device-cgroup-rule")
        }
        "net_cls.classid" | "net_prio.ifpriomap" => {
            Refused("only cgroup v1 tags packets; nftables matches a group by `socket cgroupv2`")
        }
        // Version 2 by version 1's files.
        "cpu.weight" => Both(
            |read| Some(cpu_weight(number(read("cpu.shares"))?).to_string()),
            |value, _| Ok(vec![("cpu.shares", (whole(value, "weight")? * 1024 / 100).max(2).to_string())]),
        ),
        "cpu.weight.nice" => Both(
            |read| Some(nice_of_shares(number(read("cpu.shares"))?).to_string()),
            |value, _| {
                let nice = value.parse().ok().filter(|nice| (-20..=19).contains(nice));
                let nice = nice.ok_or_else(|| format!("`{value}` is no niceness; it goes from -20 to 19"))?;
                Ok(vec![("cpu.shares", nice_shares(nice).to_string())])
            },
        ),
        "cpu.max" => Both(
            |read| {
                let (quota, period) = bandwidth(read)?;
                Some(format!("{} {period}", quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string())))
            },
            |value, _| {
                let (quota, period) =
                    value.split_once(' ').map_or((value, None), |(quota, period)| (quota, Some(period)));
                let mut writes: Vec<(&'static str, String)> = Vec::new();
                writes.extend(period.map(|period| ("cpu.cfs_period_us", period.to_owned())));
                writes.push(("cpu.cfs_quota_us", minus_for_max(quota)));
                Ok(writes)
            },
        ),
        "memory.max" => Both(
            |read| to_two(read("memory.limit_in_bytes")),
            |value, _| Ok(vec![("memory.limit_in_bytes", minus_for_max(value))]),
        ),
        "memory.low" => Both(
            |read| to_two(read("memory.soft_limit_in_bytes")),
            |value, _| Ok(vec![("memory.soft_limit_in_bytes", minus_for_max(value))]),
        ),
        "memory.swap.max" => Both(
            |read| {
                let sum = number(read("memory.memsw.limit_in_bytes"))?;
                let swap = sum.checked_sub(number(read("memory.limit_in_bytes"))?)?;
                Some(if sum >= UNLIMITED { "max".to_owned() } else { swap.to_string() })
            },
            |value, read| {
                if value == "max" {
                    return Ok(vec![("memory.memsw.limit_in_bytes", "-1".to_owned())]);
                }
                let memory = number(read("memory.limit_in_bytes")).ok_or("a limit of swap needs one of memory")?;
                Ok(vec![("memory.memsw.limit_in_bytes", (memory + whole(value, "bytes")?).to_string())])
            },
        ),
        "memory.current" => Only(|read| read("memory.usage_in_bytes")),
        "memory.peak" => Only(|read| read("memory.max_usage_in_bytes")),
        "io.weight" => Only(|read| read("blkio.weight").or_else(|| read("blkio.bfq.weight"))),
        "cgroup.freeze" => Both(
            |read| Some(if read("freezer.state")? == "THAWED" { "0" } else { "1" }.to_owned()),
            |value, _| match value {
                "1" => Ok(vec![("freezer.state", "FROZEN".to_owned())]),
                "0" => Ok(vec![("freezer.state", "THAWED".to_owned())]),
                _ => Err(format!("`{value}` is neither 0 nor 1")),
            },
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(name: &str, files: &[(&str, &str)]) -> Option<String> {
        let read = |file: &str| files.iter().find(|(known, _)| *known == file).map(|(_, text)| (*text).to_owned());
        match other(name) {
            Some(Other::Both(from, _) | Other::Read(from)) => from(&read),
            _ => None,
        }
    }

    fn set(name: &str, value: &str, files: &[(&str, &str)]) -> Result<Vec<(&'static str, String)>, String> {
        let read = |file: &str| files.iter().find(|(known, _)| *known == file).map(|(_, text)| (*text).to_owned());
        match other(name) {
            Some(Other::Both(_, to)) => to(value, &read),
            _ => Err("cannot be set".to_owned()),
        }
    }

    #[test]
    fn values_of_one_version_read_as_the_other() {
        for (name, files, expected) in [
            ("cpu.shares", &[("cpu.weight", "50")][..], "512"),
            ("cpu.weight", &[("cpu.shares", "512")], "50"),
            ("cpu.cfs_quota_us", &[("cpu.max", "max 100000")], "-1"),
            ("cpu.cfs_period_us", &[("cpu.max", "5000 20000")], "20000"),
            ("cpu.max", &[("cpu.cfs_quota_us", "-1"), ("cpu.cfs_period_us", "100000")], "max 100000"),
            ("memory.limit_in_bytes", &[("memory.max", "max")], "-1"),
            ("memory.max", &[("memory.limit_in_bytes", "9223372036854771712")], "max"),
            ("memory.memsw.limit_in_bytes", &[("memory.max", "100"), ("memory.swap.max", "50")], "150"),
            ("memory.swap.max", &[("memory.memsw.limit_in_bytes", "150"), ("memory.limit_in_bytes", "100")], "50"),
            ("memory.failcnt", &[("memory.events", "low 0\nmax 7\noom_kill 1")], "7"),
            ("freezer.state", &[("cgroup.events", "populated 1\nfrozen 1")], "FROZEN"),
            ("cpuacct.usage", &[("cpu.stat", "usage_usec 12\nuser_usec 3")], "12000"),
            ("cpu.weight.nice", &[("cpu.shares", "1024")], "0"),
            ("blkio.weight", &[("io.weight", "default 100")], "19"),
        ] {
            assert_eq!(get(name, files).as_deref(), Some(expected), "{name} from {files:?}");
        }
    }

    #[test]
    fn what_is_set_is_written_in_the_words_of_the_other() {
        let one = |file, value: &str| Ok(vec![(file, value.to_owned())]);
        assert_eq!(set("cpu.shares", "512", &[]), one("cpu.weight", "50"));
        assert_eq!(set("cpu.weight", "50", &[]), one("cpu.shares", "512"));
        assert_eq!(set("cpu.cfs_period_us", "20000", &[("cpu.max", "5000 100000")]), one("cpu.max", "5000 20000"));
        assert_eq!(set("memory.max", "max", &[]), one("memory.limit_in_bytes", "-1"));
        assert_eq!(set("memory.memsw.limit_in_bytes", "150", &[("memory.max", "100")]), one("memory.swap.max", "50"));
        assert!(set("memory.memsw.limit_in_bytes", "50", &[("memory.max", "100")]).is_err());
        assert!(set("freezer.state", "ICE", &[]).is_err() && set("memory.current", "1", &[]).is_err());
    }

    #[test]
    fn a_niceness_comes_back() {
        for nice in -20..=19 {
            let shares = nice_shares(nice).to_string();
            assert_eq!(get("cpu.weight.nice", &[("cpu.shares", &shares)]).as_deref(), Some(nice.to_string().as_str()));
        }
        assert!(set("cpu.weight.nice", "20", &[]).is_err());
    }
}
