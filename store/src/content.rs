//! Blobs: bytes filed under their digest, `blobs/sha256/<hex>`.
//!
//! A blob is visible only after size and digest were verified and its bytes are synced. Downloads go through an
//! [`Ingest`], a partial file under `ingest/` locked by its writer: one that was killed leaves a prefix, and the next
//! writer continues behind it. It is not hashed as it grows: whoever reads it through [`Ingest::tee`] hashes what he gets,
//! and a commit reads it back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Store;
use crate::digest::{Digest, Digester, VerifiedReader};
use crate::error::{Error, Result};
use crate::files::{self, Durability};
use crate::lock::{self, LockMode};

/// The blobs of a store.
#[derive(Clone, Copy, Debug)]
pub struct Blobs<'a> {
    store: &'a Store,
}

impl<'a> Blobs<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    fn directory(&self) -> PathBuf {
        self.store.root().join("blobs/sha256")
    }

    /// Where the blob is or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.directory().join(digest.hex())
    }

    /// Whether the blob is here.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Size of the blob in bytes; `None` if it is not here.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        Ok(files::optional(fs::metadata(&path).map_err(Error::io("stat", &path)))?.map(|metadata| metadata.len()))
    }

    /// Opens the blob for reading, unverified.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn open(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        let missing = || Error::NotFound { kind: "blob", name: digest.to_string() };
        files::optional(File::open(&path).map_err(Error::io("open", &path)))?.ok_or_else(missing)
    }

    /// A reader of the blob that fails at its end unless the bytes have this digest.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn reader(&self, digest: &Digest) -> Result<VerifiedReader<File>> {
        let file = self.open(digest)?;
        let size = file.metadata().map_err(Error::io("stat", self.path(digest)))?.len();
        Ok(VerifiedReader::new(file, format!("blob {digest}"), *digest, size))
    }

    /// The whole blob, verified, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Limit`], [`Error::Io`], [`Error::Damaged`] if the bytes are not what they were.
    pub fn get(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let missing = || Error::NotFound { kind: "blob", name: digest.to_string() };
        let bytes = files::optional(files::read_limited(&self.path(digest), limit))?.ok_or_else(missing)?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(Error::Damaged(format!("blob {digest} has digest {actual}")));
        }
        Ok(bytes)
    }

    /// Files `bytes` under their digest, synced.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::LockTimeout`].
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        self.store.protect(&[digest])?;
        if !files::is_there_for_good(&self.path(&digest))? {
            let temporary = self.store.lease()?.temporary("blob");
            files::replace_file(&self.path(&digest), &temporary, bytes, Durability::Synced)?;
        }
        Ok(digest)
    }

    /// Starts or resumes taking in a blob of `size` bytes. `None` if it is here already, perhaps because another
    /// process, which this call waited for up to `patience`, finished it.
    ///
    /// # Errors
    /// [`Error::LockTimeout`], [`Error::Io`].
    pub fn ingest(&self, digest: &Digest, size: u64, patience: Duration) -> Result<Option<Ingest>> {
        self.store.protect(&[*digest])?;
        let path = self.store.root().join("ingest").join(digest.hex());
        let deadline = Instant::now() + patience;
        loop {
            if files::is_there_for_good(&self.path(digest))? {
                return Ok(None);
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
                .map_err(Error::io("open", &path))?;
            if lock::try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", &path))? {
                if lock::still_names(&path, &file)? {
                    return Ingest::resume(file, path, self.path(digest), *digest, size).map(Some);
                }
            } else if Instant::now() >= deadline {
                return Err(Error::LockTimeout { path });
            } else {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Forgets what is kept of a partial download, unless somebody is at it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn discard_partial(&self, digest: &Digest) -> Result<()> {
        let path = self.store.root().join("ingest").join(digest.hex());
        let Some(file) = files::optional(File::open(&path).map_err(Error::io("open", &path)))? else { return Ok(()) };
        if lock::try_lock(&file, LockMode::Exclusive).map_err(Error::io("lock", &path))? {
            files::remove_all(&path)?;
        }
        Ok(())
    }

    /// All blobs.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<Digest>> {
        Ok(files::names(&self.directory())?.iter().filter_map(|name| Digest::from_hex(name).ok()).collect())
    }
}

/// A blob being taken in. Bytes are appended through [`Write`]; dropping it keeps the partial file for a later resume.
#[derive(Debug)]
pub struct Ingest {
    file: File,
    path: PathBuf,
    target: PathBuf,
    digest: Digest,
    size: u64,
    offset: u64,
}

impl Ingest {
    fn resume(file: File, path: PathBuf, target: PathBuf, digest: Digest, size: u64) -> Result<Self> {
        let offset = file.metadata().map_err(Error::io("stat", &path))?.len();
        let mut ingest = Self { file, path, target, digest, size, offset };
        if offset > size {
            ingest.restart()?;
        }
        ingest.file.seek(SeekFrom::Start(ingest.offset)).map_err(Error::io("seek in", &ingest.path))?;
        Ok(ingest)
    }

    /// Bytes that are here: where the rest of the download starts.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes the blob will have.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest the blob must have.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Drops what is here and starts at offset 0 again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io("truncate", &self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(Error::io("seek in", &self.path))?;
        self.offset = 0;
        Ok(())
    }

    /// Reads the whole blob while it arrives: first the bytes that are here, then those of `rest` (which starts at
    /// [`Ingest::offset`]), each appended to the partial file before it is handed on. Neither is verified.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn tee<R: Read>(self, rest: R) -> Result<Tee<R>> {
        let kept = File::open(&self.path).map_err(Error::io("open", &self.path))?.take(self.offset());
        Ok(Tee { kept, rest, ingest: self })
    }

    /// Verifies size and digest, syncs, and makes the blob visible. Wrong bytes are thrown away.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] (bytes are missing; what is here is kept), [`Error::DigestMismatch`], [`Error::Io`].
    pub fn commit(self) -> Result<Digest> {
        self.verify()?;
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        fs::rename(&self.path, &self.target).map_err(Error::io("rename to", &self.target))?;
        files::sync_parent(&self.target)?;
        Ok(self.digest)
    }

    /// Throws the bytes away: they are in the store as a layer now, or they are wrong and no beginning to resume from.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn throw_away(self) -> Result<()> {
        files::remove_all(&self.path)
    }

    /// Reads back what is in the file.
    fn verify(&self) -> Result<()> {
        let what = format!("blob {}", self.digest);
        if self.offset != self.size {
            return Err(Error::SizeMismatch { what, expected: self.size, actual: self.offset });
        }
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        let mut digester = Digester::new();
        io::copy(&mut BufReader::with_capacity(1 << 18, file), &mut digester).map_err(Error::io("read", &self.path))?;
        let actual = digester.finish();
        if actual != self.digest {
            files::remove_all(&self.path)?;
            return Err(Error::DigestMismatch { what, expected: self.digest.to_string(), actual: actual.to_string() });
        }
        Ok(())
    }

    /// Where the partial file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.size - self.offset;
        if bytes.len() as u64 > left {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                Error::SizeMismatch {
                    what: format!("blob {}", self.digest),
                    expected: self.size,
                    actual: self.offset.saturating_add(bytes.len() as u64),
                },
            ));
        }
        // Whoever copies into this knows only that copying failed, not where to.
        let written = self.file.write(bytes).map_err(Error::carried("write", &self.path))?;
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// See [`Ingest::tee`].
#[derive(Debug)]
pub struct Tee<R> {
    kept: io::Take<File>,
    rest: R,
    ingest: Ingest,
}

impl<R> Tee<R> {
    /// The ingest, to be committed or thrown away after the end was read.
    pub fn into_ingest(self) -> Ingest {
        self.ingest
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.kept.limit() > 0 {
            let got = self.kept.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let got = self.rest.read(buffer)?;
        self.ingest.write_all(&buffer[..got])?;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const SOON: Duration = Duration::from_millis(50);

    #[test]
    fn puts_and_gets_verified() {
        let (_dir, store) = testing::store();
        let blobs = store.blobs();
        let digest = blobs.put(b"hello").unwrap();
        assert_eq!(blobs.put(b"hello").unwrap(), digest);
        assert_eq!(blobs.get(&digest, 5).unwrap(), b"hello");
        assert!(matches!(blobs.get(&digest, 4), Err(Error::Limit { .. })));
        assert_eq!(blobs.size(&digest).unwrap(), Some(5));
        assert_eq!(blobs.list().unwrap(), [digest]);
        fs::write(blobs.path(&digest), b"jello").unwrap();
        assert!(matches!(blobs.get(&digest, 5), Err(Error::Damaged(_))));
        assert!(io::copy(&mut blobs.reader(&digest).unwrap(), &mut io::sink()).is_err());
        assert!(blobs.get(&Digest::of(b"other"), 5).unwrap_err().is_not_found());
    }

    #[test]
    fn an_interrupted_ingest_resumes() {
        let (_dir, store) = testing::store();
        let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let mut ingest = store.blobs().ingest(&digest, size, SOON).unwrap().unwrap();
        ingest.write_all(&bytes[..150_000]).unwrap();
        assert!(matches!(store.blobs().ingest(&digest, size, SOON), Err(Error::LockTimeout { .. })));
        drop(ingest);
        let ingest = store.blobs().ingest(&digest, size, SOON).unwrap().unwrap();
        assert_eq!(ingest.offset(), 150_000);
        let mut tee = ingest.tee(&bytes[150_000..]).unwrap();
        let mut seen = Vec::new();
        tee.read_to_end(&mut seen).unwrap();
        assert!(seen == bytes);
        tee.into_ingest().commit().unwrap();
        assert!(store.blobs().get(&digest, size).unwrap() == bytes);
        assert!(store.blobs().ingest(&digest, size, SOON).unwrap().is_none());
    }

    #[test]
    fn wrong_bytes_are_thrown_away_and_missing_ones_waited_for() {
        let (_dir, store) = testing::store();
        let digest = Digest::of(b"hello");
        let mut ingest = store.blobs().ingest(&digest, 5, SOON).unwrap().unwrap();
        ingest.write_all(b"hel").unwrap();
        assert!(matches!(ingest.commit(), Err(Error::SizeMismatch { actual: 3, .. })));
        let mut ingest = store.blobs().ingest(&digest, 5, SOON).unwrap().unwrap();
        assert_eq!(ingest.offset(), 3);
        assert!(ingest.write_all(b"lo!").is_err());
        ingest.write_all(b"LO").unwrap();
        assert!(matches!(ingest.commit(), Err(Error::DigestMismatch { .. })));
        assert_eq!(store.blobs().ingest(&digest, 5, SOON).unwrap().unwrap().offset(), 0);
    }
}
