//! The small languages of the command line: sizes, ports, mounts, devices, limits, signals and the like.
//!
//! Each parser is a pure function from text to plain data, in Docker's grammar, and says what is wrong and what to
//! write instead. Nothing here looks at the machine: whether a path exists or a volume is known is asked later.

mod cpu;
mod detach_keys;
mod device;
mod duration;
mod environment;
mod fstab;
mod id_map;
mod mount;
mod network;
mod port;
mod restart;
mod security_option;
mod signal;
mod size;
mod ulimit;
mod volume;

pub use cpu::{cpu_list, cpus};
pub use detach_keys::detach_keys;
pub use device::{DeviceRequest, DeviceRule, device, device_rule, throttle, weight_device};
pub use duration::duration;
pub use environment::{environment, environment_file, key_value};
pub use fstab::fstab;
pub use id_map::{IdMap, IdRange, id_map};
pub use mount::{BindRecursion, MountKind, MountRequest, Propagation, Relabel, mount};
pub use network::{InterfaceRequest, NetworkChoice, NetworkRequest, network};
pub use port::{HostPort, PortMapping, Protocol, expose, port};
pub use restart::{RestartPolicy, restart};
pub use security_option::{SeccompChoice, SecurityOptions};
pub use signal::{signal, signal_name};
pub use size::{memory_swap, size};
pub use ulimit::{Ulimit, ulimit};
pub use volume::{tmpfs, volume};

use super::{Error, Result};

/// A yes or no, as Go's flag package reads it.
pub(crate) fn boolean(what: &'static str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(what, value, "expected `true` or `false`")),
    }
}

/// A decimal with at most nine places after the point, in billionths. Floats would round.
fn billionths(text: &str) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty())
        || whole.len() > 20
        || fraction.len() > 9
        || !digits(whole)
        || !digits(fraction)
    {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: u128 = format!("{fraction:0<9}").parse().ok()?;
    Some(whole * 1_000_000_000 + fraction)
}

/// The word of a list nearest to one that is not in it, if it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = crate::security::capabilities::distance;
    let best = known.iter().copied().min_by_key(|candidate| distance(candidate, word))?;
    (distance(best, word) <= word.len().div_ceil(3)).then_some(best)
}

/// An error for a word that is not in a list, with the nearest or the whole list as a hint.
pub(crate) fn unknown(what: &'static str, value: &str, part: &str, known: &[&str]) -> Error {
    let hint = match nearest(part, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    Error::invalid(what, value, format!("`{part}` is not known")).with_hint(hint)
}

#[cfg(test)]
mod tests;
