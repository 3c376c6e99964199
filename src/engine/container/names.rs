//! Names for containers that were given none: two words that can be said aloud.

use crate::error::Result;

const QUALITIES: [&str; 48] = [
    "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "clever", "cosy", "crisp", "curious",
    "dapper", "eager", "early", "fair", "fancy", "gentle", "glad", "golden", "happy", "honest", "humble", "jolly",
    "keen", "kind", "lively", "lucid", "lucky", "merry", "mild", "neat", "noble", "placid", "polite", "proud", "quick",
    "quiet", "rapid", "serene", "sharp", "silent", "snug", "spry", "sunny", "tidy", "vivid", "witty",
];

const THINGS: [&str; 48] = [
    "acorn", "anchor", "badger", "beacon", "birch", "breeze", "brook", "canyon", "cedar", "comet", "coral", "crane",
    "delta", "ember", "falcon", "fern", "fjord", "garnet", "glacier", "harbor", "heron", "iris", "juniper", "kestrel",
    "lagoon", "lantern", "larch", "linden", "marten", "meadow", "nebula", "osprey", "otter", "pebble", "pine",
    "plover", "quartz", "raven", "reef", "robin", "sable", "spruce", "summit", "swift", "thistle", "tundra", "willow",
    "zephyr",
];

/// A name made of random words; `attempt` above zero adds a number, for when many are taken.
///
/// # Errors
/// The kernel gives no random bytes.
pub fn generate(attempt: u32) -> Result<String> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(std::io::Error::from)?;
    let pick = |bytes: [u8; 2], words: &[&'static str]| words[usize::from(u16::from_le_bytes(bytes)) % words.len()];
    let name = format!("{}_{}", pick([random[0], random[1]], &QUALITIES), pick([random[2], random[3]], &THINGS));
    let number = u16::from_le_bytes([random[4], random[5]]) % 10_000;
    Ok(if attempt == 0 { name } else { format!("{name}{number}") })
}
