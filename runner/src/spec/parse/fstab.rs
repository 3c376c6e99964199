//! Mounts in the form of fstab(5): `SOURCE TARGET TYPE OPTIONS [DUMP PASS]`, as LXC's containers have them in their
//! configuration. A line becomes the same request that `--mount` makes.

use std::path::Path;

use super::mount::{self, BindRecursion, MountKind, MountRequest, Propagation};
use super::{Error, Result, size, unknown};

const WHAT: &str = "mount entry";

/// One line; `None` for a comment or nothing. A target without a slash in front is below the root all the same, as LXC has
/// it. Spaces in paths are written `\040`.
///
/// # Errors
/// A line with too few fields, a type or option that cannot be mounted.
pub fn fstab(line: &str) -> Result<Option<MountRequest>> {
    let text = line.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let error = |reason: String| Error::invalid(WHAT, text, reason);
    let fields: Vec<String> = text.split_whitespace().map(unescape).collect();
    let [source, target, kind, options, rest @ ..] = fields.as_slice() else {
        let hint = "a line is SOURCE TARGET TYPE OPTIONS, as `/srv/data srv none bind,ro 0 0`";
        return Err(error("it has too few fields".to_owned()).with_hint(hint));
    };
    if rest.len() > 2 || rest.iter().any(|number| number.parse::<u8>().is_err()) {
        return Err(error("what follows the options are at most two numbers".to_owned()));
    }
    let target = format!("/{}", target.trim_start_matches('/'));
    mount::target(WHAT, text, &target)?;
    let words: Vec<&str> = options.split(',').filter(|word| !word.is_empty()).collect();
    let binds = words.iter().any(|word| matches!(*word, "bind" | "rbind"));
    let kind = match kind.as_str() {
        _ if binds => MountKind::Bind,
        "none" | "bind" => MountKind::Bind,
        "tmpfs" => MountKind::Tmpfs,
        "devpts" => MountKind::Devpts,
        "proc" if target == "/proc" => MountKind::Proc,
        "auto" | "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "squashfs" | "erofs" | "iso9660" | "vfat" => {
            MountKind::DiskImage
        }
        other => {
            let known =
                ["none", "bind", "tmpfs", "devpts", "proc", "ext4", "xfs", "btrfs", "squashfs", "erofs", "auto"];
            return Err(unknown(WHAT, text, other, &known));
        }
    };
    let takes_source = matches!(kind, MountKind::Bind | MountKind::DiskImage);
    if takes_source && !Path::new(source).is_absolute() {
        return Err(error(format!("its source `{source}` is not an absolute path")));
    }
    let mut request = MountRequest::new(kind, takes_source.then_some(source.as_str()), &target);
    if kind == MountKind::Bind && !words.contains(&"rbind") {
        request.recursion = BindRecursion::Disabled;
    }
    for word in words {
        match (word, word.split_once('=')) {
            ("ro", _) => request.read_only = true,
            // What is missing in the container is made anyway.
            ("rw" | "bind" | "rbind" | "defaults" | "create=dir" | "create=file" | "loop" | "nofail", _) => {}
            ("optional", _) => request.optional = true,
            ("exec" | "noexec" | "dev" | "nodev" | "suid" | "nosuid" | "noatime" | "relatime" | "strictatime", _) => {
                request.options.push(word.to_owned());
            }
            (_, Some(("size", value))) if kind == MountKind::Tmpfs && !value.ends_with('%') => {
                request.tmpfs_size = Some(size(WHAT, value)?);
            }
            (_, Some(("mode", value))) if kind == MountKind::Tmpfs => {
                request.tmpfs_mode = Some(mount::mode(text, value)?);
            }
            (_, Some(("size" | "uid" | "gid" | "nr_inodes", _))) if kind == MountKind::Tmpfs => {
                request.options.push(word.to_owned());
            }
            (_, Some(("offset", value))) if kind == MountKind::DiskImage => {
                request.options.push(format!("offset={}", size(WHAT, value)?));
            }
            _ => match Propagation::parse(word) {
                Some(propagation) if kind == MountKind::Bind => request.propagation = Some(propagation),
                _ => return Err(error(format!("the option `{word}` is not known"))),
            },
        }
    }
    Ok(Some(request))
}

/// `\040` and its like, as fstab(5) writes spaces and tabs.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |field, (code, sign)| field.replace(code, sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_fstab() {
        assert_eq!(fstab("  # a comment").unwrap(), None);
        let bind = fstab("/srv/a\\040b srv/x none bind,ro,create=dir,optional 0 0").unwrap().unwrap();
        let expected = MountRequest {
            read_only: true,
            optional: true,
            recursion: BindRecursion::Disabled,
            ..MountRequest::new(MountKind::Bind, Some("/srv/a b"), "/srv/x")
        };
        assert_eq!(bind, expected);
        let tmpfs = fstab("tmpfs /run tmpfs size=1m,mode=755,nosuid").unwrap().unwrap();
        assert_eq!((tmpfs.kind, tmpfs.tmpfs_size, tmpfs.tmpfs_mode), (MountKind::Tmpfs, Some(1 << 20), Some(0o755)));
        let image = fstab("/disk.img /mnt ext4 loop,offset=1m").unwrap().unwrap();
        assert_eq!((image.kind, image.options), (MountKind::DiskImage, vec!["offset=1048576".to_owned()]));
        for bad in ["/a /b none", "a /b none bind", "/a /../b none bind", "/a /b nfs rw", "/a /b none bind,nonsense"] {
            assert!(fstab(bad).is_err(), "{bad}");
        }
    }
}
