//! Capabilities: names, numbers, the default set, and putting sets on a process.
//!
//! The default is Docker's fourteen less NET_RAW. Raw sockets let one container forge the ARP and DNS answers of its
//! neighbours on a bridge, and what people use them for, ping, works without: the spec sets
//! `net.ipv4.ping_group_range` in the container's own network namespace (`spec::build`). Inheritable and ambient sets
//! stay empty (CVE-2022-24769) unless an OCI bundle asks for them. [`Sets`] is plain data, made by the parent; applying
//! it is a fixed row of system calls without allocation.

use std::collections::HashSet;

pub use oci_spec::runtime::Capability;
use oci_spec::runtime::{Capabilities, LinuxCapabilities, LinuxCapabilitiesBuilder};

use super::{Error, Result, sys};
use Capability::*;

/// All capabilities in the order of their numbers (linux/capability.h), as of kernel 5.9.
pub const ALL: [Capability; 41] = [
    Chown,
    DacOverride,
    DacReadSearch,
    Fowner,
    Fsetid,
    Kill,
    Setgid,
    Setuid,
    Setpcap,
    LinuxImmutable,
    NetBindService,
    NetBroadcast,
    NetAdmin,
    NetRaw,
    IpcLock,
    IpcOwner,
    SysModule,
    SysRawio,
    SysChroot,
    SysPtrace,
    SysPacct,
    SysAdmin,
    SysBoot,
    SysNice,
    SysResource,
    SysTime,
    SysTtyConfig,
    Mknod,
    Lease,
    AuditWrite,
    AuditControl,
    Setfcap,
    MacOverride,
    MacAdmin,
    Syslog,
    WakeAlarm,
    BlockSuspend,
    AuditRead,
    Perfmon,
    Bpf,
    CheckpointRestore,
];

/// What a container holds when nothing is said.
pub const DEFAULT: [Capability; 13] = [
    Chown,
    DacOverride,
    Fowner,
    Fsetid,
    Kill,
    Setgid,
    Setuid,
    Setpcap,
    NetBindService,
    SysChroot,
    Mknod,
    AuditWrite,
    Setfcap,
];

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The number the kernel knows a capability by.
pub fn number(capability: Capability) -> u32 {
    ALL.iter().position(|&known| known == capability).expect("ALL lists every variant of the enum; a test checks it")
        as u32
}

/// The name without `CAP_`, in capitals.
pub fn name(capability: Capability) -> &'static str {
    NAMES[number(capability) as usize]
}

/// All names with `CAP_`, in the order of their numbers.
pub fn names() -> Vec<String> {
    NAMES.iter().map(|name| format!("CAP_{name}")).collect()
}

/// A capability by its name: any case, with or without `CAP_`.
pub fn parse(text: &str) -> Result<Capability> {
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match NAMES.iter().position(|known| *known == bare) {
        Some(index) => Ok(ALL[index]),
        None => {
            let nearest = NAMES.iter().copied().min_by_key(|known| distance(known, bare));
            let near_enough = nearest.filter(|known| distance(known, bare) <= bare.len().div_ceil(3));
            Err(Error::UnknownCapability { name: text.to_owned(), nearest: near_enough })
        }
    }
}

/// The set that is left of `base` after `--cap-add` and `--cap-drop`, by Docker's rule: `ALL` added starts from all,
/// `ALL` dropped starts from none, then names are added and dropped; a name that is in both lists is dropped unless
/// `ALL` was.
pub fn adjust(base: &[Capability], add: &[String], drop: &[String]) -> Result<Capabilities> {
    let is_all = |text: &String| text.eq_ignore_ascii_case("all") || text.eq_ignore_ascii_case("cap_all");
    let names = |list: &[String]| -> Result<Vec<Capability>> {
        list.iter().filter(|text| !is_all(text)).map(|text| parse(text)).collect()
    };
    let (added, dropped) = (names(add)?, names(drop)?);
    let (add_all, drop_all) = (add.iter().any(is_all), drop.iter().any(is_all));
    let mut set: Capabilities = match (add_all, drop_all) {
        (true, _) => ALL.into_iter().collect(),
        (false, true) => HashSet::new(),
        (false, false) => base.iter().copied().collect(),
    };
    if !add_all || drop_all {
        set.extend(added.iter().copied());
    }
    for capability in dropped {
        if !(drop_all && !add_all && added.contains(&capability)) {
            set.remove(&capability);
        }
    }
    Ok(set)
}

/// The OCI form of one set: bounding, permitted and effective alike, inheritable and ambient empty.
pub fn to_oci(set: &Capabilities) -> LinuxCapabilities {
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .permitted(set.clone())
        .effective(set.clone())
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
        .expect("every field was given")
}

/// The five sets as bit masks; bit n is capability n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// What the process and its children can ever gain.
    pub bounding: u64,
    /// What it may use.
    pub permitted: u64,
    /// What it uses now.
    pub effective: u64,
    /// What survives an exec together with the file's inheritable set.
    pub inheritable: u64,
    /// What survives an exec of an ordinary file by a user other than root.
    pub ambient: u64,
}

impl Sets {
    /// The masks of an OCI process. A set that is not given is empty.
    pub fn from_oci(capabilities: &LinuxCapabilities) -> Self {
        let mask = |set: &Option<Capabilities>| {
            set.iter().flatten().fold(0u64, |bits, &capability| bits | 1 << number(capability))
        };
        Sets {
            bounding: mask(capabilities.bounding()),
            permitted: mask(capabilities.permitted()),
            effective: mask(capabilities.effective()),
            inheritable: mask(capabilities.inheritable()),
            ambient: mask(capabilities.ambient()),
        }
    }

    /// Drops from the bounding set all that is not in ours, those newer than this program included. Needs
    /// CAP_SETPCAP, so call it before the user is changed. Allocates nothing.
    pub fn apply_bounding(&self) -> Result<()> {
        for capability in 0..64 {
            match sys::bounding_has(capability) {
                Ok(true) if self.bounding & 1 << capability == 0 => sys::bounding_drop(capability)
                    .map_err(|source| Error::kernel("drop a capability from the bounding set", source))?,
                Ok(_) => {}
                // The kernel knows no more capabilities from here on.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
                Err(source) => return Err(Error::kernel("read the bounding set", source)),
            }
        }
        Ok(())
    }

    /// The same for a user other than root: without what the exec takes from such a user anyway. Kept until then it would
    /// decide about the exec itself, and let the user execute files that its modes forbid.
    #[must_use]
    pub fn of_ordinary_user(&self) -> Self {
        let permitted = self.permitted & self.ambient;
        Sets { permitted, effective: self.effective & permitted, ..*self }
    }

    /// Sets permitted, effective, inheritable and ambient. After a change of user it needs kept capabilities
    /// (`PR_SET_KEEPCAPS`). Allocates nothing.
    ///
    /// A capability this process does not hold itself (it runs inside another container) cannot be handed on: it is
    /// left out of permitted and effective, as the bounding set leaves it out anyway.
    pub fn apply_sets(&self) -> Result<()> {
        let (_, held, _) = sys::capget().map_err(|source| Error::kernel("read own capabilities", source))?;
        let permitted = self.permitted & held;
        sys::ambient_clear().map_err(|source| Error::kernel("clear the ambient set", source))?;
        sys::capset(self.effective & permitted, permitted, self.inheritable & held)
            .map_err(|source| Error::kernel("set capabilities", source))?;
        for capability in 0..64 {
            if self.ambient & self.inheritable & permitted & 1 << capability != 0 {
                sys::ambient_raise(capability)
                    .map_err(|source| Error::kernel("raise an ambient capability", source))?;
            }
        }
        Ok(())
    }
}

/// Both halves of [`Sets`] at once, for a process that keeps its user.
pub fn apply(capabilities: &LinuxCapabilities) -> Result<()> {
    let sets = Sets::from_oci(capabilities);
    sets.apply_bounding()?;
    sets.apply_sets()
}

/// Edit distance, for "did you mean". Inputs are short words.
pub(crate) fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn names_and_numbers_agree_with_the_types() {
        for (index, capability) in ALL.into_iter().enumerate() {
            assert_eq!(number(capability) as usize, index);
            assert_eq!(capability.to_string(), NAMES[index]);
            assert_eq!(parse(NAMES[index]).unwrap(), capability);
            assert_eq!(parse(&format!("cap_{}", NAMES[index].to_lowercase())).unwrap(), capability);
        }
        assert_eq!((number(NetRaw), number(SysAdmin), number(CheckpointRestore)), (13, 21, 40));
    }

    #[test]
    fn default_is_dockers_without_raw_sockets() {
        let mask = Sets::from_oci(&to_oci(&adjust(&DEFAULT, &[], &[]).unwrap())).bounding;
        assert_eq!(mask, 0xa804_25fb & !(1 << 13));
    }

    #[test]
    fn add_and_drop_follow_dockers_rule() {
        let set = |add: &[&str], drop: &[&str]| adjust(&DEFAULT, &strings(add), &strings(drop)).unwrap();
        assert!(set(&["NET_ADMIN"], &[]).contains(&NetAdmin));
        assert!(!set(&[], &["cap_mknod"]).contains(&Mknod));
        assert_eq!(set(&[], &["ALL"]).len(), 0);
        assert_eq!(set(&["CHOWN"], &["all"]), HashSet::from([Chown]));
        assert_eq!(set(&["ALL"], &[]).len(), 41);
        assert_eq!(set(&["ALL"], &["SYS_ADMIN"]).len(), 40);
        assert!(!set(&["CHOWN"], &["CHOWN"]).contains(&Chown));
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let error = parse("NET_ADMN").unwrap_err();
        assert_eq!(error.to_string(), "unknown capability `NET_ADMN`");
        assert_eq!(error.hint().unwrap(), "did you mean `NET_ADMIN`?");
        assert!(parse("frobnicate").unwrap_err().hint().unwrap().contains("capabilities(7)"));
    }

    #[test]
    fn applied_sets_are_what_the_kernel_shows() {
        if sys::capget().unwrap().1 & 1 << number(Setpcap) == 0 {
            eprintln!("SKIPPED applied_sets_are_what_the_kernel_shows: needs CAP_SETPCAP");
            return;
        }
        let status = sys::in_forked_child(|| {
            let wanted = to_oci(&HashSet::from([Chown, Kill]));
            if apply(&wanted).is_err() {
                return 1;
            }
            let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
            let expect = format!("{:016x}", 1u64 << number(Chown) | 1 << number(Kill));
            let empty = "0".repeat(16);
            let shown = [line("CapInh:"), line("CapPrm:"), line("CapEff:"), line("CapBnd:"), line("CapAmb:")];
            i32::from(shown != [empty.clone(), expect.clone(), expect.clone(), expect, empty]) * 2
        });
        assert_eq!(status, 0);
    }
}
