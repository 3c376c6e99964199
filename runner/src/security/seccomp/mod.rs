//! System call filters: the default policy, profiles from files, and a compiler of our own to kernel programs.
//!
//! [`policy::default`] and [`profile::parse`] give an OCI `LinuxSeccomp`, [`compile`] turns one into a [`Program`], all in the
//! parent; the child only calls [`Program::load`]. The compiler makes a binary tree over ranges of call numbers for each
//! architecture (a linear list of 350 tests costs each process 0.7 ms), so that a call runs through some ten
//! instructions. The x32 calls of x86_64 always answer ENOSYS, and an architecture that is not named kills the process.

mod assembler;
mod compiler;
pub(crate) mod evaluate;
pub mod policy;
pub mod profile;
mod rules;
mod table;

use oci_spec::runtime::{Arch, LinuxSeccomp};

use super::sys::{self, Instruction};
use super::{Error, Result};
use rules::Architecture;

/// A filter ready for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
    flags: u32,
}

impl Program {
    /// The number of instructions (the kernel takes 4096).
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Never true: the shortest program is a return.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// Puts the filter on the calling thread, for good. Without `no_new_privs` the kernel asks for CAP_SYS_ADMIN in the
    /// current user namespace. One system call, no allocation.
    pub fn load(&self) -> Result<()> {
        sys::seccomp_set_filter(self.flags, &self.instructions)
            .map_err(|source| Error::kernel("load the seccomp filter", source))
    }
}

/// Sets `no_new_privs` on the calling thread: no exec gains privileges any more. One system call.
pub fn set_no_new_privileges() -> Result<()> {
    sys::set_no_new_privs().map_err(|source| Error::kernel("set no_new_privs", source))
}

/// Compiles an OCI seccomp section for this machine.
///
/// Rules mean what runc and libseccomp make of them: a rule without arguments beats those with, else the first match wins;
/// several conditions of a rule must all hold, except that conditions on one and the same argument are alternatives; if the
/// default refuses, calls above the highest number that the profile names answer ENOSYS, so that C libraries fall
/// back. A name that is not in our table is skipped, unless skipping it would allow what the rule forbids: that is an
/// error.
pub fn compile(seccomp: &LinuxSeccomp) -> Result<Program> {
    let native = Architecture::native()
        .ok_or_else(|| Error::Seccomp { reason: "filters are made for x86_64 and aarch64 only".to_owned() })?;
    compile_on(seccomp, native)
}

/// The architectures that filters are made for on this machine, as the OCI runtime spec names them.
pub fn architectures() -> Vec<Arch> {
    let native = Architecture::native();
    let all = [native, native.and_then(Architecture::compatible)];
    all.into_iter().flatten().map(Architecture::to_oci).collect()
}

fn compile_on(seccomp: &LinuxSeccomp, native: Architecture) -> Result<Program> {
    let rules = rules::read(seccomp, native)?;
    let instructions = compiler::compile(&rules)?;
    Ok(Program { instructions, flags: rules.flags })
}

#[cfg(test)]
mod tests;
