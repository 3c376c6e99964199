//! Flags that docker, podman or others have and that cannot do anything here. They are understood, so that whoever
//! gives one is told why, and what serves instead, where clap would say that there is no such flag. A value that asks
//! for what happens here anyway is taken.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::error::{CommandError, Result};

/// A flag that is refused.
#[derive(Debug)]
struct Refused {
    name: &'static str,
    /// Whether a value follows; if not, it is a switch.
    value: bool,
    /// Values that ask for nothing else than what happens here.
    harmless: &'static [&'static str],
    reason: &'static str,
    hint: &'static str,
}

/// One with a value.
const fn flag(name: &'static str, reason: &'static str, hint: &'static str) -> Refused {
    Refused { name, value: true, harmless: &[], reason, hint }
}

/// One without.
const fn switch(name: &'static str, reason: &'static str, hint: &'static str) -> Refused {
    Refused { name, value: false, harmless: &[], reason, hint }
}

impl Refused {
    /// The same, with values that are taken.
    const fn but(self, harmless: &'static [&'static str]) -> Self {
        Self { harmless, ..self }
    }
}

const WINDOWS: &str = "it is a setting of Windows containers";
const PASSWD: &str = "the image's /etc/passwd and /etc/group are left as they are";
const NUMBERS: &str = "--user takes numbers that nobody has an entry for";
const PODS: &str = "there are no pods here";
const PROCESSORS: &str = "--cpus limits the processors";
const DRIVERS: &str = "--device gives it single devices, --volume the driver's libraries";
const LEAVE: &str = "leave it out";
const STARTUP: &str = "there is one health check, from the start on";
const PERIOD: &str = "--health-start-period and --health-start-interval give a slow start its time";
const HEALTH_LOG: &str = "the log of health checks is kept with the container, its length is fixed";
const HEALTH: &str = "`img inspect` shows it";
const SIGNED: &str = "signatures of images are not checked by run";
const DIGEST: &str = "an image named by its digest, as NAME@sha256:…, is checked to be that one";

/// All of them.
const REFUSED: &[Refused] = &[
    flag("cpu-count", WINDOWS, PROCESSORS),
    flag("cpu-percent", WINDOWS, PROCESSORS),
    flag("io-maxbandwidth", WINDOWS, "--device-read-bps and --device-write-bps limit I/O"),
    flag("io-maxiops", WINDOWS, "--device-read-iops and --device-write-iops limit I/O"),
    // What a Linux daemon of docker takes as well.
    flag("isolation", WINDOWS, LEAVE).but(&["", "default"]),
    flag("kernel-memory", "the kernel counts its memory for a container in with the rest", "--memory limits both"),
    flag("runtime", "containers are run by img itself, not by another program", LEAVE).but(&["img"]),
    flag("gpus", "device specifications (CDI) are not read", DRIVERS),
    switch("nv", "the libraries of a graphics driver are not looked for", DRIVERS),
    switch("nvccli", "the libraries of a graphics driver are not looked for", DRIVERS),
    switch("rocm", "the libraries of a graphics driver are not looked for", DRIVERS),
    flag("bind", "a single path means something else in every program that has it", "--volume HOST:CONTAINER"),
    flag("pod", PODS, "--network container:NAME and --ipc container:NAME share namespaces"),
    flag("pod-id-file", PODS, LEAVE),
    flag("requires", "containers do not start one another", "start the other one first"),
    flag(
        "link",
        "it belongs to docker's network without names",
        "containers on one network of `img network create` find each other by name; --network-alias adds names",
    ),
    flag(
        "link-local-ip",
        "the addresses of a container are those of its networks",
        "--ip and --ip6 choose one of the network's range",
    ),
    flag("rdt-class", "classes of Intel RDT are not set", LEAVE),
    flag("hooks-dir", "no programs of the host are run for a container", LEAVE),
    switch("use-api-socket", "there is no daemon whose socket could be given to it", LEAVE),
    flag("hostuser", PASSWD, NUMBERS),
    flag("passwd-entry", PASSWD, NUMBERS),
    flag("group-entry", PASSWD, "--group-add takes numbers that nobody has an entry for"),
    flag("sdnotify", "no messages are passed on to systemd", "start it with -d: that returns when it runs")
        .but(&["ignore"]),
    flag("personality", "a program runs with the host's personality", "setarch in the image changes it"),
    flag("seccomp-policy", "an image cannot choose its own filter", "--security-opt seccomp=FILE").but(&["default"]),
    flag("init-path", "the init is built in", "--init alone"),
    flag("health-startup-cmd", STARTUP, PERIOD),
    flag("health-startup-interval", STARTUP, PERIOD),
    flag("health-startup-retries", STARTUP, PERIOD),
    flag("health-startup-success", STARTUP, PERIOD),
    flag("health-startup-timeout", STARTUP, PERIOD),
    flag("health-log-destination", HEALTH_LOG, HEALTH).but(&["local"]),
    flag("health-max-log-count", HEALTH_LOG, HEALTH),
    flag("health-max-log-size", HEALTH_LOG, HEALTH),
    flag("snapshotter", "layers are stacked in one way only", LEAVE),
    flag(
        "ipfs-address",
        "images are not read from IPFS",
        "`img pull` takes them from registries, `img load` from files",
    ),
    flag("verify", SIGNED, DIGEST).but(&["none"]),
    flag("cosign-key", SIGNED, DIGEST),
    flag("cosign-certificate-identity", SIGNED, DIGEST),
    flag("cosign-certificate-identity-regexp", SIGNED, DIGEST),
    flag("cosign-certificate-oidc-issuer", SIGNED, DIGEST),
    flag("cosign-certificate-oidc-issuer-regexp", SIGNED, DIGEST),
];

/// The first flag that was given and is refused.
#[derive(Debug)]
pub struct RefusedFlags(Option<&'static Refused>);

impl RefusedFlags {
    /// Says why for the first that was given.
    ///
    /// # Errors
    /// Whenever one was given.
    pub fn check(&self) -> Result<()> {
        match self.0 {
            Some(Refused { name, reason, hint, .. }) => {
                Err(CommandError::usage(format!("--{name} is not supported: {reason}")).hint(*hint))
            }
            None => Ok(()),
        }
    }
}

impl FromArgMatches for RefusedFlags {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let given = |refused: &&Refused| {
            if !refused.value {
                return matches.get_flag(refused.name);
            }
            let mut values = matches.get_many::<String>(refused.name).into_iter().flatten();
            values.any(|value| !refused.harmless.contains(&value.as_str()))
        };
        Ok(Self(REFUSED.iter().find(given)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for RefusedFlags {
    fn augment_args(command: Command) -> Command {
        command.args(REFUSED.iter().map(|refused| {
            let arg = Arg::new(refused.name).long(refused.name).hide(true);
            match refused.value {
                true => arg.action(ArgAction::Append).allow_hyphen_values(true),
                false => arg.action(ArgAction::SetTrue),
            }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
