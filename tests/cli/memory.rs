//! Memory: whatever a layer holds, no command has more than 128 MiB resident. One large file, eight layers at once and a
//! layer of very many members go the round of build, import, save, load, push and pull; an archive of very many is
//! added, and what came of it compared.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::random::Random;
use crate::support::{Out, Registry, Sandbox};

/// Most that a process may have resident at any time, KiB.
const MEMORY: u64 = 128 << 10;

fn bounded(out: Out) {
    out.ok();
    assert!(out.peak > 0 && out.peak <= MEMORY, "{} MiB of memory: {out}", out.peak >> 10);
}

/// Writes a file that hardly compresses.
fn noise(path: &Path, mebibytes: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    for _ in 0..mebibytes << 17 {
        out.write_all(&random.next().to_le_bytes()).unwrap();
    }
    out.flush().unwrap();
}

/// Writes a tar of this many small files in directories of a thousand.
fn many(path: &Path, members: u32) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    for number in 0..members {
        let mut header = [0; 512];
        let name = format!("some/directory-{:04}/member-{number:07}.txt", number / 1000);
        header[..name.len()].copy_from_slice(name.as_bytes());
        let fields = format!("{:07o}\0{:07o}\0{:07o}\0{:011o}\0{:011o}\0        ", 0o644, 0, 0, 8, 0);
        header[100..156].copy_from_slice(fields.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.write_all(&header).unwrap();
        header = [0; 512];
        header[..8].copy_from_slice(b"contents");
        out.write_all(&header).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.flush().unwrap();
}

/// Takes the image from one store to others, through an archive and through a registry.
fn goes_round(sandbox: &mut Sandbox, image: &str) {
    let registry = Registry::fresh();
    sandbox.trust(&registry);
    let name = registry.name("memory/image:1");
    let archive = sandbox.text("image.tar");
    bounded(sandbox.img(&["save", "--output", &archive, image]));
    bounded(sandbox.sibling().img(&["load", "--input", &archive]));
    sandbox.ok(&["tag", image, &name]);
    bounded(sandbox.img(&["push", &name]));
    let mut other = sandbox.sibling();
    other.trust(&registry);
    bounded(other.img(&["pull", &name]));
}

#[test]
fn a_large_file() {
    let mut sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("context")).unwrap();
    noise(&sandbox.path("context/large"), 100, 1);
    bounded(sandbox.build("context", "large", "FROM scratch\nCOPY large /\n"));
    goes_round(&mut sandbox, "large");
}

#[test]
fn eight_layers_at_once() {
    let mut sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("context")).unwrap();
    let mut buildfile = "FROM scratch\n".to_owned();
    for layer in 0..8 {
        noise(&sandbox.path(format!("context/{layer}")), 16, layer);
        buildfile += &format!("COPY {layer} /\n");
    }
    bounded(sandbox.build("context", "eight", &buildfile));
    goes_round(&mut sandbox, "eight");
}

#[test]
fn an_archive_of_very_many_members() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("context")).unwrap();
    many(&sandbox.path("context/many.tar"), 450_000);
    bounded(sandbox.build("context", "added", "FROM scratch\nADD many.tar /\n"));
    sandbox.write("small/file", "contents\n");
    let steps = "FROM added\nCOPY file /1\nCOPY file /2\nWORKDIR /w\nCOPY file 3\n";
    bounded(sandbox.build("small", "stepped", steps));
    bounded(sandbox.img(&["import", &sandbox.text("context/many.tar"), "imported"]));
    let alike = sandbox.img(&["image", "diff", "added", "imported"]);
    // Directories that the archive does not list got the time of the newest file, and nothing else is another.
    assert_eq!(alike.stdout(), "", "{alike}");
    bounded(alike);
    sandbox.build("context", "nothing", "FROM scratch\nWORKDIR /w\n").ok();
    let all = sandbox.img(&["image", "diff", "nothing", "added"]);
    assert_eq!(all.stdout().lines().filter(|line| line.starts_with("A /some/")).count(), 450_000 + 450);
    bounded(all);
}

#[test]
fn very_many_members() {
    let mut sandbox = Sandbox::new();
    let archive = sandbox.text("many.tar");
    many(Path::new(&archive), 150_000);
    bounded(sandbox.img(&["import", &archive, "many"]));
    goes_round(&mut sandbox, "many");
}
