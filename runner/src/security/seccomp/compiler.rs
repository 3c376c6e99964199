//! Arranges rules as a BPF program: architecture, then a binary tree over call numbers, then arguments.
//!
//! ```text
//!   load architecture ── = x86_64 ──► load number ──► tree ──► return
//!          │                                           └─► load argument, compare … ──► return
//!          ├─────────── = i386 ────► load number ──► tree …
//!          └─ any other ──► kill the process
//! ```

use super::assembler::{Assembler, Compare, Label};
use super::rules::{Condition, Decision, RET_KILL_PROCESS, Rules, Test};
use crate::security::sys::Instruction;
use crate::security::{Error, Result};

/// Offsets in `struct seccomp_data` (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// The kernel's `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

/// The program for a whole profile.
pub(super) fn compile(rules: &Rules) -> Result<Vec<Instruction>> {
    let mut assembler = Assembler::default();
    let mut starts = Vec::new();
    for architecture in &rules.architectures {
        let tree = tree(&mut assembler, &architecture.ranges);
        starts.push((architecture.architecture.audit(), assembler.load(NUMBER, tree)));
    }
    let mut next = assembler.give(RET_KILL_PROCESS);
    // The first architecture is the native one and shall be tested first, so it is emitted last.
    for (audit, start) in starts.into_iter().rev() {
        next = assembler.branch(Compare::Equal, audit, start, next);
    }
    let entry = assembler.load(ARCHITECTURE, next);
    let program = assembler.finish(entry);
    if program.len() > MAX_INSTRUCTIONS {
        let reason = format!("it needs {} instructions, the kernel takes {MAX_INSTRUCTIONS}", program.len());
        return Err(Error::Seccomp { reason });
    }
    Ok(program)
}

/// A tree over ranges of numbers; the accumulator holds the number.
fn tree(assembler: &mut Assembler, ranges: &[(u32, Decision)]) -> Label {
    match ranges {
        [] => unreachable!("rules::read gives each architecture a range that starts at 0"),
        [(_, decision)] => leaf(assembler, decision),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let yes = tree(assembler, high);
            let no = tree(assembler, low);
            assembler.branch(Compare::GreaterOrEqual, high[0].0, yes, no)
        }
    }
}

fn leaf(assembler: &mut Assembler, decision: &Decision) -> Label {
    match decision {
        Decision::Return(value) => assembler.give(*value),
        Decision::Conditional(rows, otherwise) => {
            let mut next = assembler.give(*otherwise);
            for (conditions, value) in rows.iter().rev() {
                let mut matched = assembler.give(*value);
                for condition in conditions.iter().rev() {
                    matched = compare(assembler, *condition, matched, next);
                }
                next = matched;
            }
            next
        }
    }
}

/// One comparison of a 64-bit argument, which BPF sees as two words (little-endian on all architectures here).
fn compare(assembler: &mut Assembler, condition: Condition, yes: Label, no: Label) -> Label {
    let low = ARGUMENTS + 8 * condition.argument;
    match condition.test {
        Test::Equal(value) => masked(assembler, low, u64::MAX, value, yes, no),
        Test::NotEqual(value) => masked(assembler, low, u64::MAX, value, no, yes),
        Test::Masked { mask, value } => masked(assembler, low, mask, value, yes, no),
        Test::Greater(value) => ordered(assembler, low, Compare::Greater, value, yes, no),
        Test::GreaterOrEqual(value) => ordered(assembler, low, Compare::GreaterOrEqual, value, yes, no),
        Test::Less(value) => ordered(assembler, low, Compare::GreaterOrEqual, value, no, yes),
        Test::LessOrEqual(value) => ordered(assembler, low, Compare::Greater, value, no, yes),
    }
}

fn masked(assembler: &mut Assembler, low: u32, mask: u64, value: u64, yes: Label, no: Label) -> Label {
    let mut next = yes;
    // The low word is tested last, so it is emitted first.
    for (offset, mask, value) in
        [(low, mask as u32, value as u32), (low + 4, (mask >> 32) as u32, (value >> 32) as u32)]
    {
        if mask == 0 && value == 0 {
            continue;
        }
        next = assembler.branch(Compare::Equal, value, next, no);
        if mask != u32::MAX {
            next = assembler.and(mask, next);
        }
        next = assembler.load(offset, next);
    }
    next
}

fn ordered(assembler: &mut Assembler, low: u32, compare: Compare, value: u64, yes: Label, no: Label) -> Label {
    let high_word = (value >> 32) as u32;
    let next = assembler.branch(compare, value as u32, yes, no);
    let next = assembler.load(low, next);
    let next = assembler.branch(Compare::Equal, high_word, next, no);
    let next = assembler.branch(Compare::Greater, high_word, yes, next);
    assembler.load(low + 4, next)
}
