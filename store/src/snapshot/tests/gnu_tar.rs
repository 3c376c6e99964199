//! Layers that GNU tar made, which writes what our own writer does not: sparse files, and a real system's files.

use std::process::Command;

use super::*;

/// GNU tar of `names` in `dir`.
fn tar(dir: &Path, options: &[&str], names: &[&str]) -> Vec<u8> {
    let output = Command::new("tar").args(["-C", dir.to_str().unwrap(), "-cf", "-"]).args(options).args(names).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn sparse_files_and_dirty_padding_are_laid_aside() {
    if !can_mount() {
        return;
    }
    use std::os::unix::fs::{FileExt, MetadataExt};
    let (dir, store) = disk_store();
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    let sparse = fs::File::create(files.join("sparse")).unwrap();
    sparse.set_len(5 << 30).unwrap();
    sparse.write_all_at(b"at the start", 0).unwrap();
    sparse.write_all_at(&[7; 10_000], 3 << 30).unwrap();
    sparse.write_all_at(b"at the end", (5 << 30) - 10).unwrap();
    fs::File::create(files.join("holes-only")).unwrap().set_len(1 << 20).unwrap();
    fs::write(files.join("plain"), "plain").unwrap();
    let names = ["sparse", "holes-only", "plain"];
    let mut dirty = tar(&files, &["--format=gnu"], &["plain"]);
    dirty[512 + 5..1024].fill(b'!');
    let mut layers = Vec::new();
    for bytes in
        [tar(&files, &["--format=gnu", "--sparse"], &names), tar(&files, &["--format=pax", "--sparse"], &names), dirty]
    {
        let layer = store.layers().ingest(Cursor::new(bytes), None, None).unwrap().diff_id;
        let Ok([LayerMount::Erofs { devices, .. }]) = <[_; 1]>::try_from(Erofs.view(&store, &[layer]).unwrap()) else {
            panic!("one mount expected");
        };
        assert_eq!(devices.len(), 2);
        assert!(fs::metadata(&devices[1].path).unwrap().blocks() * 512 < 1 << 20);
        layers.push(layer);
    }
    check(&store, &layers[..1]);
    check(&store, &layers[1..2]);
    // No mapping shows what is behind the end.
    let mapped = with_mounted(&Erofs, &store, &layers[2..], |root| page_of(&root.join("plain"))).unwrap();
    assert!(mapped.starts_with(b"plain\0") && mapped[5..].iter().all(|&byte| byte == 0));
    let shown = check(&store, &layers);
    assert!(shown[b"sparse".as_slice()].what.starts_with("file of 5368709120 bytes"));
}

/// The first page of a file as a mapping of it shows it, bytes behind its end included: read by a process that does
/// map it.
fn page_of(path: &Path) -> Vec<u8> {
    let script = "import mmap,sys,ctypes
f=open(sys.argv[1],'rb')
libc=ctypes.CDLL(None); libc.mmap.restype=ctypes.c_void_p
p=libc.mmap(None,4096,1,2,f.fileno(),ctypes.c_long(0))
sys.stdout.buffer.write(ctypes.string_at(p,4096))";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// An oracle that shares no code with us: what GNU tar unpacks is what both drivers show.
#[test]
fn a_real_tree_looks_as_gnu_tar_unpacks_it() {
    if !can_mount() {
        return;
    }
    let (dir, store) = disk_store();
    let names = ["etc", "usr/sbin"];
    let names: Vec<_> = names.into_iter().filter(|name| Path::new("/").join(name).is_dir()).collect();
    let bytes = tar(Path::new("/"), &["--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner"], &names);
    let archive = dir.path().join("archive.tar");
    fs::write(&archive, &bytes).unwrap();
    let unpacked = dir.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let done = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(&archive)
        .arg("-C")
        .arg(&unpacked)
        .status();
    assert!(done.unwrap().success());
    // Directories that are not in the archive get the time of day from tar.
    let comparable = |all: All| -> All {
        all.into_iter().filter(|(path, _)| names.iter().any(|name| path.starts_with(name.as_bytes()))).collect()
    };
    let expected = comparable(mounted(&unpacked));
    assert!(expected.len() > 100);
    let layer = store.layers().ingest(Cursor::new(bytes), None, None).unwrap().diff_id;
    for driver in [&Erofs as &dyn Snapshotter, &FULL] {
        let seen = with_mounted(driver, &store, &[layer], mounted).unwrap();
        assert_equal(driver.name(), &comparable(seen), &expected);
    }
}
