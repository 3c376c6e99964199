//! Device rules of a group: an eBPF program on cgroup2, or the lists of version 1.
//!
//! The program is assembled here by hand: rules are tested from the last to the first, the first that speaks about the request
//! decides, and what no rule speaks about is refused. That is what a sequence of version 1's `allow` and `deny` writes comes
//! to. The kernel asks it at each open and mknod of a device node.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{Error, Result, file};
use crate::security::sys::{self, BpfInstruction};

/// Access bits of `struct bpf_cgroup_dev_ctx` (linux/bpf.h).
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// One rule in the kernel's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Option<i32>,
    major: Option<i32>,
    minor: Option<i32>,
    access: i32,
}

impl Rule {
    fn read(rule: &LinuxDeviceCgroup) -> Result<Self> {
        let refuse = |reason: String| Error::Unsupported { what: "access to devices".to_owned(), reason };
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => None,
            Some(LinuxDeviceType::B) => Some(BLOCK),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
            Some(LinuxDeviceType::P) => return Err(refuse("a rule about fifos has no meaning".to_owned())),
        };
        let number = |value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(value) => i32::try_from(value)
                .ok()
                .filter(|&value| value >= 0)
                .map(Some)
                .ok_or_else(|| refuse(format!("{value} is not a device number"))),
        };
        let mut access = 0;
        for letter in rule.access().as_deref().unwrap_or_default().chars() {
            access |= match letter {
                'm' => MKNOD,
                'r' => READ,
                'w' => WRITE,
                other => return Err(refuse(format!("`{other}` is not one of r, w and m"))),
            };
        }
        let access = if access == 0 { MKNOD | READ | WRITE } else { access };
        Ok(Rule { allow: rule.allow(), kind, major: number(rule.major())?, minor: number(rule.minor())?, access })
    }

    /// Whether this rule decides about a request, given as the kernel gives it.
    #[cfg(test)]
    fn speaks_about(&self, kind: i32, access: i32, major: i32, minor: i32) -> bool {
        self.kind.is_none_or(|own| own == kind)
            && self.major.is_none_or(|own| own == major)
            && self.minor.is_none_or(|own| own == minor)
            && if self.allow { access & !self.access == 0 } else { access & self.access != 0 }
    }
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> BpfInstruction {
    BpfInstruction { code, registers: to | from << 4, offset, immediate }
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const MOVE_REGISTER: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const AND: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const JUMP_NOT_EQUAL: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const JUMP_EQUAL: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

/// The program for a list of rules. Registers: r2 kind, r3 access, r4 major, r5 minor.
pub(super) fn program(rules: &[LinuxDeviceCgroup]) -> Result<Vec<BpfInstruction>> {
    let rules = rules.iter().map(Rule::read).collect::<Result<Vec<_>>>()?;
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOVE_REGISTER, 3, 2, 0, 0),
        instruction(AND, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let mut block = Vec::new();
        let tests = [(2, rule.kind), (4, rule.major), (5, rule.minor)];
        for (register, value) in tests.into_iter().filter_map(|(register, value)| Some((register, value?))) {
            block.push(instruction(JUMP_NOT_EQUAL, register, 0, 0, value));
        }
        let all = MKNOD | READ | WRITE;
        if rule.access != all {
            let (mask, code) =
                if rule.allow { (!rule.access & all, JUMP_NOT_EQUAL) } else { (rule.access, JUMP_EQUAL) };
            block.push(instruction(MOVE_REGISTER, 1, 3, 0, 0));
            block.push(instruction(AND, 1, 0, 0, mask));
            block.push(instruction(code, 1, 0, 0, 0));
        }
        block.push(instruction(MOVE, 0, 0, 0, i32::from(rule.allow)));
        block.push(instruction(EXIT, 0, 0, 0, 0));
        let end = block.len();
        for (index, jump) in block.iter_mut().enumerate() {
            if matches!(jump.code, JUMP_NOT_EQUAL | JUMP_EQUAL) {
                // A block has at most eight instructions.
                jump.offset = (end - index - 1) as i16;
            }
        }
        code.append(&mut block);
        if rule.kind.or(rule.major).or(rule.minor).is_none() && rule.access == all {
            // This rule speaks about everything: what came before it is never asked, and the verifier refuses
            // code that cannot be reached.
            return Ok(code);
        }
    }
    code.push(instruction(MOVE, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    Ok(code)
}

/// Loads a program and puts it on a cgroup2 group, in the place of one that was there.
pub(super) fn attach(directory: &Path, program: &[BpfInstruction]) -> Result<()> {
    let error = |doing| move |source| Error::Devices { doing, source };
    let group = file::open_directory(directory).map_err(|source| Error::io("open control group", directory, source))?;
    let loaded = sys::bpf_load_device_program(program).map_err(error("load"))?;
    let old = sys::bpf_query_device_programs(group.as_fd()).map_err(error("read"))?;
    let old =
        old.iter().map(|&id| sys::bpf_program_by_id(id)).collect::<io::Result<Vec<_>>>().map_err(error("read"))?;
    let replaced = if let [only] = old.as_slice() { Some(only.as_fd()) } else { None };
    sys::bpf_attach_device_program(group.as_fd(), loaded.as_fd(), replaced).map_err(error("attach"))?;
    if replaced.is_none() {
        for program in &old {
            sys::bpf_detach_device_program(group.as_fd(), program.as_fd()).map_err(error("replace"))?;
        }
    }
    Ok(())
}

/// Writes the rules to a version 1 group, starting from "nothing is allowed".
pub(super) fn write_version1(directory: &Path, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    file::write(&directory.join("devices.deny"), "a")?;
    for rule in rules.iter().map(Rule::read) {
        let rule = rule?;
        let name = if rule.allow { "devices.allow" } else { "devices.deny" };
        for line in version1_lines(rule) {
            file::write(&directory.join(name), &line)?;
        }
    }
    Ok(())
}

/// Version 1's words for a rule. `a` alone means everything, so a narrower rule for all kinds is written as two.
fn version1_lines(rule: Rule) -> Vec<String> {
    let star = |number: Option<i32>| number.map_or("*".to_owned(), |number| number.to_string());
    let mut access = String::new();
    for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
        if rule.access & bit != 0 {
            access.push(letter);
        }
    }
    let line = |kind| format!("{kind} {}:{} {access}", star(rule.major), star(rule.minor));
    match rule.kind {
        Some(BLOCK) => vec![line("b")],
        Some(_) => vec![line("c")],
        None if rule.major.or(rule.minor).is_none() && access.len() == 3 => vec!["a".to_owned()],
        None => vec![line("b"), line("c")],
    }
}

impl Error {
    /// Whether the kernel has no device programs, or does not let us use them.
    pub(super) fn means_no_bpf(&self) -> bool {
        matches!(self, Error::Devices { source, .. }
            if matches!(source.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EPERM | libc::EOPNOTSUPP)))
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxDeviceCgroupBuilder;

    use super::*;

    fn rule(allow: bool, kind: LinuxDeviceType, major: i64, minor: i64, access: &str) -> LinuxDeviceCgroup {
        LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .typ(kind)
            .major(major)
            .minor(minor)
            .access(access)
            .build()
            .unwrap()
    }

    /// Runs a program as the kernel would.
    fn interpret(code: &[BpfInstruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0i64; 11];
        let mut at = 0;
        loop {
            let now = code[at];
            at += 1;
            let (to, from) = (usize::from(now.registers & 15), usize::from(now.registers >> 4));
            match now.code {
                LOAD_WORD => registers[to] = i64::from(context[now.offset as usize / 4] as u32),
                MOVE => registers[to] = now.immediate.into(),
                MOVE_REGISTER => registers[to] = registers[from],
                AND => registers[to] &= i64::from(now.immediate),
                SHIFT_RIGHT => registers[to] >>= now.immediate,
                JUMP_NOT_EQUAL if registers[to] as i32 != now.immediate => at += now.offset as usize,
                JUMP_EQUAL if registers[to] as i32 == now.immediate => at += now.offset as usize,
                JUMP_NOT_EQUAL | JUMP_EQUAL => {}
                EXIT => return registers[0] == 1,
                other => panic!("code {other:#x}"),
            }
        }
    }

    #[test]
    fn programs_mean_what_the_rules_say() {
        use LinuxDeviceType::{A, B, C};
        let lists = [
            vec![rule(false, A, -1, -1, "rwm")],
            vec![rule(true, A, -1, -1, "rwm")],
            vec![rule(false, A, -1, -1, "rwm"), rule(true, C, 1, 3, "rw"), rule(true, C, -1, -1, "m")],
            vec![rule(true, A, -1, -1, "rwm"), rule(false, B, 8, -1, "w"), rule(false, C, 10, 200, "")],
            vec![rule(true, C, 5, -1, "r"), rule(false, A, -1, -1, "rwm"), rule(true, B, 7, 0, "rm")],
            vec![],
        ];
        for list in lists {
            let code = program(&list).unwrap();
            let rules: Vec<Rule> = list.iter().map(|rule| Rule::read(rule).unwrap()).collect();
            for kind in [BLOCK, CHARACTER] {
                for access in 1..8 {
                    for major in [0, 1, 5, 7, 8, 10] {
                        for minor in [0, 3, 200] {
                            let speaks = |rule: &&Rule| rule.speaks_about(kind, access, major, minor);
                            let meant = rules.iter().rev().find(speaks).is_some_and(|rule| rule.allow);
                            assert_eq!(interpret(&code, kind, access, major, minor), meant, "{list:?} {kind} {access}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn version1_words() {
        use LinuxDeviceType::{A, C};
        let lines = |oci| version1_lines(Rule::read(&oci).unwrap());
        assert_eq!(lines(rule(false, A, -1, -1, "rwm")), ["a"]);
        assert_eq!(lines(rule(true, A, -1, -1, "m")), ["b *:* m", "c *:* m"]);
        assert_eq!(lines(rule(true, C, 136, -1, "rwm")), ["c 136:* rwm"]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(program(&[rule(true, LinuxDeviceType::C, 1, 3, "x")]).is_err());
        assert!(program(&[rule(true, LinuxDeviceType::P, 1, 3, "r")]).is_err());
        assert!(program(&[rule(true, LinuxDeviceType::C, -7, 3, "r")]).is_err());
    }
}
