//! The reproducible tar writer: the same entries give the same bytes, whoever writes them when.
//!
//! A member is a plain ustar header wherever that holds all there is to say, and is preceded by a PAX header
//! otherwise (POSIX.1-2024 pax(1)). User and group names are never written. Whiteouts get their `.wh.` names (OCI image
//! spec, layer.md); sparse files are written out with their holes as zeros.

use std::io::{self, Read, Write};

use super::header::{BLOCK, Block};
use crate::error::{Error, Result};
use crate::layer::{Entry, Extent, Kind, LayerPath, Time};

/// Writes a tar to `inner`.
pub struct Writer<W> {
    inner: W,
    position: u64,
}

impl<W: Write> Writer<W> {
    /// A writer at the beginning of an archive.
    pub fn new(inner: W) -> Self {
        Self { inner, position: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Writes one entry; `data` are the bytes of a regular file, exactly as many as its size. Implied directories are
    /// not written, except for their opaque mark. Returns where the data are.
    ///
    /// # Errors
    /// [`Error::InvalidLayer`] if `data` is longer or shorter than the entry's size, or is missing, [`Error::Read`].
    pub fn append(&mut self, entry: &Entry, data: Option<&mut dyn Read>) -> Result<Vec<Extent>> {
        match &entry.kind {
            Kind::Whiteout => {
                let path = marked(&entry.path, b".wh.")?;
                self.header(entry, b'0', &path, &[], 0)?;
            }
            Kind::Directory { opaque, implied } => {
                if !implied {
                    self.header(entry, b'5', &directory_path(&entry.path), &[], 0)?;
                }
                if *opaque {
                    let mark = Entry { mode: 0o644, xattrs: Vec::new(), ..entry.clone() };
                    let mut path = entry.path.as_bytes().to_vec();
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(b".wh..wh..opq");
                    self.header(&mark, b'0', &path, &[], 0)?;
                }
            }
            Kind::File { size, .. } => {
                self.header(entry, b'0', entry.path.as_bytes(), &[], *size)?;
                return self.data(&entry.path, *size, data);
            }
            Kind::HardLink { target } => {
                // What a hard link is, its target says; attributes here would only be read by mistake.
                let bare = Entry { xattrs: Vec::new(), ..entry.clone() };
                self.header(&bare, b'1', entry.path.as_bytes(), target.as_bytes(), 0)?;
            }
            Kind::Symlink { target } => self.header(entry, b'2', entry.path.as_bytes(), target, 0)?,
            Kind::CharDevice { .. } => self.header(entry, b'3', entry.path.as_bytes(), &[], 0)?,
            Kind::BlockDevice { .. } => self.header(entry, b'4', entry.path.as_bytes(), &[], 0)?,
            Kind::Fifo => self.header(entry, b'6', entry.path.as_bytes(), &[], 0)?,
        }
        Ok(Vec::new())
    }

    /// Writes the end of the archive and returns what was written to.
    ///
    /// # Errors
    /// [`Error::Read`] with the cause.
    pub fn finish(mut self) -> Result<W> {
        self.put(&[0; BLOCK * 2])?;
        self.inner.flush().map_err(write_error)?;
        Ok(self.inner)
    }

    fn data(&mut self, path: &LayerPath, size: u64, data: Option<&mut dyn Read>) -> Result<Vec<Extent>> {
        let wrong = |have: &str| Error::InvalidLayer(format!("{path}: {have} than the {size} bytes announced"));
        let extent = Extent { logical: 0, offset: self.position, length: size };
        let mut source: &mut dyn Read = &mut io::empty();
        if let Some(data) = data {
            source = data;
        }
        let copied = io::copy(&mut (&mut *source).take(size), &mut self.inner)
            .map_err(|source| Error::Read { what: format!("the data of {path}"), source })?;
        self.position += copied;
        if copied < size {
            return Err(wrong("fewer bytes"));
        }
        let more = (&mut *source).take(1).read(&mut [0]);
        if more.map_err(|source| Error::Read { what: format!("the data of {path}"), source })? != 0 {
            return Err(wrong("more bytes"));
        }
        self.pad(size)?;
        Ok(if size == 0 { vec![] } else { vec![extent] })
    }

    fn header(&mut self, entry: &Entry, kind: u8, path: &[u8], link: &[u8], size: u64) -> Result<()> {
        let mut block = [0; BLOCK];
        let mut pax = Records::default();
        if !put_path(&mut block, path) {
            pax.record(b"path", path);
            let start = path.len().saturating_sub(100);
            block[..path.len() - start].copy_from_slice(&path[start..]);
        }
        if link.len() > 100 {
            pax.record(b"linkpath", link);
        }
        let short = link.len().min(100);
        block[157..157 + short].copy_from_slice(&link[..short]);
        octal(&mut block[100..108], u64::from(entry.mode));
        for (range, key, value) in [
            (108..116, &b"uid"[..], u64::from(entry.uid)),
            (116..124, b"gid", u64::from(entry.gid)),
            (124..136, b"size", size),
        ] {
            if !octal(&mut block[range], value) {
                pax.record(key, value.to_string().as_bytes());
            }
        }
        let Time { seconds, nanoseconds } = entry.mtime;
        let fits = u64::try_from(seconds).is_ok_and(|seconds| octal(&mut block[136..148], seconds));
        if !fits || nanoseconds != 0 {
            if !fits {
                octal(&mut block[136..148], 0);
            }
            pax.record(b"mtime", pax_time(entry.mtime).as_bytes());
        }
        if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = entry.kind
            && !(octal(&mut block[329..337], u64::from(major)) && octal(&mut block[337..345], u64::from(minor)))
        {
            return Err(Error::InvalidLayer(format!("{}: device {major}:{minor} is too large", entry.path)));
        }
        for (name, value) in &entry.xattrs {
            pax.record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        if !pax.0.is_empty() {
            self.pax(&pax.0)?;
        }
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut block);
        self.put(&block)
    }

    fn pax(&mut self, records: &[u8]) -> Result<()> {
        let mut block = [0; BLOCK];
        block[..10].copy_from_slice(b"PaxHeaders");
        octal(&mut block[100..108], 0o644);
        octal(&mut block[108..116], 0);
        octal(&mut block[116..124], 0);
        if records.len() as u64 > super::pax::PAX_MAX || !octal(&mut block[124..136], records.len() as u64) {
            return Err(Error::Limit { what: "extended header of a tar".to_owned(), limit: "1 MiB".to_owned() });
        }
        octal(&mut block[136..148], 0);
        block[156] = b'x';
        block[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut block);
        self.put(&block)?;
        self.put(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, size: u64) -> Result<()> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.put(&[0; BLOCK][..usize::try_from(padding).unwrap_or(0)])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.write_all(bytes).map_err(write_error)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

fn write_error(source: io::Error) -> Error {
    source.downcast().unwrap_or_else(Error::io("write", "the tar"))
}

fn directory_path(path: &LayerPath) -> Vec<u8> {
    if path.is_root() { b"./".to_vec() } else { [path.as_bytes(), b"/"].concat() }
}

/// `path` with `prefix` before its last name.
fn marked(path: &LayerPath, prefix: &[u8]) -> Result<Vec<u8>> {
    let name = path.name().ok_or_else(|| Error::InvalidLayer("the root cannot be removed".to_owned()))?;
    let start = path.as_bytes().len() - name.len();
    Ok([&path.as_bytes()[..start], prefix, name].concat())
}

/// Puts `path` into name and prefix if it fits there as it is.
fn put_path(block: &mut Block, path: &[u8]) -> bool {
    // Readers take the text of a plain header as it is; only PAX says that it is UTF-8, so any bytes may be here.
    if path.len() <= 100 {
        block[..path.len()].copy_from_slice(path);
        return true;
    }
    let split = (0..path.len().min(156)).rev().find(|&at| path[at] == b'/' && at > 0 && at + 1 < path.len());
    match split {
        Some(at) if path.len() - at - 1 <= 100 => {
            block[345..345 + at].copy_from_slice(&path[..at]);
            block[..path.len() - at - 1].copy_from_slice(&path[at + 1..]);
            true
        }
        _ => false,
    }
}

/// Writes `value` as octal digits and a NUL; `false` if it does not fit, and then zeros.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let fits = value >> (3 * digits) == 0;
    let text = format!("{:0digits$o}", if fits { value } else { 0 });
    field[..digits].copy_from_slice(text.as_bytes());
    fits
}

fn seal(block: &mut Block) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    let text = format!("{sum:06o}\0 ");
    block[148..156].copy_from_slice(text.as_bytes());
}

fn pax_time(time: Time) -> String {
    let Time { seconds, nanoseconds } = time;
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    let (sign, whole, fraction) = if seconds < 0 {
        // -1.5 is two seconds before and half a second on.
        ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds)
    } else {
        ("", seconds.unsigned_abs(), nanoseconds)
    };
    format!("{sign}{whole}.{fraction:09}").trim_end_matches('0').to_owned()
}

/// The records of a PAX header.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    fn record(&mut self, key: &[u8], value: &[u8]) {
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        self.0.extend_from_slice(length.to_string().as_bytes());
        self.0.push(b' ');
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

#[cfg(test)]
mod tests;
