//! An archive that is being read: where each member lies. Members are only ever read as streams by their offset; what
//! claims to be a link is resolved among the members themselves and never on the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use store::Digest;
use store::digest::VerifiedReader;
use store::layer::tar::{MemberKind, Reader};
use store::layer::{Compression, LayerPath, Limits};

use super::MANIFEST_MAX;
use crate::engine::Engine;
use crate::error::{CommandError, Context as _, Result};

/// Most members of an archive.
const MEMBERS_MAX: usize = 100_000;
/// Most bytes of their names and of where links lead: this much is held in memory.
const NAMES_MAX: usize = 16 << 20;
/// Documents that say what the archive holds: of two of them, readers disagree which one counts.
const DECISIVE: [&[u8]; 4] = [b"manifest.json", b"index.json", b"oci-layout", b"repositories"];
/// How many links may follow one another.
const LINKS_MAX: usize = 8;
/// Bytes of a compressed archive after which its limits are looked at.
const INFLATED_AT_ONCE: u64 = 4 << 20;

/// What a member is.
enum Member {
    Data { offset: u64, size: u64 },
    File { path: PathBuf, size: u64 },
    Link { target: LayerPath },
}

/// An archive and where its members lie.
pub struct Contents {
    file: File,
    members: BTreeMap<Vec<u8>, Member>,
}

impl Engine {
    /// Opens the archive at `input`, or standard input. What cannot be sought in, or is compressed, is copied into a
    /// nameless file of the store first.
    ///
    /// # Errors
    /// A file that cannot be read or is no tar.
    pub(in crate::engine) fn open_archive(&self, input: Option<&Path>) -> Result<Contents> {
        let source: Box<dyn Read + Send> = match input {
            None => Box::new(io::stdin()),
            Some(path) => {
                let mut file = File::open(path)?;
                let about = file.metadata()?;
                if about.is_dir() {
                    if !path.join("index.json").is_file() {
                        return Err(CommandError::new("it is a directory without index.json")
                            .hint("load takes an archive, or the directory of an OCI layout"));
                    }
                    return Contents::layout(path);
                }
                let mut start = [0; 4];
                if about.is_file()
                    && file.read_exact(&mut start).is_ok()
                    && Compression::detect(&start) == Compression::None
                {
                    return Contents::index(file);
                }
                file.rewind().or_else(|error| if about.is_file() { Err(error) } else { Ok(()) })?;
                Box::new(file)
            }
        };
        let arrived = AtomicU64::new(0);
        let counted = BufReader::with_capacity(1 << 20, Counted { inner: source, count: &arrived });
        let (_, mut plain) = store::layer::compression::decompress(counted)?;
        let mut scratch = self.store.scratch_file()?;
        let (limits, mut size) = (Limits::default(), 0);
        loop {
            let copied =
                io::copy(&mut (&mut plain).take(INFLATED_AT_ONCE), &mut scratch).context("cannot read the archive")?;
            if copied == 0 {
                break;
            }
            size += copied;
            limits.check(size, arrived.load(Ordering::Relaxed)).context("cannot read the archive")?;
        }
        Contents::index(scratch)
    }
}

impl Contents {
    fn index(mut file: File) -> Result<Self> {
        file.rewind()?;
        let mut reader = Reader::new(BufReader::with_capacity(1 << 20, file.try_clone()?));
        let mut members = BTreeMap::new();
        let mut names = 0;
        while let Some(member) = reader.next_member()? {
            let Ok(path) = LayerPath::parse(&member.path) else { continue };
            let found = match member.kind {
                MemberKind::File { size, extents } => match extents.as_slice() {
                    [] if size == 0 => Member::Data { offset: 0, size: 0 },
                    [extent] if extent.logical == 0 && extent.length == size => {
                        Member::Data { offset: extent.offset, size }
                    }
                    _ => return Err(CommandError::new(format!("the member {path} is sparse"))),
                },
                MemberKind::Symlink { target } => {
                    let base = path.parent().unwrap_or_default();
                    Member::Link { target: beside(&base, &target)? }
                }
                MemberKind::HardLink { target } => Member::Link { target: LayerPath::parse(&target)? },
                _ => continue,
            };
            names += path.as_bytes().len();
            if let Member::Link { target } = &found {
                names += target.as_bytes().len();
            }
            if names > NAMES_MAX {
                let limit = NAMES_MAX >> 20;
                return Err(CommandError::new(format!("the names of the members take more than {limit} MiB")));
            }
            if DECISIVE.contains(&path.as_bytes()) && members.contains_key(path.as_bytes()) {
                return Err(CommandError::new(format!(
                    "the archive has two members {path}: two readers see two archives"
                )));
            }
            if members.len() >= MEMBERS_MAX {
                return Err(CommandError::new(format!("the archive has more than {MEMBERS_MAX} members")));
            }
            members.insert(path.as_bytes().to_vec(), found);
        }
        Ok(Self { file, members })
    }

    /// An OCI layout as a directory has it (OCI image-spec, "Image Layout").
    ///
    /// # Errors
    /// A directory that is none or cannot be read.
    pub fn layout(directory: &Path) -> Result<Self> {
        let mut members = BTreeMap::new();
        let blobs = directory.join("blobs/sha256");
        for part in [directory.join("blobs"), blobs.clone()] {
            let about = std::fs::symlink_metadata(&part).with_context(|| format!("cannot read {}", part.display()))?;
            if !about.is_dir() {
                return Err(CommandError::new(format!("{} is no directory", part.display())));
            }
        }
        let (file, size) = open_plain(&directory.join("index.json"))?;
        members.insert(b"index.json".to_vec(), Member::File { path: directory.join("index.json"), size });
        if let Ok((_, size)) = open_plain(&directory.join("oci-layout")) {
            members.insert(b"oci-layout".to_vec(), Member::File { path: directory.join("oci-layout"), size });
        }
        for entry in std::fs::read_dir(&blobs).with_context(|| format!("cannot read {}", blobs.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(name) = name.to_str().filter(|_| entry.file_type().is_ok_and(|kind| kind.is_file())) {
                if members.len() >= MEMBERS_MAX {
                    return Err(CommandError::new(format!("{} has more than {MEMBERS_MAX} files", blobs.display())));
                }
                let size = entry.metadata()?.len();
                members.insert(format!("blobs/sha256/{name}").into_bytes(), Member::File { path: entry.path(), size });
            }
        }
        Ok(Self { file, members })
    }

    /// Refuses an OCI layout of a version to come; one that does not say its version is taken for one of today.
    ///
    /// # Errors
    /// Another version than 1.
    pub fn check_version(&self) -> Result<()> {
        if !self.has("oci-layout") {
            return Ok(());
        }
        let layout: serde_json::Value = self.json("oci-layout")?;
        match layout["imageLayoutVersion"].as_str() {
            Some(version) if version.starts_with("1.") => Ok(()),
            Some(version) => Err(CommandError::new(format!(
                "the archive is an OCI layout of version {version:?}, which is not known"
            ))),
            None => Err(CommandError::new("oci-layout in the archive names no version")),
        }
    }

    /// Whether there is a member of this name.
    pub fn has(&self, path: &str) -> bool {
        self.members.contains_key(path.as_bytes())
    }

    /// The names of all members.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.members.keys().map(Vec::as_slice)
    }

    /// A member's bytes as a stream, and how many there are.
    ///
    /// # Errors
    /// No such member, links in a circle.
    pub fn open(&self, path: &str) -> Result<(impl Read + Send + use<>, u64)> {
        self.open_at(path, 0)
    }

    /// As [`Contents::open`], from `start` on.
    ///
    /// # Errors
    /// As [`Contents::open`].
    pub fn open_at(&self, path: &str, start: u64) -> Result<(impl Read + Send + use<>, u64)> {
        let mut at = LayerPath::parse(path.as_bytes())?;
        for _ in 0..LINKS_MAX {
            match self.members.get(at.as_bytes()) {
                Some(Member::Link { target }) => at = target.clone(),
                Some(Member::Data { offset, size }) => {
                    let reader =
                        At { file: self.file.try_clone()?, offset: *offset + start, left: size.saturating_sub(start) };
                    return Ok((reader, *size));
                }
                Some(Member::File { path, size }) => {
                    let left = size.saturating_sub(start);
                    return Ok((At { file: open_plain(path)?.0, offset: start, left }, *size));
                }
                None => return Err(CommandError::new(format!("the archive has no member {at}"))),
            }
        }
        Err(CommandError::new(format!("the links of {path} in the archive go in a circle")))
    }

    /// A small member's bytes.
    ///
    /// # Errors
    /// No such member, one that is too large.
    pub fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>> {
        let (mut reader, size) = self.open(path)?;
        if size > limit {
            return Err(CommandError::new(format!("{path} in the archive is larger than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The bytes of a blob of an OCI layout, verified.
    ///
    /// # Errors
    /// No such blob, one that is too large or is not what its name says.
    pub fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let path = format!("blobs/sha256/{}", digest.hex());
        let (reader, size) = self.open(&path)?;
        if size > limit {
            return Err(CommandError::new(format!("{path} in the archive is larger than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        VerifiedReader::new(reader, path, *digest, size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A JSON document.
    ///
    /// # Errors
    /// As [`Contents::read`], and what is no such document.
    pub fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        serde_json::from_slice(&self.read(path, MANIFEST_MAX)?).context(format!("{path} in the archive is malformed"))
    }
}

/// Opens a regular file that whoever made the layout may have put anything in the place of: no link is followed, and
/// nobody waits at a pipe. Gives its size too.
///
/// # Errors
/// It cannot be opened, or is something else.
pub fn open_plain(path: &Path) -> Result<(File, u64)> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let context = || format!("cannot open {}", path.display());
    let file = File::options().read(true).custom_flags(flags).open(path).with_context(context)?;
    let about = file.metadata().with_context(context)?;
    if !about.is_file() {
        return Err(CommandError::new(format!("{} is no regular file", path.display())));
    }
    Ok((file, about.len()))
}

/// Counts the bytes that are read.
struct Counted<'a, R> {
    inner: R,
    count: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.count.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

/// The path that a relative link in the directory `base` means.
fn beside(base: &LayerPath, target: &[u8]) -> Result<LayerPath> {
    let mut at: Vec<&[u8]> = base.components().collect();
    for name in target.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if at.pop().is_none() => return Err(CommandError::new("a link in the archive leads out of it")),
            b".." => {}
            name => at.push(name),
        }
    }
    Ok(LayerPath::parse(&at.join(&b'/'))?)
}

/// A stretch of a file, read by position: several may be read side by side.
struct At {
    file: File,
    offset: u64,
    left: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let got = std::os::unix::fs::FileExt::read_at(&self.file, &mut buffer[..want], self.offset)?;
        if got == 0 && want > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut short"));
        }
        self.offset += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}
