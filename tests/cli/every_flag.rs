//! Every flag of `run` and `create` that docker has, and those that podman, nerdctl and others add. Each is taken, or
//! refused with exit code 125 and a reason; nobody is told that a flag they know from elsewhere does not exist. Whether
//! a limit can be kept is the machine's matter, so those may be refused, but never as unknown.

use Answer::{Depends, Refused, Taken};

use crate::support::{Out, Sandbox};

/// What becomes of a flag.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The container is made.
    Taken,
    /// It is not, and the reason or the hint holds this.
    Refused(&'static str),
    /// One or the other, as the machine can.
    Depends,
}

/// Words, separated by blanks, and what becomes of them. `DIR` is a directory, `FILE` an empty file, `OTHER` a
/// container.
const CREATE: &[(&str, Answer)] = &[
    // Of docker.
    ("--attach stdout", Refused("img start -a")),
    ("--add-host a:10.0.0.1", Taken),
    ("--annotation a=b", Taken),
    ("--blkio-weight 100", Depends),
    ("--blkio-weight-device /dev/null:100", Depends),
    ("--cap-add NET_ADMIN", Taken),
    ("--cap-drop all", Taken),
    ("--cgroup-parent /img-test", Taken),
    ("--cgroupns private", Taken),
    ("--cgroupns host", Taken),
    ("--cidfile DIR/cid", Taken),
    ("--cpu-count 1", Refused("--cpus")),
    ("--cpu-percent 10", Refused("--cpus")),
    ("--io-maxbandwidth 1m", Refused("--device-read-bps")),
    ("--io-maxiops 1", Refused("--device-read-iops")),
    ("--isolation default", Taken),
    ("--isolation hyperv", Refused("Windows")),
    ("--cpu-period 100000", Taken),
    ("--cpu-quota 50000", Taken),
    ("--cpu-rt-period 1000000", Depends),
    ("--cpu-rt-runtime 1000", Depends),
    ("--cpu-shares 512", Taken),
    ("-c 512", Taken),
    ("--cpus 0.5", Taken),
    ("--cpuset-cpus 0", Taken),
    ("--cpuset-mems 0", Taken),
    ("--detach-keys ctrl-x", Taken),
    ("--device /dev/null", Taken),
    ("--device-cgroup-rule c_1:3_rwm", Taken),
    ("--device-read-bps /dev/null:1m", Depends),
    ("--device-write-bps /dev/null:1m", Depends),
    ("--device-read-iops /dev/null:10", Depends),
    ("--device-write-iops /dev/null:10", Depends),
    ("--dns 10.0.0.1", Taken),
    ("--dns-option ndots:2", Taken),
    ("--dns-opt ndots:2", Taken),
    ("--dns-search lab", Taken),
    ("--domainname lab", Taken),
    ("--entrypoint sh", Taken),
    ("--env A=1", Taken),
    ("-e A=1", Taken),
    ("--env-file FILE", Taken),
    ("--expose 80", Taken),
    ("--gpus all", Refused("--device")),
    ("--group-add 7", Taken),
    ("--health-cmd true", Taken),
    ("--health-cmd true --health-interval 5s", Taken),
    ("--health-cmd true --health-retries 2", Taken),
    ("--health-cmd true --health-timeout 5s", Taken),
    ("--health-cmd true --health-start-period 5s", Taken),
    ("--health-cmd true --health-start-interval 5s", Taken),
    ("--no-healthcheck", Taken),
    ("--help", Taken),
    ("--hostname h", Taken),
    ("-h h", Taken),
    ("--init", Taken),
    ("--interactive", Taken),
    ("-i", Taken),
    ("--ip 10.0.0.2", Depends),
    ("--ip6 fd00::2", Depends),
    ("--link-local-ip 169.254.0.2", Refused("--ip")),
    ("--ipc private", Taken),
    ("--ipc shareable", Taken),
    ("--ipc host", Taken),
    ("--ipc none", Taken),
    ("--ipc container:OTHER", Taken),
    ("--label a=b", Taken),
    ("-l a=b", Taken),
    ("--label-file FILE", Taken),
    ("--link OTHER", Refused("--network-alias")),
    ("--log-driver json-file", Taken),
    ("--log-driver local", Taken),
    ("--log-driver none", Taken),
    ("--log-driver syslog", Depends),
    ("--log-driver journald", Depends),
    ("--log-driver k8s-file", Depends),
    ("--log-driver passthrough", Depends),
    ("--log-driver splunk", Refused("splunk")),
    ("--log-opt max-size=1m", Taken),
    ("--mac-address 02:00:00:00:00:01", Depends),
    ("--memory 64m", Taken),
    ("-m 64m", Taken),
    ("--memory-reservation 32m", Taken),
    ("--memory 64m --memory-swap 128m", Depends),
    ("--memory-swappiness 10", Depends),
    ("--mount type=tmpfs,target=/t", Taken),
    ("--mount type=bind,source=DIR,target=/t", Taken),
    ("--mount type=volume,source=vol,target=/t", Taken),
    ("--mount type=image,source=busybox,target=/t", Taken),
    ("--mount type=devpts,target=/t", Taken),
    ("--name n", Taken),
    ("--network host", Taken),
    ("--net none", Taken),
    ("--network-alias a", Depends),
    ("--net-alias a", Depends),
    ("--oom-kill-disable", Depends),
    ("--oom-score-adj 100", Taken),
    ("--pid host", Taken),
    ("--pid private", Taken),
    ("--pid container:OTHER", Taken),
    ("--pids-limit 10", Taken),
    ("--platform linux/amd64", Depends),
    ("--privileged", Taken),
    ("--publish 80", Depends),
    ("-p 80", Depends),
    ("--publish-all", Depends),
    ("-P", Depends),
    ("--quiet", Taken),
    ("-q", Taken),
    ("--read-only", Taken),
    ("--restart no", Taken),
    ("--restart on-failure:3", Taken),
    ("--restart always", Taken),
    ("--restart unless-stopped", Taken),
    ("--rm", Taken),
    ("--runtime img", Taken),
    ("--runtime runc", Refused("by img itself")),
    ("--security-opt no-new-privileges", Taken),
    ("--security-opt seccomp=unconfined", Taken),
    ("--security-opt systempaths=unconfined", Taken),
    ("--security-opt mask=/etc", Taken),
    ("--security-opt unmask=/proc/kcore", Taken),
    ("--shm-size 1m", Taken),
    ("--stop-signal INT", Taken),
    ("--stop-timeout 3", Taken),
    ("--storage-opt size=1g", Depends),
    ("--sysctl net.ipv4.ip_forward=1", Taken),
    ("--sysctl kernel.panic=1", Depends),
    ("--tmpfs /t", Taken),
    ("--tty", Taken),
    ("-t", Taken),
    ("--ulimit nofile=100", Taken),
    ("--use-api-socket", Refused("no daemon")),
    ("--user 7", Taken),
    ("-u 7", Taken),
    ("--userns host", Taken),
    ("--userns keep-id", Depends),
    ("--userns nomap", Refused("nomap")),
    ("--uts host", Taken),
    ("--uts private", Taken),
    ("--volume DIR:/t", Taken),
    ("-v /t", Taken),
    ("-v /t --volume-driver local", Taken),
    ("-v /t --volume-driver nfs", Refused("local")),
    ("--volumes-from OTHER", Taken),
    ("--workdir /tmp", Taken),
    ("-w /tmp", Taken),
    // Of podman, nerdctl and others.
    ("--replace", Depends),
    ("--replace --name OTHER2", Taken),
    ("--requires OTHER", Refused("start the other one first")),
    ("--pod p", Refused("--network container:")),
    ("--pod-id-file FILE", Refused("no pods")),
    ("--preserve-fds 1", Refused("img run")),
    ("--preserve-fd 3", Refused("img run")),
    ("--passwd-entry x", Refused("/etc/passwd")),
    ("--group-entry x", Refused("--group-add")),
    ("--umask 0027", Taken),
    ("--tz local", Depends),
    ("--timeout 10", Taken),
    ("--hostuser root", Refused("--user")),
    ("--http-proxy", Taken),
    ("--http-proxy=false", Taken),
    ("--env-host", Taken),
    ("--env-merge A=b", Taken),
    ("--unsetenv PATH", Taken),
    ("--unsetenv-all", Taken),
    ("--systemd=true", Taken),
    ("--systemd=false", Taken),
    ("--systemd=always", Taken),
    ("--uidmap 0:100000:1000", Depends),
    ("--gidmap 0:100000:1000", Depends),
    ("--subuidname nobody-here", Refused("nobody-here")),
    ("--subgidname nobody-here", Refused("nobody-here")),
    ("--secret id=s,src=FILE", Taken),
    ("--image-volume bind", Taken),
    ("--image-volume tmpfs", Taken),
    ("--image-volume ignore", Taken),
    ("--read-only --read-only-tmpfs", Taken),
    ("--health-cmd true --health-on-failure kill", Taken),
    ("--health-startup-cmd true", Refused("--health-start-period")),
    ("--health-startup-interval 1s", Refused("--health-start-period")),
    ("--health-startup-retries 1", Refused("--health-start-period")),
    ("--health-startup-success 1", Refused("--health-start-period")),
    ("--health-startup-timeout 1s", Refused("--health-start-period")),
    ("--health-log-destination local", Taken),
    ("--health-log-destination /tmp", Refused("img inspect")),
    ("--health-max-log-count 3", Refused("img inspect")),
    ("--health-max-log-size 3", Refused("img inspect")),
    ("--hosts-file FILE", Taken),
    ("--no-hosts", Taken),
    ("--no-hostname", Taken),
    ("--cgroup-conf memory.high=1000000", Depends),
    ("--cgroups enabled", Taken),
    ("--cgroups no-conmon", Taken),
    ("--cgroups disabled", Refused("by which it is ended")),
    ("--cgroups split", Refused("monitor")),
    ("--hooks-dir DIR", Refused("no programs of the host")),
    ("--personality LINUX32", Refused("setarch")),
    ("--rdt-class x", Refused("RDT")),
    ("--seccomp-policy default", Taken),
    ("--seccomp-policy image", Refused("seccomp=")),
    ("--ipfs-address x", Refused("img load")),
    ("--verify none", Taken),
    ("--verify cosign", Refused("digest")),
    ("--cosign-key FILE", Refused("digest")),
    ("--cosign-certificate-identity x", Refused("digest")),
    ("--cosign-certificate-identity-regexp x", Refused("digest")),
    ("--cosign-certificate-oidc-issuer x", Refused("digest")),
    ("--cosign-certificate-oidc-issuer-regexp x", Refused("digest")),
    ("--snapshotter stargz", Refused("one way")),
    ("--sdnotify ignore", Taken),
    ("--sdnotify container", Refused("systemd")),
    ("--init-path /sbin/init", Refused("--init alone")),
    ("--kernel-memory 1m", Refused("--memory")),
    ("--nv", Refused("--device")),
    ("--bind DIR:/t", Refused("--volume")),
];

/// Those that say how a start is gone about, which `create` does not have.
const RUN: &[(&str, Answer)] = &[
    ("--detach", Taken),
    ("-d", Taken),
    ("--attach stdout", Taken),
    ("-a stderr", Taken),
    ("--sig-proxy", Taken),
    ("--sig-proxy=false", Taken),
    ("--preserve-fds 0", Taken),
    ("--preserve-fds 1", Refused("descriptor 3")),
    ("--preserve-fd 1", Refused("from 3 on")),
    ("--pull always", Depends),
    ("--pull newer", Depends),
    ("--pull missing", Taken),
];

/// What clap, or the check for flags where the image should be, says of a flag that is not known.
const UNKNOWN: [&str; 4] = ["unexpected argument", "there is no flag", "unrecognized", "wasn't expected"];

/// Checks an answer; says what is wrong with it.
fn wrong(out: &Out, answer: Answer) -> Option<String> {
    let stderr = out.stderr().to_lowercase();
    if UNKNOWN.iter().any(|words| stderr.contains(words)) {
        return Some("it is not known".to_owned());
    }
    let taken = out.code() == 0;
    let refused = out.code() == 125 && stderr.lines().any(|line| line.starts_with("error: "));
    match answer {
        Taken => (!taken).then(|| "it is not taken".to_owned()),
        Depends => (!taken && !refused).then(|| "it is neither taken nor refused".to_owned()),
        Refused(_) if !refused => Some("it is not refused".to_owned()),
        Refused(words) => {
            (!stderr.contains(&words.to_lowercase())).then(|| format!("the refusal does not say {words:?}"))
        }
    }
}

fn check(verb: &[&str], table: &[(&str, Answer)]) {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    std::fs::create_dir(sandbox.path("dir")).expect("a directory");
    let (dir, file) = (sandbox.path("dir").display().to_string(), sandbox.write("file", ""));
    sandbox.ok(&["run", "-d", "--name", "other", "--ipc", "shareable", "--network", "none", "busybox", "sleep", "600"]);
    let faults: Vec<String> = table
        .iter()
        .filter_map(|&(flags, answer)| {
            let fill = |word: &str| {
                let word = word.replace("DIR", &dir).replace("FILE", &file).replace("OTHER", "other");
                if word.starts_with("c_") { word.replace('_', " ") } else { word }
            };
            let flags: Vec<String> = flags.split(' ').map(fill).collect();
            let own = flags.iter().any(|flag| flag.starts_with("--net") && !flag.contains("alias"));
            let mut words = verb.to_vec();
            if !flags.iter().any(|flag| flag == "--pull") {
                words.extend(["--pull", "never"]);
            }
            if !own {
                words.extend(["--network", "none"]);
            }
            words.extend(flags.iter().map(String::as_str));
            words.extend(["busybox", "true"]);
            let out = sandbox.img(&words);
            wrong(&out, answer).map(|fault| format!("{fault}: {out}"))
        })
        .collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), table.len(), faults.join("\n"));
}

#[test]
fn every_flag_of_create_is_taken_or_refused_with_a_reason() {
    check(&["create"], CREATE);
}

#[test]
fn every_flag_of_run_alone_is_taken_or_refused_with_a_reason() {
    check(&["run"], RUN);
}

#[test]
fn a_flag_that_nobody_has_is_said_to_be_none() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    sandbox.img(&["create", "--no-such-flag", "busybox"]).refuses(125, &["there is no flag --no-such-flag"]);
}
