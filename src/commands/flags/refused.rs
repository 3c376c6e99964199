//! Flags that docker or podman have and that cannot do anything here. They are understood, so that whoever gives one
//! is told why instead of being told that there is no such flag.

use clap::Args;

use crate::error::{CommandError, Result};

/// Flags that are refused with a reason.
#[derive(Args)]
pub struct RefusedFlags {
    #[arg(long, hide = true, allow_hyphen_values = true)]
    cpu_count: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    cpu_percent: Option<String>,
    #[arg(long, hide = true)]
    io_maxbandwidth: Option<String>,
    #[arg(long, hide = true)]
    io_maxiops: Option<String>,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(long, hide = true)]
    kernel_memory: Option<String>,
    #[arg(long, hide = true)]
    runtime: Option<String>,
    #[arg(long, hide = true)]
    gpus: Option<String>,
    #[arg(long, hide = true)]
    pod: Option<String>,
    #[arg(long, hide = true)]
    pod_id_file: Option<String>,
    #[arg(long, hide = true)]
    requires: Option<String>,
    #[arg(long, hide = true)]
    rdt_class: Option<String>,
    #[arg(long, hide = true)]
    hooks_dir: Option<String>,
    #[arg(long, hide = true)]
    use_api_socket: bool,
    #[arg(long, hide = true)]
    hostuser: Vec<String>,
    #[arg(long, hide = true)]
    passwd_entry: Option<String>,
    #[arg(long, hide = true)]
    group_entry: Option<String>,
    #[arg(long, hide = true)]
    sdnotify: Option<String>,
    #[arg(long, hide = true)]
    personality: Option<String>,
    #[arg(long, hide = true)]
    seccomp_policy: Option<String>,
    #[arg(long, hide = true)]
    init_path: Option<String>,
    #[arg(long, hide = true)]
    snapshotter: Option<String>,
}

impl RefusedFlags {
    /// Says why for the first that was given.
    ///
    /// # Errors
    /// Whenever one was given.
    pub fn check(&self) -> Result<()> {
        // `default` is what a Linux daemon of docker takes as well.
        let isolation = self.isolation.as_ref().filter(|kind| !matches!(kind.as_str(), "" | "default"));
        let runtime = self.runtime.as_ref().filter(|name| *name != "img");
        let windows = "it is a setting of Windows containers";
        let passwd = "the image's /etc/passwd and /etc/group are left as they are";
        let pods = "there are no pods here";
        let list = [
            ("cpu-count", self.cpu_count.is_some(), windows, "--cpus limits the processors"),
            ("cpu-percent", self.cpu_percent.is_some(), windows, "--cpus limits the processors"),
            (
                "io-maxbandwidth",
                self.io_maxbandwidth.is_some(),
                windows,
                "--device-read-bps and --device-write-bps limit I/O",
            ),
            ("io-maxiops", self.io_maxiops.is_some(), windows, "--device-read-iops and --device-write-iops limit I/O"),
            ("isolation", isolation.is_some(), windows, "leave it out"),
            (
                "kernel-memory",
                self.kernel_memory.is_some(),
                "the kernel counts its memory for a container in with the rest",
                "--memory limits both",
            ),
            ("runtime", runtime.is_some(), "containers are run by img itself, not by another program", "leave it out"),
            (
                "gpus",
                self.gpus.is_some(),
                "device specifications (CDI) are not read",
                "--device gives it single devices, --volume the driver's libraries",
            ),
            ("pod", self.pod.is_some(), pods, "--network container:NAME and --ipc container:NAME share namespaces"),
            ("pod-id-file", self.pod_id_file.is_some(), pods, "leave it out"),
            ("requires", self.requires.is_some(), "containers do not start one another", "start the other one first"),
            ("rdt-class", self.rdt_class.is_some(), "classes of Intel RDT are not set", "leave it out"),
            ("hooks-dir", self.hooks_dir.is_some(), "no programs of the host are run for a container", "leave it out"),
            (
                "use-api-socket",
                self.use_api_socket,
                "there is no daemon whose socket could be given to it",
                "leave it out",
            ),
            ("hostuser", !self.hostuser.is_empty(), passwd, "--user takes numbers that nobody has an entry for"),
            ("passwd-entry", self.passwd_entry.is_some(), passwd, "--user takes numbers that nobody has an entry for"),
            (
                "group-entry",
                self.group_entry.is_some(),
                passwd,
                "--group-add takes numbers that nobody has an entry for",
            ),
            (
                "sdnotify",
                self.sdnotify.is_some(),
                "no messages are passed on to systemd",
                "start it with -d: that returns when it runs",
            ),
            (
                "personality",
                self.personality.is_some(),
                "a program runs with the host's personality",
                "setarch in the image changes it",
            ),
            (
                "seccomp-policy",
                self.seccomp_policy.is_some(),
                "an image cannot choose its own filter",
                "--security-opt seccomp=FILE",
            ),
            ("init-path", self.init_path.is_some(), "the init is built in", "--init alone"),
            ("snapshotter", self.snapshotter.is_some(), "layers are stacked in one way only", "leave it out"),
        ];
        match list.into_iter().find(|(_, given, ..)| *given) {
            Some((flag, _, reason, hint)) => {
                Err(CommandError::usage(format!("--{flag} is not supported: {reason}")).hint(hint))
            }
            None => Ok(()),
        }
    }
}
