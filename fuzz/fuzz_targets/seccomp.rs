//! A seccomp profile, and the filter made of it: a filter that is made fits the kernel's limit.

use runner::security::seccomp::{compile, policy, profile};

pub fn run(bytes: &[u8]) {
    let capabilities = policy::default_capabilities();
    let facts = profile::Facts { capabilities: &capabilities, kernel: (6, 1) };
    let Ok(seccomp) = profile::parse(bytes, facts) else { return };
    if let Ok(program) = compile(&seccomp) {
        assert!(program.len() <= 4096);
    }
}
