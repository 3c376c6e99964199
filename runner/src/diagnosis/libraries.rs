//! Dynamic loaders and shared libraries of an image: which C library it has, and which libraries a program would look for in vain.
//!
//! Nothing of the image is run. The search takes every directory that a loader might look in, so a library that is reported
//! missing is missing; one that is reported nowhere may still be refused by the loader for other reasons.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::elf::{self, Elf};
use super::walk::{names, walk};
use super::{FileSource, open_regular, shown};
use crate::inroot::Root;

/// The most libraries looked at for one program.
const MAX_LIBRARIES: usize = 128;
/// The largest configuration of a loader that is read.
const MAX_CONFIGURATION: u64 = 4 << 20;

/// Where loaders and libraries are on the usual systems.
const DIRECTORIES: [&str; 14] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/lib32",
    "/usr/lib32",
    "/libx32",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/i386-linux-gnu",
    "/usr/lib/i386-linux-gnu",
    "/usr/local/lib",
];

/// The C library that a loader belongs to, by the loader's name.
pub fn family(loader: &str) -> Option<&'static str> {
    let name = loader.rsplit('/').next().unwrap_or(loader);
    let families = [
        ("ld-musl", "musl"),
        ("ld-linux", "glibc"),
        ("ld64.so", "glibc"),
        ("ld.so.1", "glibc"),
        ("ld-uClibc", "uClibc"),
        ("linker", "bionic (Android)"),
    ];
    families.iter().find(|(start, _)| name.starts_with(start)).map(|(_, family)| *family)
}

/// The loaders an image has: path and C library.
fn loaders(root: &Root) -> Vec<(String, &'static str)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for directory in ["/lib64"].into_iter().chain(DIRECTORIES) {
        for name in names(root, Path::new(directory)) {
            let Some(family) = family(&name).filter(|_| name.starts_with("ld")) else { continue };
            let path = format!("{directory}/{name}");
            let Ok(reached) = walk(root, Path::new(&path)) else { continue };
            if seen.insert(reached.path) {
                found.push((path, family));
            }
        }
    }
    found
}

/// Why `loader`, which is missing, is what the program needs; and what can be done.
pub fn missing_loader(root: &Root, elf: &Elf, loader: &str) -> (String, String) {
    let have = loaders(root);
    let wanted = family(loader);
    let architecture = elf.architecture();
    let label = wanted.map(|family| format!(" ({family})")).unwrap_or_default();
    let base = match wanted {
        Some("musl") => "use a base image with musl, such as alpine",
        _ => "use a base image with glibc, such as debian:stable-slim",
    };
    let Some((path, family)) = have.first() else {
        let why = format!("needs the dynamic loader {}{label}, and the image has none at all", shown(loader));
        return (why, format!("link it statically, or {base}"));
    };
    match wanted {
        Some(wanted) if !have.iter().any(|(_, family)| *family == wanted) => (
            format!("was built for {wanted} (its loader is {}), but the image has {family} ({path})", shown(loader)),
            format!("build it for {family}, link it statically, or {base}"),
        ),
        Some(_) => (
            format!("needs the loader {}{label} for {architecture}; the image has {path} only", shown(loader)),
            format!("install the {family} of the image for {architecture}, or build the program for the image"),
        ),
        None => (
            format!("needs the loader {}, which is not in the image; it has {path} ({family})", shown(loader)),
            "the program was linked for another system; build it on the base image, or link it statically".to_owned(),
        ),
    }
}

/// A library that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub library: String,
    /// The file that needs it.
    pub needed_by: String,
    /// A library of the image with the same name but another version.
    pub other: Option<String>,
}

/// The libraries that the program at `path` needs, by itself or by others, and that the image lacks. What might lie below one
/// of `unseen`, which were mounts of the container, counts as there.
pub fn missing(
    root: &Root,
    path: &Path,
    program: &Elf,
    library_path: Option<&str>,
    unseen: &[PathBuf],
) -> Vec<Missing> {
    let musl = program.interpreter.as_deref().and_then(family) == Some("musl");
    let mut directories: Vec<PathBuf> = configured(root);
    directories.extend(library_path.into_iter().flat_map(|list| list.split(':')).map(PathBuf::from));
    let cache = root.read_file(Path::new("/etc/ld.so.cache"), MAX_CONFIGURATION).ok().flatten().unwrap_or_default();
    // Paths are the strings of the cache that begin with a slash, whatever its form.
    let cached: Vec<&str> = cache
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .filter(|text| text.starts_with('/'))
        .collect();
    let (mut seen, mut absent) = (BTreeSet::new(), Vec::new());
    let mut todo = VecDeque::from([(path.to_owned(), program.clone())]);
    while let Some((file, elf)) = todo.pop_front() {
        let origin = file.parent().unwrap_or(Path::new("/")).display().to_string();
        for part in elf.search.iter().flat_map(|list| list.split(':')) {
            let part = part.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
            directories
                .extend(["lib", "lib64"].map(|lib| PathBuf::from(part.replace("${LIB}", lib).replace("$LIB", lib))));
        }
        for library in &elf.needed {
            if seen.len() >= MAX_LIBRARIES || !seen.insert(library.clone()) || (musl && built_in(library)) {
                continue;
            }
            let places: Vec<PathBuf> = if library.contains('/') {
                vec![PathBuf::from(library)]
            } else {
                let known = cached.iter().map(PathBuf::from).filter(|path| path.ends_with(library));
                directories.iter().map(|directory| directory.join(library)).chain(known).collect()
            };
            let reached = places.iter().find_map(|place| walk(root, place).ok());
            match reached {
                Some(reached) => {
                    let parsed = open_regular(root, &reached.path).and_then(|file| elf::parse(&FileSource(file)));
                    todo.extend(parsed.map(|elf| (reached.path, elf)));
                }
                None if places.iter().any(|place| unseen.iter().any(|mount| place.starts_with(mount))) => {}
                None => absent.push(Missing {
                    library: library.clone(),
                    needed_by: file.display().to_string(),
                    other: another_version(root, &directories, library),
                }),
            }
        }
    }
    absent
}

/// Libraries that are the loader itself with musl.
fn built_in(library: &str) -> bool {
    ["libc.", "libpthread.", "libm.", "librt.", "libdl.", "libutil.", "libxnet.", "ld-musl"]
        .iter()
        .any(|name| library.starts_with(name))
}

fn another_version(root: &Root, directories: &[PathBuf], library: &str) -> Option<String> {
    let (stem, _) = library.split_once(".so")?;
    let stem = format!("{stem}.so");
    let others = directories.iter().flat_map(|directory| names(root, directory));
    others.filter(|name| name.starts_with(&stem)).max()
}

/// The directories that loaders look in by configuration, and the usual ones.
fn configured(root: &Root) -> Vec<PathBuf> {
    let read = |path: &Path| {
        let bytes = root.read_file(path, MAX_CONFIGURATION).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
    let parts = Path::new("/etc/ld.so.conf.d");
    files.extend(names(root, parts).into_iter().map(|name| parts.join(name)));
    let musl = names(root, Path::new("/etc")).into_iter().filter(|name| name.starts_with("ld-musl-"));
    files.extend(musl.map(|name| Path::new("/etc").join(name)));
    let mut directories: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).collect();
    for file in files.into_iter().take(64) {
        let text = read(&file);
        let lines = text.split(['\n', ':', ' ', '\t', ',']).map(str::trim).filter(|line| line.starts_with('/'));
        directories.extend(lines.take(256).map(PathBuf::from));
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::super::elf::tests::program;
    use super::*;

    fn image(files: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let root = Root::new(std::fs::File::open(directory.path()).unwrap().into());
        (directory, root)
    }

    fn said(image: &Root, loader: &str) -> String {
        let file = program(62, loader, &[], None);
        let (why, hint) = missing_loader(image, &elf::parse(file.as_slice()).unwrap(), loader);
        format!("{why}; {hint}")
    }

    #[test]
    fn both_c_libraries_are_named() {
        let (_kept, glibc) = image(&[("lib64/ld-linux-x86-64.so.2", vec![])]);
        let text = said(&glibc, "/lib/ld-musl-x86_64.so.1");
        assert!(text.contains("built for musl (its loader is /lib/ld-musl-x86_64.so.1)"), "{text}");
        assert!(
            text.contains("the image has glibc (/lib64/ld-linux-x86-64.so.2)") && text.contains("alpine"),
            "{text}"
        );
        let (_kept, musl) = image(&[("lib/ld-musl-x86_64.so.1", vec![])]);
        let text = said(&musl, "/lib64/ld-linux-x86-64.so.2");
        assert!(text.contains("built for glibc") && text.contains("the image has musl"), "{text}");
        let (_kept, none) = image(&[("bin/x", vec![])]);
        assert!(said(&none, "/lib64/ld-linux-x86-64.so.2").contains("the image has none at all"));
        assert!(said(&glibc, "/lib/ld-linux.so.2").contains("/lib64/ld-linux-x86-64.so.2 only"));
        assert!(said(&glibc, "/nix/store/x/lib/loader").contains("which is not in the image"));
    }

    #[test]
    fn missing_libraries_are_found_through_others_and_only_real_ones() {
        let lib = |needed: &[&str]| program(62, "/l", needed, None);
        let (_kept, root) = image(&[
            ("usr/lib/liba.so.1", lib(&["libb.so.2", "libc.so.6"])),
            ("usr/lib/libc.so.6", lib(&[])),
            ("usr/lib/libb.so.3", lib(&[])),
            ("opt/app/lib/libown.so", lib(&["libconf.so"])),
            ("srv/libs/libconf.so", lib(&[])),
            ("etc/ld.so.conf.d/srv.conf", b"# ours\n/srv/libs\n".to_vec()),
            ("etc/ld.so.cache", b"\x01\0libcached.so.1\0/var/far/libcached.so.1\0".to_vec()),
            ("var/far/libcached.so.1", lib(&[])),
        ]);
        let needed = ["liba.so.1", "libown.so", "libcached.so.1", "libnone.so"];
        let file = program(62, "/lib64/ld-linux-x86-64.so.2", &needed, Some("$ORIGIN/lib"));
        let found = missing(&root, Path::new("/opt/app/run"), &elf::parse(file.as_slice()).unwrap(), None, &[]);
        let names: Vec<_> = found.iter().map(|one| (one.library.as_str(), one.needed_by.as_str())).collect();
        assert_eq!(names, [("libnone.so", "/opt/app/run"), ("libb.so.2", "/usr/lib/liba.so.1")]);
        assert_eq!(found[1].other.as_deref(), Some("libb.so.3"));
        let musl = program(62, "/lib/ld-musl-x86_64.so.1", &["libc.musl-x86_64.so.1"], None);
        assert!(missing(&root, Path::new("/x"), &elf::parse(musl.as_slice()).unwrap(), None, &[]).is_empty());
        let unseen = [PathBuf::from("/usr/lib")];
        assert!(missing(&root, Path::new("/x"), &elf::parse(file.as_slice()).unwrap(), None, &unseen).is_empty());
    }
}
