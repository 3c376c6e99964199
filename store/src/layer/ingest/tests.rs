use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::layer::compression::{Compression, compress};
use crate::layer::tar::tests::Raw;
use crate::layer::{Extent, Kind, LayerPath, Toc};
use crate::testing;

fn sample() -> Vec<u8> {
    let noise: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    Raw::default().entry(b'5', "d/", "").file("d/noise", &noise).file("d/text", b"hello").end().0
}

fn packed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = Vec::new();
    compress(bytes, &mut out, compression, Some(1), 2).unwrap();
    out
}

#[test]
fn takes_in_all_compressions() {
    let tar = sample();
    let expected = DiffId(Digest::of(&tar));
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let (_dir, store) = testing::store();
        let bytes = packed(&tar, compression);
        let told = (Digest::of(&bytes), bytes.len() as u64);
        let info = store.layers().ingest(&bytes[..], Some(&expected), Some(told)).unwrap();
        assert_eq!((info.diff_id, info.tar_size, info.entries), (expected, tar.len() as u64, 4));
        assert_eq!(info.file_bytes, 1_600_005);
        assert!(std::fs::read(store.layers().path(&expected).join("tar")).unwrap() == tar);
        let toc = store.layers().toc(&expected).unwrap();
        assert_eq!(toc.entries().len(), 4);
        assert_eq!(store.layers().info(&expected).unwrap(), info);
        io::copy(&mut store.layers().reader(&expected).unwrap(), &mut io::sink()).unwrap();
        // Again: nothing is read.
        struct Never;
        impl Read for Never {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("read");
            }
        }
        assert_eq!(store.layers().ingest(Never, Some(&expected), None).unwrap(), info);
        assert_eq!(store.layers().list().unwrap(), [expected]);
    }
}

#[test]
fn wrong_bytes_leave_nothing() {
    let (_dir, store) = testing::store();
    let tar = sample();
    let bytes = packed(&tar, Compression::Gzip);
    let right = (Digest::of(&bytes), bytes.len() as u64);
    let layers = store.layers();
    let other = DiffId(Digest::of(b"other"));
    let error = layers.ingest(&bytes[..], Some(&other), Some(right)).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let error = layers.ingest(&bytes[..], None, Some((Digest::of(b"x"), right.1))).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    for size in [right.1 - 1, right.1 + 1] {
        let error = layers.ingest(&bytes[..], None, Some((right.0, size))).unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
    }
    assert!(layers.ingest(&bytes[..bytes.len() / 2], None, None).is_err());
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 4;
    assert!(layers.ingest(&flipped[..], None, None).is_err());
    let trailing = [&bytes[..], b"garbage"].concat();
    assert!(layers.ingest(&trailing[..], None, None).is_err());
    let evil = Raw::default().file("../x", b"").end();
    assert!(matches!(layers.ingest(&evil.0[..], None, None), Err(Error::InvalidLayer(_))));
    // A reader that fails in the middle is told with its own words.
    let failing = Cursor::new(&bytes[..1000]).chain(Failing);
    let error = layers.ingest(failing, None, None).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap();
    assert!(cause.to_string().contains("connection"), "{error}: {cause}");
    assert!(layers.list().unwrap().is_empty());
    assert_eq!(crate::files::disk_usage(&store.root().join("tmp")).unwrap() / 100_000, 0);
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection lost"))
    }
}

#[test]
fn bombs_meet_limits() {
    let (_dir, store) = testing::store();
    let zeros = vec![0; 64 << 20];
    let tar = Raw::default().file("z", &zeros).end().0;
    let bytes = packed(&tar, Compression::Gzip);
    let with = |limits| IngestOptions { limits, ..IngestOptions::default() };
    for limits in [
        Limits { tar_size: 1 << 20, ..Limits::default() },
        Limits { ratio: 100, ratio_from: 1 << 20, ..Limits::default() },
    ] {
        let error = store.layers().ingest_with(&bytes[..], &with(limits)).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
    }
    store.layers().ingest(&bytes[..], None, None).unwrap();
}

#[test]
fn two_at_once_do_the_work_once() {
    use std::sync::atomic::AtomicUsize;
    struct Counted<'a>(&'a [u8], &'a AtomicUsize);
    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let got = self.0.read(buffer)?;
            self.1.fetch_add(got, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(1));
            Ok(got)
        }
    }
    let (_dir, store) = testing::store();
    let tar = sample();
    let expected = DiffId(Digest::of(&tar));
    let read = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = Store::open(store.root()).unwrap();
                store.layers().ingest(Counted(&tar, &read), Some(&expected), None).unwrap();
            });
        }
    });
    assert_eq!(read.into_inner(), tar.len());
}

#[test]
fn two_who_do_not_know_each_other_agree() {
    let (_dir, store) = testing::store();
    let tar = sample();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| Store::open(store.root()).unwrap().layers().ingest(&tar[..], None, None).unwrap());
        }
    });
    assert_eq!(store.layers().list().unwrap().len(), 1);
    assert_eq!(crate::check::check(&store, crate::check::CheckOptions::default()).unwrap().problems, []);
}

#[test]
fn a_cut_download_resumes_into_a_layer() {
    let (_dir, store) = testing::store();
    let tar = sample();
    let bytes = packed(&tar, Compression::Gzip);
    let told = (Digest::of(&bytes), bytes.len() as u64);
    let blobs = store.blobs();
    let patience = Duration::from_millis(10);
    let ingest = blobs.ingest(&told.0, told.1, patience).unwrap().unwrap();
    let mut tee = ingest.tee(Cursor::new(&bytes[..500_000]).chain(Failing)).unwrap();
    assert!(store.layers().ingest(&mut tee, None, Some(told)).is_err());
    drop(tee);
    let ingest = blobs.ingest(&told.0, told.1, patience).unwrap().unwrap();
    let offset = usize::try_from(ingest.offset()).unwrap();
    assert_eq!(offset, 500_000);
    let mut tee = ingest.tee(&bytes[offset..]).unwrap();
    let info = store.layers().ingest(&mut tee, None, Some(told)).unwrap();
    assert_eq!(info.diff_id, DiffId(Digest::of(&tar)));
    tee.into_ingest().throw_away().unwrap();
    assert!(crate::files::names(&store.root().join("ingest")).unwrap().is_empty());
}

/// Runs a shell script in a new directory.
fn shell(script: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new("sh").arg("-ec").arg(script).current_dir(&dir).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    dir
}

fn read_tar(path: &Path) -> (Toc, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    (contents(&bytes[..]).unwrap().0, bytes)
}

/// The bytes of a file as the table of contents finds them in the tar.
fn file_bytes(tar: &[u8], size: u64, extents: &[Extent]) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(size).unwrap()];
    for extent in extents {
        let (logical, offset, length) = (extent.logical as usize, extent.offset as usize, extent.length as usize);
        out[logical..logical + length].copy_from_slice(&tar[offset..offset + length]);
    }
    out
}

/// Compares a table of contents with the tree it was made of.
fn compare(toc: &Toc, tar: &[u8], tree: &Path) -> usize {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut compared = 0;
    for entry in toc.entries() {
        let path = tree.join(std::ffi::OsStr::from_bytes(entry.path.as_bytes()));
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let file_type = metadata.file_type();
        match &entry.kind {
            Kind::Directory { .. } => assert!(metadata.is_dir()),
            Kind::File { size, extents } => {
                assert!(file_bytes(tar, *size, extents) == std::fs::read(&path).unwrap(), "{}", entry.path);
            }
            Kind::HardLink { target } => {
                let other = tree.join(std::ffi::OsStr::from_bytes(target.as_bytes()));
                assert_eq!(std::fs::symlink_metadata(other).unwrap().ino(), metadata.ino());
            }
            Kind::Symlink { target } => {
                assert_eq!(std::fs::read_link(&path).unwrap().as_os_str().as_bytes(), target);
            }
            Kind::CharDevice { major, minor } => {
                assert!(file_type.is_char_device());
                assert_eq!(metadata.rdev(), rustix::fs::makedev(*major, *minor));
            }
            Kind::BlockDevice { .. } => assert!(file_type.is_block_device()),
            Kind::Fifo => assert!(file_type.is_fifo()),
            Kind::Whiteout => panic!("a whiteout at {}", entry.path),
        }
        assert_eq!(metadata.mode() & 0o7777, entry.mode, "{}", entry.path);
        assert_eq!((metadata.uid(), metadata.gid()), (entry.uid, entry.gid), "{}", entry.path);
        assert_eq!(metadata.mtime(), entry.mtime.seconds, "{}", entry.path);
        compared += 1;
    }
    compared
}

#[test]
fn agrees_with_gnu_tar() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to make devices and owners");
        return;
    }
    let long = "n".repeat(200);
    let dir = shell(&format!(
        r"mkdir -p t/d/{long}/{long}; cd t
        printf hello > file; chmod 4755 file; ln file link; ln link d/third; printf x > d/{long}/{long}/deep
        ln -s ../{long}/{long}/{long} long-symlink; ln -s target symlink; mkfifo fifo; mknod null c 1 3; mknod loop b 7 0
        printf bytes > $(printf 'not\377utf8'); chown 4294967294:3000000 file; touch -d '@-86400' old
        touch -d '2100-01-01T00:00:00.123456789Z' future; mkdir sticky; chmod 1777 sticky
        truncate -s 3M sparse; printf middle | dd of=sparse bs=1 seek=1000000 conv=notrunc 2>/dev/null
        dd if=/dev/urandom of=sparse bs=4096 count=3 seek=100 conv=notrunc 2>/dev/null
        truncate -s 5M allhole; truncate -s 100K many
        for i in 0 2 4 6 8 10 12 14 16 18 20 22; do dd if=/dev/urandom of=many bs=4096 count=1 seek=$i conv=notrunc 2>/dev/null; done
        setfattr -n user.test -v value d 2>/dev/null || true
        head -c 700000 /dev/urandom > large; cd ..
        for f in gnu posix; do tar -C t --format=$f -cf $f.tar .; done
        tar -C t --format=gnu -S -cf sparse-old.tar .
        for v in 0.0 0.1 1.0; do tar -C t --format=posix -S --sparse-version=$v --xattrs --xattrs-include='*' -cf sparse-$v.tar .; done
        mkdir v7; cp t/file v7/; chown 0:0 v7/file; tar -C v7 --format=v7 -cf v7.tar ."
    ));
    for name in ["gnu", "posix", "sparse-old", "sparse-0.0", "sparse-0.1", "sparse-1.0"] {
        let (toc, bytes) = read_tar(&dir.path().join(format!("{name}.tar")));
        let compared = compare(&toc, &bytes, &dir.path().join("t"));
        assert!(compared >= 20, "{name}");
        if name.starts_with("sparse") {
            let many = toc.get(&LayerPath::parse(b"many").unwrap()).unwrap();
            let Kind::File { extents, .. } = &many.kind else { panic!("{many:?}") };
            // As many parts as the file system tells of.
            println!("{name}: {} extents, tar of {} bytes", extents.len(), bytes.len());
            let hole = toc.get(&LayerPath::parse(b"allhole").unwrap()).unwrap();
            assert!(matches!(&hole.kind, Kind::File { size: 5_242_880, extents } if extents.is_empty()), "{hole:?}");
        }
    }
    let (toc, bytes) = read_tar(&dir.path().join("v7.tar"));
    assert_eq!(compare(&toc, &bytes, &dir.path().join("v7")), 2);
    let (toc, _) = read_tar(&dir.path().join("posix.tar"));
    let future = toc.get(&LayerPath::parse(b"future").unwrap()).unwrap();
    assert_eq!(future.mtime.nanoseconds, 123_456_789);
}

#[test]
fn a_file_of_more_than_8_gib_is_one_extent() {
    // Only its headers: the size is in base-256, and nothing of the data is ever held.
    struct Zeros(u64);
    impl Read for Zeros {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let got = buffer.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
            buffer[..got].fill(0);
            self.0 -= got as u64;
            Ok(got)
        }
    }
    let size = 9_u64 << 30;
    let header = Raw::default().header(b'0', "big", "", 0, |block| {
        block[124..136].fill(0);
        block[124] = 0x80;
        block[128..136].copy_from_slice(&(9_u64 << 30).to_be_bytes());
    });
    let input = io::BufReader::with_capacity(1 << 20, Cursor::new(header.0).chain(Zeros(size + 1024)));
    let (toc, _) = contents(input).unwrap();
    let expected = Kind::File { size, extents: Extent { logical: 0, offset: 512, length: size }.into() };
    assert_eq!(toc.entries()[1].kind, expected);
}
