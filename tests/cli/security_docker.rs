//! The system calls that Docker's own default profile refuses, tried one by one in a container of Docker's and in ours: we
//! refuse all of them, and those that Docker has refused since.

use std::collections::BTreeSet;

use crate::support::{Sandbox, skip, tools};

#[path = "../differential/docker.rs"]
mod docker;

use docker::Docker;

/// Tries every call with arguments that make no sense, each in a process of its own, and prints those that answer EPERM or
/// ENOSYS. Calls that do not return are left out.
const PROBE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    for (long number = 0; number < 470; number++) {
        /* exit, exit_group, pause, rt_sigreturn, fork, vfork, clone, clone3 */
        if (number == 60 || number == 231 || number == 34 || number == 15 || (number >= 56 && number <= 58) || number == 435)
            continue;
        pid_t child = fork();
        if (child == 0) {
            alarm(1);
            errno = 0;
            syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
            _exit(errno == EPERM ? 1 : errno == ENOSYS ? 2 : 0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status))
            printf("%ld\n", number);
    }
    return 0;
}
"#;

/// What releases of Docker since 20.10 allow: name_to_handle_at, process_vm_readv and writev, the pkey calls, cachestat,
/// fchmodat2, the futex calls, mseal, and the calls of extended attributes by descriptor.
const ALLOWED_SINCE: [u32; 16] = [303, 310, 311, 329, 330, 331, 451, 452, 454, 455, 456, 462, 463, 464, 465, 466];

fn refused(text: &str) -> BTreeSet<u32> {
    text.lines().map(|line| line.trim().parse().expect("a number")).collect()
}

#[test]
fn every_call_that_docker_refuses_is_refused() {
    if !Docker::is_there() || !tools::has("gcc") || cfg!(not(target_arch = "x86_64")) {
        skip!("docker or gcc is not installed, or this is not x86_64");
    }
    let sandbox = Sandbox::new();
    let (source, probe) = (sandbox.write("probe.c", PROBE), sandbox.text("probe"));
    tools::run("gcc", ["-static", "-O1", "-o", &probe, &source]);
    let bind = format!("{probe}:/probe:ro");
    let ours = sandbox.img(&["run", "--rm", "--network", "none", "-v", &bind, "busybox", "/probe"]);
    let ours = refused(&ours.ok().stdout());
    let docker = Docker::shared();
    let theirs = docker.run(&["run", "--rm", "--network", "none", "-v", &bind, "busybox:latest", "/probe"]);
    let theirs = refused(&theirs.ok().stdout());
    assert!(theirs.len() > 40, "Docker's filter was on: {theirs:?}");
    let open: Vec<&u32> = theirs.difference(&ours).filter(|number| !ALLOWED_SINCE.contains(number)).collect();
    assert!(open.is_empty(), "Docker refuses these and we do not: {open:?}");
    for number in [425, 426, 427, 323] {
        assert!(ours.contains(&number), "io_uring and userfaultfd: {number}");
    }
}
