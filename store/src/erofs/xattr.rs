//! Extended attributes as an inode carries them, and which of an entry's attributes Linux can show at all.
//!
//! The names by which overlayfs marks opaque directories and directories with whiteouts are here and nowhere else; an image's own attributes of those names never get through ([`is_visible`]).

use super::format::get16;
use crate::layer::{Entry, Kind};

/// Marks a directory that hides all that lower layers have in it (overlayfs); name behind `trusted.` or `user.`.
pub(crate) const OPAQUE_MARK: (&str, &[u8]) = ("overlay.opaque", b"y");
/// Marks a directory with whiteouts in it, so that overlayfs looks for them even if no other layer has the directory.
pub(crate) const ORIGIN_MARK: (&str, &[u8]) = ("overlay.origin", b"");
const OPAQUE: (u8, &[u8], &[u8]) = (TRUSTED, OPAQUE_MARK.0.as_bytes(), OPAQUE_MARK.1);
const ORIGIN: (u8, &[u8], &[u8]) = (TRUSTED, ORIGIN_MARK.0.as_bytes(), ORIGIN_MARK.1);

const USER: u8 = 1;
const TRUSTED: u8 = 4;
/// Index and prefix of the namespaces that exist; an ACL's index stands for the whole name.
const NAMESPACES: [(u8, &[u8]); 5] = [
    (USER, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (TRUSTED, b"trusted."),
    (6, b"security."),
];
/// Bytes of the header before the first attribute.
const HEADER: usize = 12;
/// Longest value the format holds, bytes.
const VALUE_MAX: usize = u16::MAX as usize;

/// Splits `name` into the index of its namespace and the rest; `None` for a namespace that Linux does not have (as
/// `com.apple.…` in layers made elsewhere) or a name too long.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    let (index, prefix) = NAMESPACES.iter().find(|(_, prefix)| name.starts_with(prefix))?;
    let rest = &name[prefix.len()..];
    let acl = !prefix.ends_with(b".");
    (acl == rest.is_empty() && name.len() <= 255 && !name.contains(&0)).then_some((*index, rest))
}

/// Whether attribute `name` of an entry of this kind is visible in a mounted layer, with any snapshotter: its
/// namespace exists, overlayfs does not read it as one of its own marks, and it is not in `user.` on something that
/// is neither file nor directory, nor an ACL on a symbolic link, where Linux refuses it (xattr(7)).
#[must_use]
pub fn is_visible(kind: &Kind, name: &[u8]) -> bool {
    let Some((index, rest)) = split(name) else { return false };
    let plain = matches!(kind, Kind::File { .. } | Kind::Directory { .. });
    let default_acl = index == 3;
    !((index == USER || index == TRUSTED) && rest.starts_with(b"overlay."))
        && (index != USER || plain)
        && (index != 2 || !matches!(kind, Kind::Symlink { .. }))
        && (!default_acl || matches!(kind, Kind::Directory { .. }))
}

/// The attributes an inode of `entry` gets, split by namespace, marks of overlayfs first.
fn attributes(entry: &Entry, has_whiteouts: bool) -> impl Iterator<Item = (u8, &[u8], &[u8])> {
    let opaque = matches!(entry.kind, Kind::Directory { opaque: true, .. }).then_some(OPAQUE);
    let origin = has_whiteouts.then_some(ORIGIN);
    let whiteout = matches!(entry.kind, Kind::Whiteout);
    let own = entry
        .xattrs
        .iter()
        .filter(move |(name, _)| !whiteout && is_visible(&entry.kind, name))
        .filter_map(|(name, value)| split(name).map(|(index, rest)| (index, rest, value.as_slice())));
    opaque.into_iter().chain(origin).chain(own)
}

/// Bytes that the attributes of `entry` take behind its inode: 0 or header and attributes, a multiple of 4.
///
/// # Errors
/// Why they do not fit the format.
pub fn size(entry: &Entry, has_whiteouts: bool) -> Result<usize, String> {
    let mut total = 0;
    for (_, name, value) in attributes(entry, has_whiteouts) {
        if value.len() > VALUE_MAX {
            return Err(format!("an extended attribute of {} bytes, the limit is {VALUE_MAX}", value.len()));
        }
        total += (4 + name.len() + value.len()).next_multiple_of(4);
    }
    match total {
        0 => Ok(0),
        _ if total / 4 >= usize::from(u16::MAX) => Err("extended attributes of more than 256 KiB".to_owned()),
        _ => Ok(HEADER + total),
    }
}

/// The `i_xattr_icount` for `size` bytes.
pub fn count(size: usize) -> u16 {
    if size == 0 { 0 } else { ((size - HEADER) / 4 + 1) as u16 }
}

/// Appends the attributes; as many bytes as [`size`] said.
pub fn encode(entry: &Entry, has_whiteouts: bool, out: &mut Vec<u8>) {
    let start = out.len();
    for (index, name, value) in attributes(entry, has_whiteouts) {
        if out.len() == start {
            out.resize(start + HEADER, 0);
        }
        out.extend_from_slice(&[name.len() as u8, index]);
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(value);
        out.resize(start + (out.len() - start).next_multiple_of(4), 0);
    }
}

/// What [`decode`] finds: the entry's own attributes, sorted by name, and the marks of overlayfs.
#[derive(Default)]
pub struct Decoded {
    pub own: Vec<(Vec<u8>, Vec<u8>)>,
    pub opaque: bool,
    pub has_whiteouts: bool,
}

/// Bytes behind the inode that an `i_xattr_icount` stands for.
pub fn bytes_of(count: u16) -> usize {
    if count == 0 { 0 } else { HEADER + (usize::from(count) - 1) * 4 }
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(raw: &[u8]) -> Result<Decoded, String> {
    let mut found = Decoded::default();
    if raw.is_empty() {
        return Ok(found);
    }
    if raw.len() < HEADER || raw[4] != 0 {
        return Err("shared extended attributes, which img does not write".to_owned());
    }
    let mut rest = &raw[HEADER..];
    while rest.len() >= 4 {
        let (name_length, index, value_length) = (usize::from(rest[0]), rest[1], usize::from(get16(rest, 2)));
        let end = 4 + name_length + value_length;
        let body = rest.get(4..end).ok_or("extended attribute cut short")?;
        let (name, value) = body.split_at(name_length);
        if (index, name, value) == OPAQUE {
            found.opaque = true;
        } else if (index, name, value) == ORIGIN {
            found.has_whiteouts = true;
        } else {
            let (_, prefix) = NAMESPACES.iter().find(|(known, _)| *known == index).ok_or("unknown xattr namespace")?;
            found.own.push(([prefix, name].concat(), value.to_vec()));
        }
        rest = rest.get(end.next_multiple_of(4)..).ok_or("extended attributes cut short")?;
    }
    found.own.sort();
    Ok(found)
}
