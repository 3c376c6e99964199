//! A classic BPF program, written from its end to its start.
//!
//! BPF only jumps forwards and its conditional jumps reach 255 instructions, so code is emitted backwards: every target
//! exists before the jump to it, its distance is known, and where it is too far a long jump is put in between. Equal
//! returns are shared as long as they are in reach.

use crate::security::sys::Instruction;

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// A place in the program, counted from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A test of the accumulator against a constant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Compare {
    Equal,
    Greater,
    GreaterOrEqual,
}

/// The program so far, last instruction first.
#[derive(Default)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
    /// The latest place of each return value.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(Instruction { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }

    /// How many instructions the next one would have to skip to get to `label`.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0 - 1
    }

    /// A place within short reach that leads to `label`. The margin leaves room for the jumps of a sibling.
    fn near(&mut self, label: Label) -> Label {
        match self.distance(label) {
            0..=250 => label,
            far => self.push(JUMP, 0, 0, far as u32),
        }
    }

    /// Return `value`; shared with an earlier one that is near.
    pub(super) fn give(&mut self, value: u32) -> Label {
        if let Some(index) = self.returns.iter().position(|(known, _)| *known == value) {
            let (_, label) = self.returns[index];
            if self.distance(label) <= 128 {
                return label;
            }
            self.returns.swap_remove(index);
        }
        let label = self.push(RETURN, 0, 0, value);
        self.returns.push((value, label));
        label
    }

    /// Load the 32-bit word at `offset` of the call's data, then go on to `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_through(next);
        self.push(LOAD_WORD, 0, 0, offset)
    }

    /// Mask the accumulator, then go on to `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.fall_through(next);
        self.push(AND, 0, 0, mask)
    }

    /// Makes sure that the instruction emitted next runs on into `next`.
    fn fall_through(&mut self, next: Label) {
        if self.distance(next) != 0 {
            let far = self.distance(next) as u32;
            self.push(JUMP, 0, 0, far);
        }
    }

    /// Compare the accumulator with `value` and go to one place or the other.
    pub(super) fn branch(&mut self, compare: Compare, value: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let (yes, no) = (self.near(yes), self.near(no));
        let code = match compare {
            Compare::Equal => JUMP_EQUAL,
            Compare::Greater => JUMP_GREATER,
            Compare::GreaterOrEqual => JUMP_GREATER_EQUAL,
        };
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.push(code, jt, jf, value)
    }

    /// The finished program, which starts at `entry`.
    pub(super) fn finish(mut self, entry: Label) -> Vec<Instruction> {
        self.fall_through(entry);
        self.reversed.reverse();
        self.reversed
    }
}
