//! What an ELF file says about how it wants to be started: class, machine, loader, needed libraries.
//!
//! Pure and bounded: the file is read in pieces through [`Source`], every number in it is checked, and no more than a few
//! hundred entries are looked at whatever the file says. A file that lies gives [`Elf::damage`], never a panic and never much work.

/// What is read: a file, or bytes in a test.
pub trait Source {
    /// Fills `buffer` from `offset` as far as there is something; `None` if it cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize>;
}

impl Source for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let rest = self.get(usize::try_from(offset).ok()?..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Some(count)
    }
}

/// The most segments looked at.
const MAX_SEGMENTS: u16 = 128;
/// The most entries of the dynamic section looked at.
const MAX_DYNAMIC: u64 = 2048;
/// The most needed libraries kept.
const MAX_NEEDED: usize = 256;
/// The longest name (`PATH_MAX`).
const MAX_NAME: usize = 4096;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What an ELF file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elf {
    /// 64-bit, else 32-bit.
    pub wide: bool,
    /// The bytes of numbers are stored with the least one first.
    pub little: bool,
    /// `e_machine`.
    pub machine: u16,
    /// `e_type`: 1 object, 2 program, 3 shared object or position-independent program, 4 core.
    pub kind: u16,
    /// The dynamic loader it wants.
    pub interpreter: Option<String>,
    /// The shared libraries it needs by itself.
    pub needed: Vec<String>,
    /// Where it wants them looked for, colons between.
    pub search: Option<String>,
    /// What about the file cannot be.
    pub damage: Option<&'static str>,
}

/// Reads numbers of the file's own width and order.
struct Reader<'a, S: ?Sized> {
    source: &'a S,
    wide: bool,
    little: bool,
}

impl<S: Source + ?Sized> Reader<'_, S> {
    fn bytes(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; length];
        (self.source.read_at(offset, &mut buffer)? == length).then_some(buffer)
    }

    fn number(&self, bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
        let bytes = bytes.get(offset..offset.checked_add(length)?)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    }

    /// The text at `offset` up to its NUL.
    fn text(&self, offset: u64) -> Option<String> {
        let mut buffer = vec![0; MAX_NAME];
        let count = self.source.read_at(offset, &mut buffer)?;
        let end = buffer[..count].iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&buffer[..end]).into_owned())
    }
}

/// A segment: type, place in the file, address, length in the file.
#[derive(Clone, Copy)]
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    length: u64,
}

/// Reads an ELF file; `None` if it is none.
pub fn parse<S: Source + ?Sized>(source: &S) -> Option<Elf> {
    let mut head = [0u8; 64];
    let count = source.read_at(0, &mut head)?;
    if count < 20 || !head.starts_with(b"\x7fELF") {
        return None;
    }
    let reader = Reader { source, wide: head[4] == 2, little: head[5] == 1 };
    let mut elf = Elf { wide: reader.wide, little: reader.little, ..Elf::default() };
    elf.kind = reader.number(&head, 16, 2)? as u16;
    elf.machine = reader.number(&head, 18, 2)? as u16;
    if !matches!(head[4], 1 | 2) || !matches!(head[5], 1 | 2) {
        elf.damage = Some("its header is damaged");
    } else if count < if reader.wide { 64 } else { 52 } {
        elf.damage = Some("it ends within its header");
    } else {
        elf.damage = details(&reader, &head, &mut elf).err();
    }
    Some(elf)
}

/// Fills in what the segments say.
fn details<S: Source + ?Sized>(reader: &Reader<'_, S>, head: &[u8], elf: &mut Elf) -> Result<(), &'static str> {
    const HEADER: &str = "its header is damaged";
    let (table, size, number) = if reader.wide { (32, 54, 56) } else { (28, 42, 44) };
    let width = if reader.wide { 8 } else { 4 };
    let table = reader.number(head, table, width).ok_or(HEADER)?;
    let size = reader.number(head, size, 2).ok_or(HEADER)?;
    let number = reader.number(head, number, 2).ok_or(HEADER)? as u16;
    if matches!(elf.kind, 1 | 4) {
        return Ok(());
    }
    if number == 0 || size != if reader.wide { 56 } else { 32 } {
        return Err("it has no segments to load");
    }
    let mut segments = Vec::new();
    for index in 0..number.min(MAX_SEGMENTS) {
        let at = table.checked_add(u64::from(index) * size).ok_or(HEADER)?;
        segments.push(segment(reader, at).ok_or("it ends before its last segment")?);
    }
    if let Some(found) = segments.iter().find(|segment| segment.kind == PT_INTERP) {
        let name = reader.text(found.offset).filter(|name| !name.is_empty());
        elf.interpreter = Some(name.ok_or("the name of its loader is damaged")?);
    }
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else { return Ok(()) };
    let entry = 2 * width as u64;
    let (mut names, mut needed, mut search) = (None, Vec::new(), None);
    for index in 0..(dynamic.length / entry).min(MAX_DYNAMIC) {
        let bytes = dynamic.offset.checked_add(index * entry).and_then(|at| reader.bytes(at, entry as usize));
        let bytes = bytes.ok_or("it ends within its dynamic section")?;
        let tag = reader.number(&bytes, 0, width).ok_or(HEADER)?;
        let value = reader.number(&bytes, width, width).ok_or(HEADER)?;
        match tag {
            0 => break,
            DT_NEEDED if needed.len() < MAX_NEEDED => needed.push(value),
            DT_STRTAB => names = Some(value),
            DT_RUNPATH => search = Some(value),
            // The older form counts only where the newer is absent.
            DT_RPATH if search.is_none() => search = Some(value),
            _ => {}
        }
    }
    // The table of names is given by its address in memory.
    let place = |address: u64| {
        let inside = |segment: &&Segment| {
            segment.kind == PT_LOAD && address.checked_sub(segment.address).is_some_and(|by| by < segment.length)
        };
        segments.iter().find(inside).and_then(|segment| segment.offset.checked_add(address - segment.address))
    };
    let Some(names) = names.and_then(place) else { return Ok(()) };
    let name = |offset: u64| names.checked_add(offset).and_then(|at| reader.text(at));
    elf.needed = needed.into_iter().filter_map(name).filter(|name| !name.is_empty()).collect();
    elf.search = search.and_then(name);
    Ok(())
}

fn segment<S: Source + ?Sized>(reader: &Reader<'_, S>, at: u64) -> Option<Segment> {
    let bytes = reader.bytes(at, if reader.wide { 56 } else { 32 })?;
    let width = if reader.wide { 8 } else { 4 };
    let (offset, address, length) = if reader.wide { (8, 16, 32) } else { (4, 8, 16) };
    Some(Segment {
        kind: reader.number(&bytes, 0, 4)?,
        offset: reader.number(&bytes, offset, width)?,
        address: reader.number(&bytes, address, width)?,
        length: reader.number(&bytes, length, width)?,
    })
}

impl Elf {
    /// The architecture as image configurations name it, or the number that it has in ELF.
    pub fn architecture(&self) -> String {
        let name = match (self.machine, self.wide, self.little) {
            (62, true, _) => "amd64",
            (62, false, _) => "amd64 with 32-bit addresses (x32)",
            (3 | 6, ..) => "386",
            (183, ..) => "arm64",
            (40, ..) => "arm",
            (243, true, _) => "riscv64",
            (243, false, _) => "riscv32",
            (21, _, true) => "ppc64le",
            (21, _, false) => "ppc64",
            (20, ..) => "ppc",
            (22, true, _) => "s390x",
            (22, false, _) => "s390",
            (8, true, true) => "mips64le",
            (8, true, false) => "mips64",
            (8, false, true) => "mipsle",
            (8, false, false) => "mips",
            (258, ..) => "loong64",
            (247, ..) => "BPF",
            (2 | 43, ..) => "sparc",
            (number, ..) => return format!("ELF machine {number}"),
        };
        name.to_owned()
    }
}

/// The architecture this program was compiled for, by the same names.
pub fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        other => other,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A small 64-bit program with a loader, needed libraries and a search path.
    pub fn program(machine: u16, interpreter: &str, needed: &[&str], search: Option<&str>) -> Vec<u8> {
        let mut names = vec![0u8];
        let mut name = |text: &str| {
            let at = names.len() as u64;
            names.extend(text.as_bytes());
            names.push(0);
            at
        };
        let mut dynamic: Vec<(u64, u64)> = needed.iter().map(|text| (DT_NEEDED, name(text))).collect();
        dynamic.extend(search.map(|text| (DT_RUNPATH, name(text))));
        let loader = name(interpreter);
        let start = 64 + 3 * 56;
        let length = 16 * (dynamic.len() as u64 + 2);
        dynamic.extend([(DT_STRTAB, 0x40_0000 + start + length), (0, 0)]);
        let total = start + length + names.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        let mut put = |value: u64, width: usize| file.extend(&value.to_le_bytes()[..width]);
        for (value, width) in
            [(3, 2), (u64::from(machine), 2), (1, 4), (0x40_0000, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (3, 2)]
        {
            put(value, width);
        }
        for _ in 0..3 {
            put(0, 2);
        }
        for (kind, offset, size) in [
            (PT_INTERP, start + length + loader, interpreter.len() as u64 + 1),
            (PT_LOAD, 0, total),
            (PT_DYNAMIC, start, length),
        ] {
            put(kind, 4);
            put(5, 4);
            for value in [offset, 0x40_0000 + offset, 0x40_0000 + offset, size, size, 0x1000] {
                put(value, 8);
            }
        }
        for (tag, value) in dynamic {
            put(tag, 8);
            put(value, 8);
        }
        file.extend(names);
        file
    }

    #[test]
    fn a_program_says_what_it_wants() {
        let file = program(62, "/lib/ld-musl-x86_64.so.1", &["libz.so.1", "libc.so"], Some("$ORIGIN/lib:/opt"));
        let elf = parse(file.as_slice()).unwrap();
        assert_eq!(elf.interpreter.as_deref(), Some("/lib/ld-musl-x86_64.so.1"));
        assert_eq!(elf.needed, ["libz.so.1", "libc.so"]);
        assert_eq!((elf.search.as_deref(), elf.damage), (Some("$ORIGIN/lib:/opt"), None));
        assert_eq!(elf.architecture(), "amd64");
        assert_eq!(parse(program(183, "/l", &[], None).as_slice()).unwrap().architecture(), "arm64");
        let cut = parse(&file[..100]).unwrap();
        assert_eq!(cut.damage, Some("it ends before its last segment"));
        assert_eq!(parse(&file[..40]).unwrap().damage, Some("it ends within its header"));
        assert!(parse(b"#!/bin/sh\n".as_slice()).is_none());
    }

    #[test]
    fn the_running_program_is_understood() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let elf = parse(bytes.as_slice()).unwrap();
        assert_eq!((elf.architecture().as_str(), elf.damage), (own_architecture(), None));
    }

    proptest! {
        #[test]
        fn nothing_in_a_file_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut file = b"\x7fELF".to_vec();
            file.extend(bytes);
            let elf = parse(file.as_slice());
            prop_assert!(elf.is_none_or(|elf| elf.needed.len() <= MAX_NEEDED));
        }

        #[test]
        fn nor_does_a_change_anywhere_in_a_good_one(at in 0usize..400, value in any::<u8>(), wide in any::<bool>()) {
            let mut file = program(62, "/lib/ld.so", &["liba.so", "libb.so"], Some("/opt"));
            let at = at % file.len();
            file[at] = value;
            if wide {
                file[4] = 1;
            }
            let elf = parse(file.as_slice());
            prop_assert!(elf.is_none_or(|elf| elf.needed.iter().all(|name| name.len() <= MAX_NAME)));
        }
    }
}
