//! Tars made at random from a seed: trees of all entry types, in all forms that writers use, with what is legal and seldom:
//! base-256 numbers, PAX headers with and without need, global headers, long names by prefix, GNU and PAX, sparse files
//! in four forms, attributes with any bytes, parents that are missing or come late, members that come twice.

use crate::tar::{GID, Head, MAGIC, MAJOR, MINOR, MODE, MTIME, PREFIX, Tar, UID, base256, record};

/// Numbers that are the same each time (xorshift).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// How a member's facts are written down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Ustar,
    Gnu,
    Pax,
}

/// A tar whose members all lie below the directory `top`.
pub fn tar(chance: &mut Chance, top: &str) -> Vec<u8> {
    let form = [Form::Ustar, Form::Gnu, Form::Pax][chance.below(3)];
    let mut tar = Tar::new();
    if chance.one_in(10) {
        tar = tar.global(&[("comment", b"nothing")]);
    }
    if !chance.one_in(4) {
        tar = member(chance, tar, form, b'5', top.as_bytes(), b"", None);
    }
    let mut directories = vec![top.to_owned()];
    let mut files: Vec<Vec<u8>> = vec![];
    for number in 0..3 + chance.below(20) {
        let parent = directories[chance.below(directories.len())].clone();
        let path = [parent.as_bytes(), b"/", &name(chance, number)].concat();
        match chance.below(16) {
            0..=3 => {
                let path = format!("{parent}/dir{number}{}", "x".repeat(if chance.one_in(6) { 90 } else { 0 }));
                if !chance.one_in(5) {
                    tar = member(chance, tar, form, b'5', path.as_bytes(), b"", None);
                }
                directories.push(path);
            }
            4 => {
                let most = if chance.one_in(4) { 300 } else { 60 };
                let length = 1 + chance.below(most);
                let target: Vec<u8> = chance.bytes(length).into_iter().map(|byte| byte.max(1)).collect();
                tar = member(chance, tar, form, b'2', &path, &target, None);
            }
            5 if !files.is_empty() => {
                let target = files[chance.below(files.len())].clone();
                tar = member(chance, tar, form, b'1', &path, &target, None);
            }
            6 => tar = member(chance, tar, form, b'6', &path, b"", None),
            7 => {
                let kind = if chance.one_in(2) { b'3' } else { b'4' };
                tar = member(chance, tar, form, kind, &path, b"", None);
            }
            8 => tar = sparse(chance, tar, &path),
            _ => {
                let length = [0, 1, 511, 512, 513, 3000, 70_000][chance.below(7)];
                let data = chance.bytes(length);
                // A name that comes again is the later file; the earlier one has no other name then.
                let again = chance.one_in(12);
                if again {
                    tar = member(chance, tar, form, b'0', &path, b"", Some(b"first"));
                }
                let kind = [b'0', b'0', b'0', 0, b'7'][chance.below(5)];
                tar = member(chance, tar, form, kind, &path, b"", Some(&data));
                files.push(path);
            }
        }
    }
    if chance.one_in(6) {
        // A directory whose own entry comes behind what is in it.
        let late = directories[chance.below(directories.len())].clone();
        tar = member(chance, tar, form, b'5', late.as_bytes(), b"", None);
    }
    match chance.below(4) {
        0 => tar.0,
        1 => tar.raw([0; 512]).0,
        2 => tar.raw(vec![0; 10_240]).0,
        _ => tar.end(),
    }
}

/// A name of any bytes, one in the tar.
fn name(chance: &mut Chance, number: usize) -> Vec<u8> {
    let length = [0, 3, 8, 95, 140, 240][chance.below(6)];
    let mut name = format!("n{number}").into_bytes();
    let any = chance.one_in(3);
    name.extend((0..length).map(|_| {
        let byte = chance.below(255) as u8 + 1;
        if any && byte != b'/' { byte } else { b'a' + byte % 26 }
    }));
    name
}

/// Appends a member with owner, mode, time and attributes of chance.
fn member(
    chance: &mut Chance,
    mut tar: Tar,
    form: Form,
    kind: u8,
    path: &[u8],
    link: &[u8],
    data: Option<&[u8]>,
) -> Tar {
    let data = data.unwrap_or_default();
    let mut head = Head::new(kind, path).link(link);
    let mut pax = Vec::new();
    if form == Form::Gnu || (kind == 0 && chance.one_in(2)) {
        head = head.set(MAGIC, if form == Form::Gnu { &b"ustar  \0"[..] } else { b"ustar\x0000" });
    }
    // Names: as they are, split, or before the header.
    let slash = path.iter().rposition(|&byte| byte == b'/').filter(|at| *at <= 155 && path.len() - at - 1 <= 100);
    match (path.len() > 100 || (form == Form::Pax && chance.one_in(8)), slash, form) {
        (false, ..) => {}
        (true, Some(at), Form::Ustar) => head = head.set(0..100, &path[at + 1..]).set(PREFIX, &path[..at]),
        (true, _, Form::Pax) => pax.extend(record("path", path)),
        (true, ..) => tar = tar.long(b'L', path),
    }
    if link.len() > 100 {
        if form == Form::Pax { pax.extend(record("linkpath", link)) } else { tar = tar.long(b'K', link) }
    }
    // Where a parent is missing, GNU tar's mkdir would take over the bit from a directory above; a layer has none.
    let mode = chance.below(0o10000) & if kind == b'5' { 0o5777 } else { 0o7777 };
    head = head.set(MODE, format!("{mode:07o}"));
    for (field, key) in [(UID, "uid"), (GID, "gid")] {
        let id = [0, 1, 1000, 65_534, 2_097_151, 2_097_152, 3_000_000_000][chance.below(7)];
        if id <= 0o7_777_777 && !chance.one_in(6) {
            head = head.set(field, format!("{id:07o}"));
        } else if form == Form::Pax {
            pax.extend(record(key, id.to_string().as_bytes()));
        } else {
            head = head.set(field, base256(8, id));
        }
    }
    let time = [0, 1, 1_000_000_000, 1_700_000_000, 4_000_000_000, -86_400][chance.below(6)];
    if time >= 0 && !(form == Form::Pax && chance.one_in(2)) {
        head = head.set(MTIME, format!("{time:011o}"));
    } else if form == Form::Pax {
        let fraction = ["", ".5", ".123456789", ".000000001", ".25"][chance.below(5)];
        pax.extend(record("mtime", format!("{time}{fraction}").as_bytes()));
    } else {
        head = head.set(MTIME, base256(12, time));
    }
    if matches!(kind, b'3' | b'4') {
        let (major, minor) = (1 + chance.below(200), chance.below(200));
        head = head.set(MAJOR, format!("{major:07o}")).set(MINOR, format!("{minor:07o}"));
    }
    if form == Form::Pax && matches!(kind, b'0' | 0 | b'5' | b'7') && chance.one_in(3) {
        for number in 0..1 + chance.below(4) {
            let space = ["user", "trusted"][chance.below(2)];
            let length = chance.below(100) + 1;
            pax.extend(record(&format!("SCHILY.xattr.{space}.a{number}"), &chance.bytes(length)));
        }
    }
    if form == Form::Pax && chance.one_in(8) {
        // A size where there is need for none.
        pax.extend(record("size", data.len().to_string().as_bytes()));
    }
    if !pax.is_empty() {
        tar = tar.pax_raw(pax);
    }
    tar.sized(head, data)
}

/// A sparse file in one of four forms: blocks of data with holes between, before and behind them.
fn sparse(chance: &mut Chance, tar: Tar, path: &[u8]) -> Tar {
    let mut at = 0;
    let (mut parts, mut data) = (vec![], vec![]);
    for _ in 0..1 + chance.below(4) {
        at += 4096 * (chance.below(20) + 1);
        let length = 512 * (1 + chance.below(9));
        parts.push((at, length));
        data.extend(chance.bytes(length));
        at += length;
    }
    let size = at + chance.below(3) * 5000;
    // Where the file ends in a hole the map says so with a part of nothing, as GNU tar's does.
    if size > at {
        parts.push((size, 0));
    }
    let map = |between: &str| {
        parts.iter().map(|(at, length)| format!("{at}{between}{length}")).collect::<Vec<_>>().join(between)
    };
    let head = Head::new(b'0', "sparse");
    let sparse = |key: &str, value: String| record(&format!("GNU.sparse.{key}"), value.as_bytes());
    match chance.below(4) {
        0 if parts.len() <= 4 => {
            let mut head = Head::new(b'S', path).set(MAGIC, b"ustar  \0");
            for (index, (at, length)) in parts.iter().enumerate() {
                let field = 386 + index * 24;
                head = head.set(field..field + 12, format!("{at:011o}"));
                head = head.set(field + 12..field + 24, format!("{length:011o}"));
            }
            let tar = if path.len() > 100 { tar.long(b'L', path) } else { tar };
            tar.sized(head.set(483..495, format!("{size:011o}")), data)
        }
        0 | 1 => {
            let mut records = [record("path", path), sparse("size", size.to_string())].concat();
            records.extend(sparse("numblocks", parts.len().to_string()));
            for (at, length) in &parts {
                records.extend([sparse("offset", at.to_string()), sparse("numbytes", length.to_string())].concat());
            }
            tar.pax_raw(records).sized(head, data)
        }
        2 => {
            let mut records = [sparse("size", size.to_string()), sparse("numblocks", parts.len().to_string())].concat();
            records.extend(record("GNU.sparse.name", path));
            records.extend(sparse("map", map(",")));
            tar.pax_raw(records).sized(head, data)
        }
        _ => {
            let mut all = format!("{}\n{}\n", parts.len(), map("\n")).into_bytes();
            all.resize(all.len().next_multiple_of(512), 0);
            all.extend(data);
            let mut records = [sparse("major", "1".into()), sparse("minor", "0".into())].concat();
            records.extend([record("GNU.sparse.name", path), sparse("realsize", size.to_string())].concat());
            tar.pax_raw(records).sized(head, all)
        }
    }
}
