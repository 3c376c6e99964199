//! Faults on request, for tests: the N-th system call of a chosen set fails, or kills the process that makes it.
//!
//! Only with the feature `faults`, which no release has (`docs/testing-faults.md`). The program is linked so that calls of the
//! C library go through [`sys`] (`--wrap`, see the package's build script), and rustix is told to use the C library too. A
//! plan comes in the variable `IMG_FAULT` as `ACTION:CALLS:N`: `kill:*:17`, `ENOSPC:*:3`, `EIO+:fsync,write:1`. Calls are
//! counted by each thread for itself; a forked child goes on with the count of its parent. With `+` all later calls fail
//! too. What was met is written to the shared page of the file that `IMG_FAULT_LOG` names.

mod plan;
pub(crate) mod sys;

pub(crate) use plan::{Action, Kind, Plan};
