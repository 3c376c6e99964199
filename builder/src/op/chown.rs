//! `--chown`, and the owner of a directory that WORKDIR makes: `user[:group]`, by number or by a name of the
//! `/etc/passwd` and `/etc/group` that the layers below have. A user by number has the group of that number, a user by
//! name has the group of its line, unless a group is given.

use super::OpError;

/// Largest `/etc/passwd` or `/etc/group` read, in bytes.
const FILE_MAX: u64 = 4 << 20;

/// Reads a small file of the tree that names are looked up in; none if it is not there.
pub type ReadFile<'a> = &'a dyn Fn(&str, u64) -> Result<Option<Vec<u8>>, OpError>;

/// User and group number of `owner`.
///
/// # Errors
/// [`OpError`] for a name that is not there, or a number that is none (or -1).
pub fn resolve(owner: &str, read: ReadFile<'_>) -> Result<(u32, u32), OpError> {
    let (user, group) = match owner.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (owner, None),
    };
    let (uid, primary) = match number(user)? {
        Some(uid) => (uid, uid),
        None if user.is_empty() => (0, 0),
        None => {
            let line = find(read, "/etc/passwd", user)?.ok_or_else(|| unknown("user", user, "/etc/passwd"))?;
            let field = |index: usize| line.get(index).and_then(|field| number(field).ok().flatten());
            match (field(2), field(3)) {
                (Some(uid), Some(gid)) => (uid, gid),
                _ => return Err(OpError::Message(format!("the line of {user} in /etc/passwd is damaged"))),
            }
        }
    };
    let gid = match group {
        None => primary,
        Some(group) => match number(group)? {
            Some(gid) => gid,
            None => {
                let line = find(read, "/etc/group", group)?.ok_or_else(|| unknown("group", group, "/etc/group"))?;
                let gid = line.get(2).and_then(|field| number(field).ok().flatten());
                gid.ok_or_else(|| OpError::Message(format!("the line of {group} in /etc/group is damaged")))?
            }
        },
    };
    Ok((uid, gid))
}

fn unknown(what: &str, name: &str, file: &str) -> OpError {
    OpError::Advised {
        message: format!("there is no {what} {name} in {file} of the image"),
        hint: format!("use a number, or create the {what} in a step before"),
    }
}

/// A number from 0 to 2^32 - 2; none if the text is no number at all.
fn number(text: &str) -> Result<Option<u32>, OpError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => Err(OpError::Message(format!("{text} is not a user or group number"))),
    }
}

/// The fields of the first line for `name`.
fn find(read: ReadFile<'_>, path: &str, name: &str) -> Result<Option<Vec<String>>, OpError> {
    let Some(bytes) = read(path, FILE_MAX)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    Ok(lines.find(|fields| fields.first().is_some_and(|first| first == name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(text: &str) -> Result<(u32, u32), OpError> {
        resolve(text, &|path, _| {
            Ok(match path {
                "/etc/passwd" => Some(b"root:x:0:0:::\nbad:x:y\nweb:x:33:44::/:/bin/sh\n".to_vec()),
                "/etc/group" => Some(b"staff:x:50:web\n".to_vec()),
                _ => None,
            })
        })
    }

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("10:11", (10, 11)),
            ("55", (55, 55)),
            ("web", (33, 44)),
            ("web:staff", (33, 50)),
            ("7:staff", (7, 50)),
            ("web:", (33, 44)),
            (":staff", (0, 50)),
            ("4294967294:0", (4_294_967_294, 0)),
        ] {
            assert_eq!(owner(text).unwrap(), expected, "{text}");
        }
        for bad in ["nobody", "web:none", "4294967295", "99999999999", "bad", "-1"] {
            assert!(owner(bad).is_err(), "{bad}");
        }
        assert!(resolve("web", &|_, _| Ok(None)).unwrap_err().to_string().contains("no user web"));
    }
}
