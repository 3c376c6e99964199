//! The options of a mount in a Spec, as the kernel's interface wants them. Pure.
//!
//! The words are those of mount(8) and of the OCI runtime spec ("Linux mount options"). A word that is known becomes an
//! attribute of the mount or its propagation; all others go to the file system as they are. What this version cannot do is
//! refused by name, never ignored.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::mount;
use crate::sys::MountAttr;

/// The options of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Attributes of the topmost mount.
    pub attributes: MountAttr,
    /// Attributes of all mounts of the tree (`rro` and its like).
    pub recursive: MountAttr,
    /// `MS_PRIVATE`, … and whether for the whole tree; nothing said: private.
    pub propagation: Option<(u64, bool)>,
    /// `bind` or `rbind`, and whether it is the latter.
    pub bind: Option<bool>,
    /// Ids of its own (`idmap`, and `ridmap` for the whole tree).
    pub id_map: Option<bool>,
    /// Begin with a copy of what the image has there.
    pub copy_up: bool,
    /// What of the source is mounted (`X-mount.subdir=`, as mount(8) has it): looked up inside of it.
    pub subdir: Option<PathBuf>,
    /// Writes go to memory and are gone with the mount (`X-overlay`): the source is not changed.
    pub overlay: bool,
    /// What the file system itself is told: `key=value` or a bare word.
    pub data: Vec<(String, Option<String>)>,
}

/// Words that stand for attributes: name, bits to set, bits to clear.
const WORDS: [(&str, u64, u64); 17] = [
    ("ro", mount::MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, mount::MOUNT_ATTR_RDONLY),
    ("nosuid", mount::MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, mount::MOUNT_ATTR_NOSUID),
    ("nodev", mount::MOUNT_ATTR_NODEV, 0),
    ("dev", 0, mount::MOUNT_ATTR_NODEV),
    ("noexec", mount::MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, mount::MOUNT_ATTR_NOEXEC),
    ("nodiratime", mount::MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, mount::MOUNT_ATTR_NODIRATIME),
    ("relatime", mount::MOUNT_ATTR_RELATIME, mount::MOUNT_ATTR__ATIME),
    ("norelatime", mount::MOUNT_ATTR_STRICTATIME, mount::MOUNT_ATTR__ATIME),
    ("noatime", mount::MOUNT_ATTR_NOATIME, mount::MOUNT_ATTR__ATIME),
    ("atime", mount::MOUNT_ATTR_RELATIME, mount::MOUNT_ATTR__ATIME),
    ("strictatime", mount::MOUNT_ATTR_STRICTATIME, mount::MOUNT_ATTR__ATIME),
    ("nosymfollow", mount::MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, mount::MOUNT_ATTR_NOSYMFOLLOW),
];

/// Words of propagation: name, type, whole tree.
const PROPAGATION: [(&str, u64, bool); 8] = [
    ("private", libc::MS_PRIVATE, false),
    ("rprivate", libc::MS_PRIVATE, true),
    ("slave", libc::MS_SLAVE, false),
    ("rslave", libc::MS_SLAVE, true),
    ("shared", libc::MS_SHARED, false),
    ("rshared", libc::MS_SHARED, true),
    ("unbindable", libc::MS_UNBINDABLE, false),
    ("runbindable", libc::MS_UNBINDABLE, true),
];

/// All words that mean something here, in alphabetical order; others go to the file system.
pub fn words() -> Vec<String> {
    let mut all: Vec<String> = WORDS.iter().flat_map(|(word, ..)| [(*word).to_owned(), format!("r{word}")]).collect();
    all.extend(PROPAGATION.iter().map(|(word, ..)| (*word).to_owned()));
    all.extend(["async", "bind", "defaults", "idmap", "nomand", "rbind", "ridmap", "tmpcopyup"].map(str::to_owned));
    all.sort();
    all
}

/// The type and tree-ness of a word of propagation.
pub fn propagation(word: &str) -> Option<(u64, bool)> {
    PROPAGATION.iter().find(|(name, ..)| *name == word).map(|(_, kind, tree)| (*kind, *tree))
}

fn add(attributes: &mut MountAttr, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !set | clear;
}

/// Reads the options of one mount.
///
/// # Errors
/// [`Error::Invalid`] naming a word that is not supported.
pub fn parse(options: &[String]) -> Result<MountOptions> {
    let mut parsed = MountOptions::default();
    for option in options {
        let word = option.as_str();
        if let Some((_, set, clear)) = WORDS.iter().find(|(name, ..)| *name == word) {
            add(&mut parsed.attributes, *set, *clear);
        } else if let Some((_, set, clear)) =
            word.strip_prefix('r').and_then(|word| WORDS.iter().find(|(name, ..)| *name == word))
        {
            add(&mut parsed.recursive, *set, *clear);
        } else if let Some(found) = propagation(word) {
            parsed.propagation = Some(found);
        } else {
            match word {
                "bind" => parsed.bind = Some(parsed.bind.unwrap_or(false)),
                "rbind" => parsed.bind = Some(true),
                "defaults" | "async" | "nomand" | "loud" | "" => {}
                "X-overlay" => parsed.overlay = true,
                "idmap" => parsed.id_map = Some(false),
                "ridmap" => parsed.id_map = Some(true),
                "tmpcopyup" => parsed.copy_up = true,
                "copy-symlink" | "remount" | "mand" => {
                    return Err(Error::invalid(format!("the mount option `{word}` is not supported")));
                }
                _ => parsed.data.push(match word.split_once('=') {
                    Some(("X-mount.subdir", path)) => {
                        parsed.subdir = Some(PathBuf::from(path));
                        continue;
                    }
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (word.to_owned(), None),
                }),
            }
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[&str]) -> Result<MountOptions> {
        parse(&list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_become_attributes_and_the_rest_is_data() {
        let parsed = options(&["nosuid", "noexec", "mode=755", "size=64m", "ro", "rw", "newinstance"]).unwrap();
        assert_eq!(parsed.attributes.set, mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NOEXEC);
        assert_eq!(parsed.attributes.clear, mount::MOUNT_ATTR_RDONLY, "the later word wins");
        let data = [("mode", Some("755")), ("size", Some("64m")), ("newinstance", None)];
        assert_eq!(parsed.data, data.map(|(k, v)| (k.to_owned(), v.map(str::to_owned))));
    }

    #[test]
    fn recursive_words_go_to_the_whole_tree() {
        assert_eq!(options(&["rbind", "ro", "rro"]).unwrap().recursive.set, mount::MOUNT_ATTR_RDONLY);
        assert_eq!(options(&["rbind", "ro"]).unwrap().recursive, MountAttr::default());
        assert_eq!(options(&["bind", "rro"]).unwrap().recursive.set, mount::MOUNT_ATTR_RDONLY);
        assert_eq!(options(&["rbind", "rslave"]).unwrap().propagation, Some((libc::MS_SLAVE, true)));
    }

    #[test]
    fn atime_modes_replace_each_other() {
        let parsed = options(&["noatime"]).unwrap().attributes;
        assert_eq!((parsed.set, parsed.clear), (mount::MOUNT_ATTR_NOATIME, mount::MOUNT_ATTR__ATIME));
        assert_eq!(options(&["noatime", "strictatime"]).unwrap().attributes.set, mount::MOUNT_ATTR_STRICTATIME);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        assert!(options(&["remount"]).unwrap_err().to_string().contains("`remount`"));
    }
}
