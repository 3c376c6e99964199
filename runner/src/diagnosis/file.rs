//! A file that is there and cannot be executed: by its place, its mode, its content, or what its content asks for.

use std::path::Path;

use rustix::fs::{FileType, Stat, StatVfsMountFlags};

use super::content::{Content, HEAD, Script, classify};
use super::elf::{self, Elf, Source, own_architecture};
use super::libraries::missing_loader;
use super::walk::{Reached, walk};
use super::{Attempt, FileSource, Finding, open_regular, shown, shown_path};
use crate::security::{capabilities, sys as privileges};
use crate::sys;

/// Scripts whose interpreter is a script are followed as far as the kernel does.
const MAX_DEPTH: u32 = 5;
/// The longest single argument (`MAX_ARG_STRLEN`) and the most of all (three quarters of `_STK_LIM`).
const MAX_ARGUMENT: usize = 128 * 1024;
const MAX_ARGUMENTS: u64 = 6 << 20;

impl Attempt<'_> {
    /// Why the kernel answered `number` when it was to execute `path`.
    pub(super) fn file(&self, path: &Path, number: i32, depth: u32) -> Finding {
        match number {
            libc::E2BIG => return self.too_long(),
            libc::ENOMEM => return Finding::new("the memory limit leaves no room for it"),
            _ => {}
        }
        let reached = match walk(self.root, path) {
            Ok(reached) => reached,
            Err(obstacle) => return self.obstacle(&obstacle),
        };
        let name = shown_path(&reached.path);
        let what = match FileType::from_raw_mode(reached.stat.st_mode) {
            FileType::RegularFile => None,
            FileType::Directory => Some("a directory"),
            FileType::Fifo => Some("a named pipe"),
            FileType::Socket => Some("a socket"),
            _ => Some("a device"),
        };
        if let Some(what) = what {
            return Finding::new(format!("{name} is {what}"));
        }
        match number {
            libc::EACCES => self.denied(&reached, depth),
            libc::EPERM => self.forbidden(&reached),
            libc::ETXTBSY => Finding::new(format!("{name} is open for writing by some process"))
                .hint("close it first: an `img cp` or a copying program may not have ended yet"),
            libc::ELOOP => Finding::new(format!("{name} is a script whose interpreters are scripts of one another")),
            _ => self.content(&reached, depth),
        }
    }

    fn too_long(&self) -> Finding {
        let all = || self.args.iter().chain(self.env);
        let hint = "pass long data by a file or by standard input";
        if let Some(long) = all().find(|text| text.len() >= MAX_ARGUMENT) {
            let start: String = long.chars().take(20).collect();
            let kind = if self.env.contains(long) { "variable" } else { "argument" };
            let text =
                format!("the {kind} beginning with {start:?} has {} bytes, the limit is {MAX_ARGUMENT}", long.len());
            return Finding::new(text).hint(hint);
        }
        let total: usize = all().map(|text| text.len() + 9).sum();
        let stack = sys::get_rlimit(libc::RLIMIT_STACK).map_or(MAX_ARGUMENTS, |(soft, _)| soft / 4);
        let limit = stack.min(MAX_ARGUMENTS);
        let text = format!("arguments and environment together take {total} bytes, the limit is {limit}");
        let finding = Finding::new(text).hint(hint);
        if limit < MAX_ARGUMENTS { finding.hint("the limit is a quarter of --ulimit stack") } else { finding }
    }

    /// `EACCES` of a regular file.
    fn denied(&self, reached: &Reached, depth: u32) -> Finding {
        let name = shown_path(&reached.path);
        let mode = reached.stat.st_mode & 0o7777;
        let (owner, group) = (reached.stat.st_uid, reached.stat.st_gid);
        let flags = rustix::fs::fstatvfs(&reached.fd).map(|found| found.f_flag);
        if flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::NOEXEC)) {
            let at = self.mount_point(reached).map(|at| format!(" (the mount at {at})")).unwrap_or_default();
            return Finding::new(format!("{name} lies on a file system that is mounted noexec{at}"))
                .hint("add exec to the options of the mount, as in `--tmpfs /run:exec`");
        }
        if mode & 0o111 == 0 {
            return Finding::new(format!("{name} is not executable: its mode is {mode:04o}"))
                .hint("`chmod +x` it, or `COPY --chmod=755` in the Buildfile");
        }
        if !self.permits(&reached.stat) {
            return Finding::new(format!(
                "{name} may not be executed by {}: its mode is {mode:04o} and it belongs to {owner}:{group}",
                self.who()
            ))
            .hint("`chmod a+x` it, or run as another --user");
        }
        match self.opened(reached) {
            Some((_, Content::Script(script))) => self.interpreter(&name, &script, libc::EACCES, depth),
            Some((file, Content::Elf)) => match elf::parse(&FileSource(file)).and_then(|elf| elf.interpreter) {
                Some(loader) => {
                    let inner = self.file(&self.absolute(&loader), libc::EACCES, MAX_DEPTH);
                    Finding { why: format!("the loader of {name}: {}", inner.why), ..inner }
                }
                None => Finding::new(format!("{name} may not be executed")),
            },
            _ => Finding::new(format!("{name} may not be executed by {}", self.who())),
        }
    }

    /// Whether the mode lets the program's user execute it; a superuser needs any of the bits.
    fn permits(&self, stat: &Stat) -> bool {
        let overrides = privileges::capget().is_ok_and(|(effective, ..)| effective & 1 << 1 != 0);
        let bit = if stat.st_uid == self.uid {
            0o100
        } else if self.groups.contains(&stat.st_gid) {
            0o010
        } else {
            0o001
        };
        overrides || stat.st_mode & bit != 0
    }

    /// `EPERM`: capabilities that the file carries and the container may not have.
    fn forbidden(&self, reached: &Reached) -> Finding {
        let name = shown_path(&reached.path);
        let mut value = [0u8; 24];
        let length = open_regular(self.root, &reached.path)
            .and_then(|file| rustix::fs::fgetxattr(&file, "security.capability", &mut value).ok());
        let word = |at: usize| u64::from(u32::from_le_bytes([value[at], value[at + 1], value[at + 2], value[at + 3]]));
        if length.is_none_or(|length| length < 20) {
            return Finding::new(format!("{name} may not be executed in this container"));
        }
        let permitted = word(4) | word(12) << 32;
        let lacking = |capability: &&oci_spec::runtime::Capability| {
            let number = capabilities::number(**capability);
            permitted >> number & 1 == 1 && !privileges::bounding_has(number).unwrap_or(true)
        };
        let names: Vec<&str> = capabilities::ALL
            .iter()
            .filter(lacking)
            .map(|capability| capabilities::name(*capability).trim_start_matches("CAP_"))
            .collect();
        let hint = names.iter().map(|name| format!("--cap-add {name}")).collect::<Vec<_>>().join(" ");
        Finding::new(format!("{name} carries the capability {}, which this container may not have", names.join(", ")))
            .hint(format!("{hint}, or take it off the file with `setcap -r`"))
    }

    /// What is wrong with, or asked for by, the content.
    fn content(&self, reached: &Reached, depth: u32) -> Finding {
        let name = shown_path(&reached.path);
        let Some((file, content)) = self.opened(reached) else {
            return Finding::new(format!("{name} cannot be executed, and may not be read to say why"));
        };
        match content {
            Content::Empty => Finding::new(format!("{name} is empty")),
            Content::Script(script) => self.interpreter(&name, &script, libc::ENOENT, depth),
            Content::BadScript(why) => Finding::new(format!("{name} {why}")),
            Content::Text => Finding::new(format!("{name} is neither a program nor a script that begins with #!"))
                .hint("put `#!/bin/sh` on its first line, or start it as `sh FILE`"),
            Content::Foreign(what) => Finding::new(format!("{name} is {what}, not a program for Linux")),
            Content::Unknown => Finding::new(format!("{name} is neither a program nor a script")),
            Content::Elf => match elf::parse(&FileSource(file)) {
                Some(elf) => self.program_file(&name, &elf),
                None => Finding::new(format!("{name} ends within its header")),
            },
        }
    }

    /// The file for reading, and what its first bytes say. `None` if the user may not read it.
    fn opened(&self, reached: &Reached) -> Option<(std::fs::File, Content)> {
        let file = open_regular(self.root, &reached.path)?;
        let source = FileSource(file);
        let mut head = [0u8; HEAD];
        let count = source.read_at(0, &mut head)?;
        Some((source.0, classify(&head[..count])))
    }

    /// The interpreter of a script is missing or cannot be executed itself.
    fn interpreter(&self, name: &str, script: &Script, number: i32, depth: u32) -> Finding {
        let wanted = self.absolute(&script.interpreter);
        if script.carriage_return && script.argument.is_none() {
            return Finding::new(format!(
                "the first line of {name} ends with a carriage return (CR), so its interpreter is {:?}, which does not exist",
                script.interpreter
            ))
            .hint("save it with Unix line ends: `sed -i 's/\\r$//'`, or `*.sh text eol=lf` in .gitattributes");
        }
        match walk(self.root, &wanted) {
            Err(obstacle) => {
                let inner = self.obstacle(&obstacle);
                let text = format!("{name} needs the interpreter {}: {}", shown(&script.interpreter), inner.why);
                let base = wanted.file_name().unwrap_or_default();
                let elsewhere = self
                    .path
                    .split(':')
                    .take(64)
                    .map(|folder| self.absolute(folder).join(base))
                    .find(|path| walk(self.root, path).is_ok());
                match elsewhere {
                    Some(path) => Finding::new(text).hint(format!("the image has {}", shown_path(&path))),
                    None => Finding { why: text, ..inner },
                }
            }
            Ok(_) if depth >= MAX_DEPTH => Finding::new(format!("{name} is a script of scripts of scripts")),
            Ok(_) => {
                let inner = self.file(&wanted, number, depth + 1);
                Finding { why: format!("the interpreter of {name}: {}", inner.why), ..inner }
            }
        }
    }

    /// An ELF file that the kernel refused.
    fn program_file(&self, name: &str, elf: &Elf) -> Finding {
        let (theirs, ours) = (elf.architecture(), own_architecture());
        if let Some(damage) = elf.damage {
            return Finding::new(format!("{name} is a damaged program: {damage}"));
        }
        match elf.kind {
            1 => return Finding::new(format!("{name} is an object file that was not linked")),
            4 => return Finding::new(format!("{name} is a core dump")),
            _ => {}
        }
        let loader = elf.interpreter.as_deref();
        let lacks_loader = loader.filter(|loader| walk(self.root, &self.absolute(loader)).is_err());
        if theirs != ours && !(ours == "amd64" && theirs == "386" && lacks_loader.is_some()) {
            let hint = match theirs.as_str() {
                "386" => "this kernel was built without support for 32-bit programs".to_owned(),
                _ => format!(
                    "use an image for linux/{ours} (--platform linux/{ours}), or register an emulator such as qemu-user"
                ),
            };
            return Finding::new(format!(
                "{name} is a program for {theirs}, this machine is {ours}, and binfmt_misc has no working emulator for it"
            ))
            .hint(hint);
        }
        if let Some(loader) = lacks_loader {
            let (why, hint) = missing_loader(self.root, elf, loader);
            return Finding::new(format!("{name} {why}")).hint(hint);
        }
        match loader {
            Some(loader) => Finding::new(format!("{name} cannot be loaded by {}", shown(loader)))
                .hint("the loader is empty, damaged, or for another kind of machine"),
            None => Finding::new(format!("{name} is not a program that this kernel can run")),
        }
    }

    /// Where the file system of a file is mounted, by the container's own table of mounts.
    fn mount_point(&self, reached: &Reached) -> Option<String> {
        let id = crate::mount::id(&reached.fd).ok()?;
        let table = self.root.read_file(Path::new("/proc/self/mountinfo"), 1 << 20).ok()??;
        let table = String::from_utf8_lossy(&table).into_owned();
        let line = table.lines().find(|line| line.split(' ').next() == Some(&id.to_string()))?;
        line.split(' ').nth(4).map(|at| shown(at).into_owned())
    }
}
