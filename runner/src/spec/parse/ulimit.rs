//! Resource limits: `nofile=1024:4096`, `core=-1`, `host`.

use oci_spec::runtime::PosixRlimitType;

use super::{Error, Result, unknown};

/// One limit of setrlimit(2); `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Which.
    pub kind: PosixRlimitType,
    /// What counts now.
    pub soft: u64,
    /// Up to where the process may raise it.
    pub hard: u64,
}

const KINDS: [(&str, PosixRlimitType); 16] = [
    ("as", PosixRlimitType::RlimitAs),
    ("core", PosixRlimitType::RlimitCore),
    ("cpu", PosixRlimitType::RlimitCpu),
    ("data", PosixRlimitType::RlimitData),
    ("fsize", PosixRlimitType::RlimitFsize),
    ("locks", PosixRlimitType::RlimitLocks),
    ("memlock", PosixRlimitType::RlimitMemlock),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue),
    ("nice", PosixRlimitType::RlimitNice),
    ("nofile", PosixRlimitType::RlimitNofile),
    ("nproc", PosixRlimitType::RlimitNproc),
    ("rss", PosixRlimitType::RlimitRss),
    ("rtprio", PosixRlimitType::RlimitRtprio),
    ("rttime", PosixRlimitType::RlimitRttime),
    ("sigpending", PosixRlimitType::RlimitSigpending),
    ("stack", PosixRlimitType::RlimitStack),
];

/// `--ulimit`: `name=soft[:hard]`; -1 or `unlimited` is no limit. `host` (keep all of the host's) is `None`.
pub fn ulimit(text: &str) -> Result<Option<Ulimit>> {
    const WHAT: &str = "ulimit";
    if text == "host" {
        return Ok(None);
    }
    let error = |reason: String| {
        Error::invalid(WHAT, text, reason).with_hint("the form is name=soft[:hard], as nofile=1024:4096")
    };
    let (name, values) = text.split_once('=').ok_or_else(|| error("it has no value".to_owned()))?;
    let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    let lower = name.to_ascii_lowercase();
    let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == lower) else {
        return Err(unknown(WHAT, text, name, &names));
    };
    let number = |part: &str| match part {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => part.parse::<u64>().map_err(|_| error(format!("`{part}` is not a number"))),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(values)?, number(values)?),
    };
    if soft > hard {
        return Err(error("the soft limit is above the hard one".to_owned()));
    }
    Ok(Some(Ulimit { kind: *kind, soft, hard }))
}
