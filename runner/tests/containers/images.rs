//! Layers mounted once in the pinned namespace: shared, invisible on the host, checked, and gone when asked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use runner::layers::{LayerMount, ensure_mounted, in_use, mounted, unmount_all, unmount_unused};
use runner::{Container, Rootfs};
use serde_json::json;

use crate::fixture::*;

pub const TESTS: &[(&str, fn())] = &[
    ("layers_are_shared_and_hidden", layers_are_shared_and_hidden),
    ("damaged_layers_are_refused", damaged_layers_are_refused),
    ("sixty_layers", sixty_layers),
    ("processes_mount_layers_at_once", processes_mount_layers_at_once),
];

/// An EROFS image of a directory, with its data in a file of its own.
fn erofs(lab: &Lab, name: &str, tree: &Path) -> LayerMount {
    let (metadata, data) = (lab.path(&format!("{name}.erofs")), lab.path(&format!("{name}.data")));
    std::fs::write(&data, "").unwrap();
    let made = Command::new("mkfs.erofs")
        .args(["--quiet", "--chunksize=4096", "-Enoinline_data"])
        .arg(format!("--blobdev={}", data.display()))
        .args([&metadata, &PathBuf::from(tree)])
        .output()
        .expect("erofs-utils is installed");
    assert!(made.status.success(), "{made:?}");
    let size = data.metadata().unwrap().len();
    LayerMount::Erofs { id: format!("{name}-{}", std::process::id()), metadata, devices: vec![(data, size)] }
}

fn over(lab: &Lab, lowers: Vec<LayerMount>, script: &str) -> Container {
    let mut container = lab.container(script, json!({}));
    if let Rootfs::Overlay { lowers: own, .. } = &mut container.rootfs {
        *own = lowers;
    }
    container
}

fn layers_are_shared_and_hidden() {
    let lab = Lab::new();
    let base = erofs(&lab, "base", &lab.path("rootfs"));
    let top = lab.path("top");
    std::fs::create_dir_all(top.join("etc")).unwrap();
    std::fs::write(top.join("etc/issue"), "top\n").unwrap();
    let lowers = vec![erofs(&lab, "top", &top), base.clone()];
    let run = lab.path("run");
    assert!(!in_use(&run, base.id()).unwrap());
    let container = over(&lab, lowers.clone(), "cat /etc/issue; ls /bin/sh; cat /proc/self/mountinfo");
    let (output, exit) = collect(&container);
    assert_eq!(exit.code, Some(0), "{output}");
    assert!(output.starts_with("top\n/bin/sh\n"), "{output}");
    assert!(!output.contains("erofs") && !output.contains(lab.dir.path().to_str().unwrap()), "{output}");
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains("erofs"), "the host sees the pin only");
    assert!(in_use(&run, base.id()).unwrap());
    assert_eq!(mounted(&run).unwrap().len(), 2);
    // A running container is not disturbed by an unmount.
    let mut container =
        over(&lab, lowers.clone(), "echo up; while [ ! -e /go ]; do sleep 0.02; done; cat /etc/issue; ls /bin/sh");
    container.log = None;
    let cwd = std::env::current_dir().unwrap();
    let begin = Instant::now();
    ensure_mounted(&run, &lowers).unwrap();
    eprint!("[{} us for 2 mounted layers] ", begin.elapsed().as_micros());
    assert_eq!(std::env::current_dir().unwrap(), cwd, "back home");
    let gone = unmount_unused(&run, |id| id == base.id()).unwrap();
    assert_eq!(gone.len(), 1);
    assert!(in_use(&run, base.id()).unwrap());
    assert_eq!(collect(&over(&lab, lowers, "cat /etc/issue")).0, "top\n", "mounted again on demand");
    assert!(unmount_all(&run).unwrap());
    assert!(!unmount_all(&run).unwrap());
    assert!(mounted(&run).unwrap().is_empty());
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains(run.to_str().unwrap()), "{host}");
}

fn damaged_layers_are_refused() {
    let lab = Lab::new();
    let base = erofs(&lab, "base", &lab.path("rootfs"));
    let LayerMount::Erofs { id, metadata, devices } = base.clone() else { unreachable!() };
    let data = &devices[0].0;
    let length = devices[0].1;
    std::fs::OpenOptions::new().write(true).open(data).unwrap().set_len(length - 1).unwrap();
    let error = ensure_mounted(&lab.path("run"), std::slice::from_ref(&base)).unwrap_err().to_string();
    assert!(error.contains("is damaged") && error.contains(data.to_str().unwrap()), "{error}");
    let none = LayerMount::Erofs { id: id.clone(), metadata: metadata.clone(), devices: vec![] };
    assert!(ensure_mounted(&lab.path("run"), &[none]).is_err(), "a wrong number of devices");
    std::fs::remove_file(&metadata).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &metadata).unwrap();
    assert!(ensure_mounted(&lab.path("run"), &[base]).is_err(), "links are not followed");
    for id in ["", "../x", ".hidden", "a/b"] {
        let layer = LayerMount::Directory { id: id.into(), path: lab.path("rootfs") };
        assert!(ensure_mounted(&lab.path("run"), &[layer]).is_err(), "{id:?}");
    }
}

fn sixty_layers() {
    let lab = Lab::new();
    let mut lowers = Vec::new();
    for number in 0..60 {
        let tree = lab.path(&format!("tree{number}"));
        std::fs::create_dir_all(tree.join("n")).unwrap();
        std::fs::write(tree.join(format!("n/{number:02}")), "x").unwrap();
        std::fs::write(tree.join("n/top"), format!("{number}\n")).unwrap();
        lowers.insert(0, erofs(&lab, &format!("l{number}"), &tree));
    }
    lowers.push(erofs(&lab, "base", &lab.path("rootfs")));
    let (output, _) = collect(&over(&lab, lowers.clone(), "ls /n | wc -l; cat /n/top"));
    assert_eq!(output, "61\n59\n");
    let begin = Instant::now();
    ensure_mounted(&lab.path("run"), &lowers).unwrap();
    eprint!("[{} us for 61 mounted layers] ", begin.elapsed().as_micros());
}

fn processes_mount_layers_at_once() {
    let lab = Lab::new();
    let layers: Vec<_> = (0..4).map(|n| erofs(&lab, &format!("race{n}"), &lab.path("rootfs"))).collect();
    let run = lab.path("run");
    for _ in 0..5 {
        // Threads make it fork a helper process each: eight processes in a race for the pin and four mounts.
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| ensure_mounted(&run, &layers))).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
        assert_eq!(mounted(&run).unwrap().len(), 4);
        unmount_all(&run).unwrap();
    }
}
