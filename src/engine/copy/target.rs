//! Docker's rules for where a copy lands: a directory that exists takes the source into it (its contents only for
//! `SOURCE/.`), else the last name of the destination is what the source will be called. Missing parents are an error.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use store::layer::LayerPath;

use super::place::{Place, failed};
use super::source::Source;
use crate::error::{CommandError, Result};

/// Links followed at the end of a destination, as in the kernel.
const LINKS_MAX: usize = 40;

/// The directory to write into, what the source is called there (the root if its contents go straight into it), and the
/// directory as messages call it.
///
/// # Errors
/// A missing parent, a directory that would replace a file.
pub fn find(place: &Place, path: &str, source: &Source) -> Result<(OwnedFd, LayerPath, String)> {
    let shown = place.shown(path);
    let mut path = path.as_bytes().to_vec();
    for _ in 0..LINKS_MAX {
        let must_be_directory = path.ends_with(b"/") || path.ends_with(b"/.") || path == b".";
        match place.open(&path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(directory) => {
                let base = if source.contents { LayerPath::root() } else { LayerPath::parse(&source.name)? };
                if base.is_root() && !source.is_directory() {
                    return Err(failed("copy", &source.shown, Errno::NOTDIR));
                }
                return Ok((directory, base, place.shown(&String::from_utf8_lossy(&path))));
            }
            Err(Errno::NOENT | Errno::NOTDIR) if must_be_directory && !source.is_directory() => {
                return Err(CommandError::new(format!("cannot copy to {shown}: there is no such directory")));
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(failed("copy to", &shown, error)),
        }
        let (parent, name) = split(&path);
        let base = LayerPath::parse(&name).ok().filter(|base| !base.is_root());
        let base = base.ok_or_else(|| failed("copy to", &shown, Errno::NOENT))?;
        let last = [parent.as_slice(), b"/", &name].concat();
        match place.open(&last, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(there) => {
                let stat = rustix::fs::fstat(&there).map_err(|error| failed("copy to", &shown, error))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                    // As docker does: what the link leads to is written, inside the same root.
                    let target = rustix::fs::readlinkat(&there, c"", Vec::new())
                        .map_err(|error| failed("copy to", &shown, error))?;
                    let target = target.into_bytes();
                    path = if target.starts_with(b"/") { target } else { [&parent, &b"/"[..], &target].concat() };
                    continue;
                }
                if source.is_directory() {
                    return Err(CommandError::new(format!(
                        "cannot copy the directory {} onto the file {shown}",
                        source.shown
                    )));
                }
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("copy to", &shown, error)),
        }
        let directory =
            place.open(&parent, OFlags::PATH | OFlags::DIRECTORY).map_err(|error| failed("copy to", &shown, error))?;
        return Ok((directory, base, place.shown(&String::from_utf8_lossy(&parent))));
    }
    Err(failed("copy to", &shown, Errno::LOOP))
}

/// The directory of a path and its last name.
fn split(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut end = path.len();
    loop {
        if path[..end].ends_with(b"/.") {
            end -= 2;
        } else if path[..end].ends_with(b"/") {
            end -= 1;
        } else {
            break;
        }
    }
    let path = &path[..end];
    match path.iter().rposition(|&byte| byte == b'/') {
        None => (b".".to_vec(), path.to_vec()),
        Some(0) => (b"/".to_vec(), path[1..].to_vec()),
        Some(at) => (path[..at].to_vec(), path[at + 1..].to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn the_last_name() {
        let cases: [(&str, &str, &str); 5] =
            [("a", ".", "a"), ("/a", "/", "a"), ("/a/b/", "/a", "b"), ("/a/b/.", "/a", "b"), ("./x", ".", "x")];
        for (path, parent, name) in cases {
            assert_eq!(split(path.as_bytes()), (parent.as_bytes().to_vec(), name.as_bytes().to_vec()), "{path}");
        }
    }
}
