//! CPUs: a number of them, or a list.

use super::{Error, Result, billionths};

/// A number of CPUs, as `1.5`, in billionths of a CPU (Docker's "nano CPUs").
pub fn cpus(text: &str) -> Result<u64> {
    let error = |reason: &str| Error::invalid("number of CPUs", text, reason).with_hint("write for example 0.5 or 2");
    let nano = billionths(text.trim()).ok_or_else(|| error("not a decimal number"))?;
    match u64::try_from(nano) {
        Ok(nano) if nano < 10_000_000 => Err(error("the least is 0.01")),
        Ok(nano) if nano <= 100_000 * 1_000_000_000 => Ok(nano),
        _ => Err(error("more CPUs than any machine has")),
    }
}

/// A list of CPUs or memory nodes, as `0-3,7`: the numbers, sorted, each once. At most number 8191.
pub fn cpu_list(what: &'static str, text: &str) -> Result<Vec<u32>> {
    let error = |reason: String| Error::invalid(what, text, reason).with_hint("write numbers and ranges, as 0-3,7");
    let number = |part: &str| -> Result<u32> {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let value = part.parse::<u32>().ok().filter(|&value| digits && value < 8192);
        value.ok_or_else(|| error(format!("`{part}` is not a number from 0 to 8191")))
    };
    let mut all = std::collections::BTreeSet::new();
    for part in text.split(',').map(str::trim) {
        match part.split_once('-') {
            None => {
                all.insert(number(part)?);
            }
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(error(format!("the range `{part}` is backwards")));
                }
                all.extend(first..=last);
            }
        }
    }
    Ok(all.into_iter().collect())
}
