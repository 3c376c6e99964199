//! How a directory's names are packed into blocks.
//!
//! Each block stands alone: an array of 12-byte entries (nid, offset of the name, type), then the names without
//! separators in the same order. The first entry's name offset tells the length of the array; a block's last name
//! ends at a NUL or the block's end. Names ascend bytewise through all blocks, `.` and `..` among them.

use super::format::{DIRENT_SIZE, get16, get64};

/// One name of a directory: what it points to and its type.
pub struct Dirent<'a> {
    pub name: &'a [u8],
    pub nid: u64,
    pub kind: u8,
}

/// Bytes that names of these lengths, in order, need: all full blocks and the used part of the last.
pub fn packed_size(lengths: impl Iterator<Item = usize>, block: usize) -> u64 {
    let mut full = 0_u64;
    let mut used = 0;
    for length in lengths {
        let need = DIRENT_SIZE + length;
        if used + need > block {
            full += 1;
            used = 0;
        }
        used += need;
    }
    full * block as u64 + used as u64
}

/// Appends the packed `names` to `out`; all blocks but the last are filled up with zeros.
pub fn pack(names: &[Dirent<'_>], block: usize, out: &mut Vec<u8>) {
    let mut rest = names;
    while !rest.is_empty() {
        let mut used = 0;
        let count = rest
            .iter()
            .take_while(|entry| {
                used += DIRENT_SIZE + entry.name.len();
                used <= block
            })
            .count();
        let (these, others) = rest.split_at(count);
        let start = out.len();
        let mut offset = count * DIRENT_SIZE;
        for entry in these {
            out.extend_from_slice(&entry.nid.to_le_bytes());
            out.extend_from_slice(&(offset as u16).to_le_bytes());
            out.extend_from_slice(&[entry.kind, 0]);
            offset += entry.name.len();
        }
        these.iter().for_each(|entry| out.extend_from_slice(entry.name));
        if !others.is_empty() {
            out.resize(start + block, 0);
        }
        rest = others;
    }
}

/// Reads one block (or the used part of the last one) and hands each name to `found`.
///
/// # Errors
/// What is wrong with the block, or what `found` says.
pub fn unpack<'a>(raw: &'a [u8], mut found: impl FnMut(Dirent<'a>) -> Result<(), String>) -> Result<(), String> {
    if raw.len() < DIRENT_SIZE {
        return Err("directory block too short".to_owned());
    }
    let names = usize::from(get16(raw, 8));
    if names == 0 || names % DIRENT_SIZE != 0 || names > raw.len() {
        return Err("directory block with a bad first name offset".to_owned());
    }
    let count = names / DIRENT_SIZE;
    let offset_of = |index: usize| usize::from(get16(raw, index * DIRENT_SIZE + 8));
    for index in 0..count {
        let start = offset_of(index);
        let end = if index + 1 < count { offset_of(index + 1) } else { raw.len() };
        let mut name = raw.get(start..end).ok_or("directory name out of its block")?;
        if index + 1 == count {
            name = &name[..name.iter().position(|&byte| byte == 0).unwrap_or(name.len())];
        }
        found(Dirent { name, nid: get64(raw, index * DIRENT_SIZE), kind: raw[index * DIRENT_SIZE + 10] })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_unpacks_over_many_blocks() {
        let names: Vec<Vec<u8>> =
            (0..500_usize).map(|n| format!("{n:05}{}", "x".repeat(n % 251)).into_bytes()).collect();
        let dirents: Vec<_> =
            names.iter().zip(7..).map(|(name, nid)| Dirent { name, nid, kind: (nid % 8) as u8 }).collect();
        let mut raw = Vec::new();
        pack(&dirents, 512, &mut raw);
        assert_eq!(raw.len() as u64, packed_size(names.iter().map(Vec::len), 512));
        let mut seen = Vec::new();
        for block in raw.chunks(512) {
            unpack(block, |entry| {
                seen.push((entry.name.to_vec(), entry.nid, entry.kind));
                Ok(())
            })
            .unwrap();
        }
        let expected: Vec<_> = dirents.iter().map(|entry| (entry.name.to_vec(), entry.nid, entry.kind)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn hostile_blocks_are_errors() {
        let mut raw = Vec::new();
        pack(&[Dirent { name: b"a", nid: 1, kind: 1 }, Dirent { name: b"b", nid: 2, kind: 1 }], 512, &mut raw);
        for index in 0..raw.len() {
            for value in [0, 1, 13, 0x7f, 0xff] {
                let mut bad = raw.clone();
                bad[index] = value;
                let _ = unpack(&bad, |_| Ok(()));
                let _ = unpack(&bad[..index], |_| Ok(()));
            }
        }
        assert!(unpack(&[0; 11], |_| Ok(())).is_err());
        assert!(unpack(&[0; 512], |_| Ok(())).is_err());
    }
}
