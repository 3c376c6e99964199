//! Who the program runs as: numbers of the Spec, or names looked up in the image's /etc/passwd and /etc/group.
//!
//! The files belong to the image and may be anything: they are opened below the root, must be regular and short, and a
//! broken line is skipped. Parsing is pure. Docker's rules: a user found by name or number brings its main group, its home and
//! the groups that list it; a group named with the user replaces those; an unknown number is taken as it is, an unknown
//! name is an error.

use std::path::Path;

use oci_spec::runtime::User;

use super::Child;
use crate::error::{Doing, Error, Result};
use crate::inroot::Root;
use crate::sys;

/// The largest /etc/passwd or /etc/group that is read.
const MAX_FILE: u64 = 16 << 20;

/// Numbers to run as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Main group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// The home directory of /etc/passwd.
    pub home: Option<String>,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, uid, gid, _, home, ..] if !name.is_empty() => {
                Some(PasswdEntry { name, uid: number(uid)?, gid: number(gid)?, home })
            }
            _ => None,
        }
    })
}

/// Name, number and members of each group.
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [name, _, gid, members, ..] if !name.is_empty() => Some((*name, number(gid)?, *members)),
            [name, _, gid] if !name.is_empty() => Some((*name, number(gid)?, "")),
            _ => None,
        }
    })
}

/// A user or group number: decimal, and not the one that means "leave as it is".
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|number| *number != u32::MAX)
}

/// Finds out the numbers.
///
/// `more_groups` are names of groups beside.
///
/// # Errors
/// An unknown name, or a number out of range.
pub fn resolve(user: &User, more_groups: &[String], passwd_text: &str, group_text: &str) -> Result<Identity> {
    let wanted = user.username().as_deref().filter(|name| !name.is_empty());
    let mut identity = Identity { uid: user.uid(), gid: user.gid(), ..Identity::default() };
    let (name, group) = match wanted {
        Some(text) => match text.split_once(':') {
            Some((name, group)) => (Some(name), Some(group)),
            None => (Some(text), None),
        },
        None => (None, None),
    };
    // A number may also be a name in the file, which then wins, as everywhere.
    let as_number = name.map_or(Some(user.uid()), |name| if name.is_empty() { Some(0) } else { number(name) });
    let entry = passwd(passwd_text)
        .find(|entry| name.is_some_and(|name| entry.name == name))
        .or_else(|| passwd(passwd_text).find(|entry| Some(entry.uid) == as_number));
    match (&entry, as_number) {
        (Some(entry), _) => {
            identity.uid = entry.uid;
            identity.home = Some(entry.home.to_owned()).filter(|home| home.starts_with('/'));
            if name.is_some() {
                identity.gid = entry.gid;
            }
        }
        (None, Some(uid)) => {
            identity.uid = uid;
            if name.is_some() {
                identity.gid = 0;
            }
        }
        (None, None) => {
            let name = name.unwrap_or("");
            return Err(Error::invalid(format!(
                "unable to find user {name}: no matching entry in /etc/passwd of the image"
            )));
        }
    }
    match group.filter(|group| !group.is_empty()) {
        Some(group) => {
            identity.gid = group_number(group, group_text)?;
        }
        None => {
            if let (Some(entry), true) = (&entry, name.is_some()) {
                let member = |members: &str| members.split(',').any(|member| member == entry.name);
                identity.groups =
                    groups(group_text).filter(|(_, _, list)| member(list)).map(|(_, gid, _)| gid).collect();
            }
        }
    }
    identity.groups.extend(user.additional_gids().iter().flatten());
    for name in more_groups {
        identity.groups.push(group_number(name, group_text)?);
    }
    // The first group too: a program that changes its group must not get at what denies that group (CVE-2022-36109).
    identity.groups.push(identity.gid);
    identity.groups.sort_unstable();
    identity.groups.dedup();
    if identity.uid == u32::MAX || identity.gid == u32::MAX || identity.groups.contains(&u32::MAX) {
        return Err(Error::invalid("the user or group number 4294967295 means nobody at all"));
    }
    Ok(identity)
}

/// The number of a group by its name, or written as one.
fn group_number(name: &str, group_text: &str) -> Result<u32> {
    let listed = groups(group_text).find(|(known, ..)| *known == name).map(|(_, gid, _)| gid);
    listed.or_else(|| number(name)).ok_or_else(|| {
        Error::invalid(format!("unable to find group {name}: no matching entry in /etc/group of the image"))
    })
}

fn read(root: &Root, path: &str) -> Result<String> {
    let bytes = root.read_file(Path::new(path), MAX_FILE).doing(|| format!("read {path} of the image"))?;
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

impl Child<'_> {
    pub(super) fn look_up_user(&mut self) -> Result<()> {
        let user = self.materials.process.user();
        let more_groups = self.materials.group_names;
        let root = self.root()?;
        let passwd_text = read(root, "/etc/passwd")?;
        // The groups only matter for a user by name.
        let named = user.username().as_ref().is_some_and(|name| !name.is_empty());
        let group_text = if named || !more_groups.is_empty() { read(root, "/etc/group")? } else { String::new() };
        self.user = resolve(user, more_groups, &passwd_text, &group_text)?;
        if self.materials.exact_groups {
            self.user.groups = user.additional_gids().clone().unwrap_or_default();
        }
        Ok(())
    }

    pub(super) fn change_user(&mut self) -> Result<()> {
        let Identity { uid, gid, groups, .. } = &self.user;
        if let Some(console) = &self.console {
            // The terminal is its user's; the group (tty) is as devpts made it.
            let owner = Some(rustix::fs::Uid::from_raw(*uid));
            rustix::fs::fchown(console, owner, None).doing(|| "give the terminal to the user".into())?;
        }
        for stdio in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            // So that /dev/stdout can be opened again by a program that is not root.
            let stat = rustix::fs::fstat(stdio).doing(|| "examine standard input and output".into())?;
            if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo {
                let owner = Some(rustix::fs::Uid::from_raw(*uid));
                match rustix::fs::fchown(stdio, owner, None) {
                    // Somebody's who is not in our user namespace: the program gets along as it is.
                    Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL | rustix::io::Errno::ROFS) => {}
                    result => result.doing(|| "give input and output to the user".into())?,
                }
            }
        }
        sys::keep_capabilities(self.sets.is_some()).doing(|| "keep capabilities".into())?;
        sys::set_user(*uid, *gid, groups).doing(|| format!("become user {uid} and group {gid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken line\n:x:1:1::/:\napp:x:1000:1001:,,,:/home/app:/bin/sh\n\
                          7:x:77:77::/seven:/bin/sh\nbig:x:4294967296:0::/:\nminus:x:4294967295:0::/:\n";
    const GROUP: &str = "root:x:0:\napp:x:1001:\ndocker:x:998:other,app\nwheel:x:10:app\nshort:x:55\n";

    fn user(name: &str) -> User {
        serde_json::from_value(serde_json::json!({"uid": 5, "gid": 6, "username": name, "additionalGids": [42]}))
            .unwrap()
    }

    fn ids(name: &str) -> (u32, u32, Vec<u32>) {
        let found = resolve(&user(name), &[], PASSWD, GROUP).unwrap();
        (found.uid, found.gid, found.groups)
    }

    #[test]
    fn names_and_numbers_as_docker_reads_them() {
        assert_eq!(ids("app"), (1000, 1001, vec![10, 42, 998, 1001]));
        assert_eq!(ids("1000"), (1000, 1001, vec![10, 42, 998, 1001]));
        assert_eq!(ids("app:docker"), (1000, 998, vec![42, 998]), "a group given replaces the listed ones");
        assert_eq!(ids("1000:5"), (1000, 5, vec![5, 42]));
        assert_eq!(ids("4711"), (4711, 0, vec![0, 42]));
        assert_eq!(ids("4711:short"), (4711, 55, vec![42, 55]));
        assert_eq!(ids("7"), (77, 77, vec![42, 77]), "a name of digits wins over the number");
        assert_eq!(ids(""), (5, 6, vec![6, 42]), "without a name the numbers hold");
        assert_eq!(resolve(&user("app"), &[], PASSWD, GROUP).unwrap().home.unwrap(), "/home/app");
    }

    #[test]
    fn unknown_names_and_impossible_numbers_are_errors() {
        let more = resolve(&user("4711"), &["wheel".into(), "77".into()], PASSWD, GROUP).unwrap();
        assert_eq!(more.groups, [0, 10, 42, 77]);
        assert!(resolve(&user("4711"), &["none".into()], PASSWD, GROUP).is_err());
        for name in ["nobody-here", "app:nogroup", "4294967295", "4294967296", "-1", "+5", "0x10", "big", "minus"] {
            assert!(resolve(&user(name), &[], PASSWD, GROUP).is_err(), "{name}");
        }
    }
}
