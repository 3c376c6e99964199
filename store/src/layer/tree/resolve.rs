//! Resolves a path in the tree as the kernel would with the tree's root as its root (openat2(2), `RESOLVE_IN_ROOT`):
//! absolute links start at the root, `..` stops there, nothing leads out.

use super::{ROOT, Tree};
use crate::error::{Error, Result};
use crate::layer::{Kind, LayerPath};

/// Most symbolic links followed, as in the kernel (path_resolution(7)).
const LINKS_MAX: usize = 40;

impl Tree {
    /// The path without symbolic links that `path` leads to; a link that is its last name is followed if
    /// `follow_last` says so or a slash comes after it. What is not there may follow what is: from the first missing
    /// name on, names are taken as they are and `..` drops one.
    ///
    /// # Errors
    /// [`Error::Invalid`] if something that is no directory stands in the way or a name is not legal,
    /// [`Error::Limit`] after 40 links.
    pub fn resolve(&self, path: &[u8], follow_last: bool) -> Result<LayerPath> {
        let invalid = |reason: String| Error::Invalid { what: "path", reason };
        let shown = || path[..path.len().min(200)].escape_ascii().to_string();
        // What is still to be walked, last name first; and where we are: directories from the root on, then names
        // that are not there.
        let mut pending: Vec<&[u8]> = path.split(|&byte| byte == b'/').rev().collect();
        let mut at = vec![ROOT];
        let mut missing: Vec<&[u8]> = Vec::new();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            let here = at[at.len() - 1];
            if missing.is_empty() && !self.is_directory(here) {
                return Err(invalid(format!("{}: not a directory on the way", shown())));
            }
            match name {
                b"" | b"." => continue,
                b".." => {
                    if missing.pop().is_none() && at.len() > 1 {
                        at.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let found = if missing.is_empty() { self.child(here, name) } else { None };
            let Some(found) = found else {
                missing.push(name);
                continue;
            };
            match &self.inodes[self.nodes[found as usize].inode as usize].kind {
                Kind::Symlink { target } if follow_last || !pending.is_empty() => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Error::Limit {
                            what: format!("symbolic links in path {}", shown()),
                            limit: LINKS_MAX.to_string(),
                        });
                    }
                    if target.first() == Some(&b'/') {
                        at.truncate(1);
                    }
                    pending.extend(target.split(|&byte| byte == b'/').rev());
                }
                _ => at.push(found),
            }
        }
        let mut raw = Vec::new();
        for name in at[1..].iter().map(|&node| self.name(node)).chain(missing) {
            raw.push(b'/');
            raw.extend_from_slice(name);
        }
        LayerPath::parse(&raw).map_err(|error| invalid(error.to_string()))
    }
}
