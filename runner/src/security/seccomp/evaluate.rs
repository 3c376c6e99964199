//! A filter asked by hand: what the kernel would answer for one call, worked out by interpreting the program.
//!
//! Used by the tests of the compiler and to tell a refusal of the filter from one of the kernel. Knows the instructions that the
//! compiler makes, and no others.

use super::super::sys::Instruction;
use super::Program;
use super::rules::{Architecture, RET_ERRNO};
use super::table::SYSCALLS;

/// Runs a program as the kernel would: the return value and the number of instructions executed; `None` for a program that
/// is not of our making.
pub(super) fn interpret(program: &[Instruction], audit: u32, number: u32, arguments: [u64; 6]) -> Option<(u32, usize)> {
    let mut data = [0u8; 64];
    data[..4].copy_from_slice(&number.to_le_bytes());
    data[4..8].copy_from_slice(&audit.to_le_bytes());
    for (index, argument) in arguments.iter().enumerate() {
        data[16 + 8 * index..24 + 8 * index].copy_from_slice(&argument.to_le_bytes());
    }
    let (mut at, mut accumulator, mut steps) = (0usize, 0u32, 0usize);
    // Jumps lead forward only, so this ends.
    loop {
        let instruction = program.get(at)?;
        at += 1;
        steps += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { instruction.jt } else { instruction.jf });
        match instruction.code {
            0x20 => {
                let bytes = data.get(instruction.k as usize..)?.first_chunk()?;
                accumulator = u32::from_le_bytes(*bytes);
            }
            0x05 => at += instruction.k as usize,
            0x15 => jump(accumulator == instruction.k),
            0x25 => jump(accumulator > instruction.k),
            0x35 => jump(accumulator >= instruction.k),
            0x54 => accumulator &= instruction.k,
            0x06 => return Some((instruction.k, steps)),
            _ => return None,
        }
    }
}

impl Program {
    /// The error that the filter answers a call with, 0 if it lets it through; `audit` is the `AUDIT_ARCH_*` of the caller.
    pub(crate) fn error_for(&self, audit: u32, number: u32, arguments: [u64; 6]) -> i32 {
        match interpret(&self.instructions, audit, number, arguments) {
            Some((verdict, _)) if verdict & 0xffff_0000 == RET_ERRNO => (verdict & 0xffff) as i32,
            _ => 0,
        }
    }
}

/// The name of a system call by the architecture of its caller and its number.
pub(crate) fn name(audit: u32, number: u32) -> Option<&'static str> {
    let all = [Architecture::X86_64, Architecture::X86, Architecture::Aarch64, Architecture::Arm];
    let column = all.into_iter().find(|architecture| architecture.audit() == audit)? as usize;
    SYSCALLS.iter().find(|call| u32::try_from(call.numbers[column]) == Ok(number)).map(|call| call.name)
}
