//! Sizes: `512m`, `1.5g`, `64KiB`, `1048576`.

use super::{Error, Result, billionths};

/// A size in bytes. Units are powers of 1024, in either case, with or without `b` or `ib`; no unit means bytes.
pub fn size(what: &'static str, text: &str) -> Result<u64> {
    let value = text.trim();
    let split = value.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(value.len());
    let (number, unit) = value.split_at(split);
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => {
            let hint = "write a number and a unit, as 512m or 1.5g (b, k, m, g, t, p)";
            return Err(Error::invalid(what, text, "not a size").with_hint(hint));
        }
    };
    let number = billionths(number).ok_or_else(|| {
        Error::invalid(what, text, "not a size").with_hint("write a number and a unit, as 512m or 1.5g")
    })?;
    number
        .checked_mul(1u128 << (10 * power))
        .and_then(|billionths| u64::try_from(billionths / 1_000_000_000).ok())
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or_else(|| Error::invalid(what, text, "larger than 8 EiB"))
}

/// The sum of memory and swap in bytes; -1 for no limit of swap.
pub fn memory_swap(text: &str) -> Result<i64> {
    if text.trim() == "-1" {
        return Ok(-1);
    }
    size("memory-swap", text).map(|bytes| bytes as i64)
}
