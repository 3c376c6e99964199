//! Sizes and times as people read them, in docker's forms: decimal units with at most four significant digits,
//! ages in words.

use jiff::Timestamp;

/// A size in bytes as docker prints it: `0B`, `7.8MB`, `1.23GB` (powers of 1000).
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    scaled(bytes, 1000.0, &UNITS, 3)
}

/// A size in bytes with binary units, as limits and memory are shown: `512MiB`.
#[must_use]
pub fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    scaled(bytes, 1024.0, &UNITS, 4)
}

fn scaled(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// `value` with at most `digits` significant digits and no trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole = (value.abs().max(1.0).log10().floor() as usize) + 1;
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// How long ago `then` was, in words: `3 hours ago`.
#[must_use]
pub fn ago(then: Timestamp) -> String {
    let seconds = Timestamp::now().as_second() - then.as_second();
    format!("{} ago", duration(seconds.max(0).unsigned_abs()))
}

/// A duration in words, one unit, as docker's listings have it.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..2_760 => format!("{minutes} minutes"),
        2_760..5_400 => "About an hour".into(),
        5_400..172_800 => format!("{} hours", (seconds + 1800) / 3600),
        _ if hours < 24 * 14 => format!("{days} days"),
        _ if days < 60 => format!("{} weeks", days / 7),
        _ if days < 730 => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_docker_prints_them() {
        for (bytes, text) in [(0, "0B"), (999, "999B"), (1000, "1kB"), (1_234_567, "1.23MB"), (77_800_000, "77.8MB")] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(binary_size(512 << 20), "512MiB");
    }

    #[test]
    fn durations_in_words() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (45, "45 seconds"),
            (90, "About a minute"),
            (7_200, "2 hours"),
            (86_400 * 3, "3 days"),
            (86_400 * 30, "4 weeks"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
