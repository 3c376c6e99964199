//! Durations in Go's form: `1h30m`, `10s`, `1.5s`, `100ms`.

use std::time::Duration;

use super::{Error, Result, billionths};

/// A duration; every number needs a unit (ns, us, ms, s, m, h), except `0`.
pub fn duration(what: &'static str, text: &str) -> Result<Duration> {
    let error = |reason: &str| Error::invalid(what, text, reason);
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(error("it is empty").with_hint("write for example 10s or 1h30m"));
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(split);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let factor: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(error("a number has no unit").with_hint(format!("did you mean `{}s`?", text.trim()))),
            _ => return Err(error(&format!("`{unit}` is not a unit")).with_hint("units are ns, us, ms, s, m and h")),
        };
        let number =
            billionths(number).ok_or_else(|| error("not a duration").with_hint("write for example 10s or 1h30m"))?;
        total = total.saturating_add(number.saturating_mul(factor) / 1_000_000_000);
        rest = after;
    }
    match u64::try_from(total) {
        Ok(nanoseconds) if nanoseconds <= i64::MAX as u64 => Ok(Duration::from_nanos(nanoseconds)),
        _ => Err(error("longer than 292 years")),
    }
}
