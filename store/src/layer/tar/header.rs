//! One 512-byte tar header block: ustar (POSIX.1-1988), GNU and old V7 forms, taken apart strictly.
//!
//! Sources: pax(1) of POSIX.1-2024 "ustar Interchange Format", GNU tar's manual "Basic Tar Format". Nothing here
//! decides what an entry means; it reads fields and refuses those that are no numbers.

use crate::error::{Error, Result};

/// Size of a tar block in bytes.
pub(crate) const BLOCK: usize = 512;

/// The bytes of a header block.
pub(crate) type Block = [u8; BLOCK];

/// Which fields a header has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header whose checksum is right.
pub(crate) struct Header<'a>(&'a Block);

impl<'a> Header<'a> {
    /// Checks the checksum, as sum of unsigned or of signed bytes.
    pub(crate) fn new(block: &'a Block) -> Result<Self> {
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (index, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        let stored = number(&block[148..156], "checksum")?;
        if stored != unsigned && stored != signed {
            return Err(Error::InvalidLayer("a tar header has a wrong checksum".to_owned()));
        }
        Ok(Self(block))
    }

    pub(crate) fn format(&self) -> Format {
        let block = self.0;
        match (&block[257..263], &block[263..265]) {
            (b"ustar\0", _) if block[508..512] == *b"tar\0" => Format::Star,
            (b"ustar\0", _) => Format::Ustar,
            (b"ustar ", b" \0") => Format::Gnu,
            _ => Format::V7,
        }
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[156]
    }

    /// The path from name and prefix.
    pub(crate) fn path(&self) -> Vec<u8> {
        let prefix = match self.format() {
            Format::Ustar => text(&self.0[345..500]),
            Format::Star => text(&self.0[345..476]),
            Format::V7 | Format::Gnu => &[],
        };
        let mut path = prefix.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(text(&self.0[..100]));
        path
    }

    pub(crate) fn link(&self) -> &'a [u8] {
        text(&self.0[157..257])
    }

    pub(crate) fn mode(&self) -> Result<u32> {
        // Some writers put the file type bits here too.
        Ok(u32::try_from(number(&self.0[100..108], "mode")? & 0o7777).unwrap_or(0))
    }

    pub(crate) fn uid(&self) -> Result<i64> {
        number(&self.0[108..116], "uid")
    }

    pub(crate) fn gid(&self) -> Result<i64> {
        number(&self.0[116..124], "gid")
    }

    pub(crate) fn size(&self) -> Result<u64> {
        let size = number(&self.0[124..136], "size")?;
        u64::try_from(size).map_err(|_| Error::InvalidLayer(format!("a tar header has the size {size}")))
    }

    pub(crate) fn mtime(&self) -> Result<i64> {
        number(&self.0[136..148], "mtime")
    }

    /// Device numbers; only the forms with `ustar` in them have such fields.
    pub(crate) fn device(&self) -> Result<(u32, u32)> {
        if self.format() == Format::V7 {
            return Err(Error::InvalidLayer("a device in a tar header without device numbers".to_owned()));
        }
        let part = |field: &[u8]| {
            let value = number(field, "device number")?;
            // 12 bits of major and 20 of minor are what the kernel's 32-bit form keeps (makedev(3)).
            u32::try_from(value).map_err(|_| Error::InvalidLayer(format!("a tar header has the device number {value}")))
        };
        let (major, minor) = (part(&self.0[329..337])?, part(&self.0[337..345])?);
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(Error::InvalidLayer(format!("device number {major}:{minor} is too large")));
        }
        Ok((major, minor))
    }
}

/// A text field: up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&byte| byte == 0).unwrap_or(field.len())]
}

/// A number field: octal text ended by NUL or space, or base-256 with the first bit set (GNU), which may be negative.
/// An empty field is 0.
pub(crate) fn number(field: &[u8], what: &str) -> Result<i64> {
    let invalid = || Error::InvalidLayer(format!("a tar header has the {what} {:?}", field.escape_ascii().to_string()));
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { i128::from(field[0].cast_signed()) } else { i128::from(field[0] & 0x3f) };
        let mut value = first;
        for &byte in &field[1..] {
            value = value << 8 | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| invalid());
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Err(invalid());
    }
    let mut value = 0_i64;
    for &digit in digits {
        if !(b'0'..=b'7').contains(&digit) {
            return Err(invalid());
        }
        value = value.checked_mul(8).and_then(|v| v.checked_add(i64::from(digit - b'0'))).ok_or_else(invalid)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_of_all_forms() {
        assert_eq!(number(b"0000644\0", "x").unwrap(), 0o644);
        assert_eq!(number(b"  644 \0 ", "x").unwrap(), 0o644);
        assert_eq!(number(b"77777777", "x").unwrap(), 0o7777_7777);
        assert_eq!(number(&[0; 8], "x").unwrap(), 0);
        assert_eq!(number(&[0x80, 0, 0, 2, 0, 0, 0, 0], "x").unwrap(), 1 << 33);
        assert_eq!(number(&[0xff; 12], "x").unwrap(), -1);
        let negative: Vec<u8> = [0xff; 4].into_iter().chain((-86_401_i64).to_be_bytes()).collect();
        assert_eq!(number(&negative, "x").unwrap(), -86_401);
        for bad in [&b"12a\0"[..], b"8\0", b"-1\0", b"1\x002", b"0x1"] {
            assert!(number(bad, "x").is_err(), "{bad:?}");
        }
        assert!(number(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "x").is_err());
    }
}
