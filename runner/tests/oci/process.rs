//! The program: input and output, terminals, exec, descriptors, scheduling.

use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::fixture::{Lab, can_run, wait_until};

#[test]
fn input_output_and_exit_code_pass_through_run() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    lab.config("cat; echo error >&2; exit 42", json!({}));
    let mut command = lab.command(&["run", "--bundle", lab.dir.path().to_str().unwrap(), &lab.id]);
    let piped = std::process::Stdio::piped;
    let mut child = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.stdout.as_slice(), out.stderr.as_slice()), (&b"hello"[..], &b"error\n"[..]));
    assert_eq!(out.status.code(), Some(42));
    lab.call(&["state", &lab.id]).refuses("no such container");
}

#[test]
fn the_terminal_goes_to_the_console_socket() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let terminal = json!({"process": {"terminal": true, "consoleSize": {"height": 33, "width": 99}}});
    lab.create("true", terminal.clone()).refuses("console socket");
    let path = lab.path("console.sock");
    let listener = UnixListener::bind(&path).unwrap();
    lab.config("stty size; tty; test -c /dev/console && echo console", terminal);
    let bundle = lab.dir.path().to_str().unwrap();
    lab.call(&["create", "--bundle", bundle, "--console-socket", path.to_str().unwrap(), &lab.id]).ok();
    let (stream, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0u8; 100];
    recvmsg(&stream, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let master = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let master = master.unwrap();
    lab.start().ok();
    lab.wait_for("stopped");
    let mut text = String::new();
    let mut buffer = [0u8; 4096];
    // A terminal whose other side is closed ends with EIO.
    while let Ok(count @ 1..) = rustix::io::read(&master, &mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert_eq!(text.replace('\r', ""), "33 99\n/dev/pts/0\nconsole\n");
}

#[test]
fn exec_changes_what_it_is_told_to() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    lab.create("exec sleep 1000", json!({})).ok();
    lab.start().ok();
    let id = lab.id.as_str();
    let script = "id -u; id -g; id -G; pwd; echo $A $TERM; exit 9";
    let said =
        lab.call(&["exec", "--user", "1000:1001", "--cwd", "/tmp", "--env", "A=b", "-g", "7", id, "sh", "-c", script]);
    assert_eq!((said.code, said.out.as_str()), (9, "1000\n1001\n1001 7\n/tmp\nb dumb\n"), "{}", said.err);
    let said = lab.call(&["exec", id, "nosuch"]);
    assert_eq!(said.code, 255, "{said:?}");
    said.refuses("executable file not found in $PATH");
    let bounding = |more: &[&str]| {
        let mut words = vec!["exec"];
        words.extend(more);
        words.extend([id, "grep", "CapBnd", "/proc/self/status"]);
        lab.call(&words).ok()
    };
    assert_ne!(bounding(&[]), bounding(&["--cap", "CAP_SYS_TIME"]));
    std::fs::write(
        lab.path("process.json"),
        json!({"args": ["sh", "-c", "echo $X; id -u"], "cwd": "/", "user": {"uid": 3, "gid": 4}, "env": ["X=y", "PATH=/bin"]})
            .to_string(),
    )
    .unwrap();
    let pid_file = lab.path("pid");
    let said = lab.call(&[
        "exec",
        "--process",
        lab.path("process.json").to_str().unwrap(),
        "--pid-file",
        pid_file.to_str().unwrap(),
        id,
    ]);
    assert_eq!(said.ok(), "y\n3\n");
    std::fs::read_to_string(pid_file).unwrap().parse::<i32>().unwrap();
    // Detached, it ends with the container.
    // It has our output, which would not end.
    let status = lab.command(&["exec", "--detach", id, "sleep", "2000"]).stdout(std::process::Stdio::null()).status();
    assert!(status.unwrap().success());
    wait_until("two processes", || lab.call(&["ps", "--format", "json", id]).json().as_array().unwrap().len() == 2);
}

#[test]
fn a_working_directory_cannot_be_outside() {
    if !can_run() {
        return;
    }
    // CVE-2024-21626: a descriptor of the runtime on a host directory, as working directory.
    for number in 3..16 {
        let lab = Lab::new();
        let cwd = format!("/proc/self/fd/{number}");
        let said = lab.run("pwd; ls ../../../..", json!({"process": {"cwd": cwd}}));
        assert!(said.code != 0 && said.out.is_empty(), "{cwd}: {said:?}");
    }
}

#[test]
fn descriptors_are_passed_on_only_when_asked_for() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let script = "ls /proc/self/fd | tr '\\n' ' '; cat /proc/self/fd/3 2>/dev/null";
    std::fs::write(lab.path("passed"), "passed").unwrap();
    for (count, expected) in [("0", "0 1 2 3 "), ("1", "0 1 2 3 4 passed")] {
        lab.config(script, json!({}));
        let program = env!("CARGO_BIN_EXE_img-runtime");
        let line = format!(
            "exec {program} --root {0}/state run --preserve-fds {count} --bundle {0} {1} 3<{0}/passed 9</etc/passwd",
            lab.dir.path().display(),
            lab.id
        );
        let out = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        // The list itself is read by one more.
        assert_eq!(text, expected, "{}", String::from_utf8_lossy(&out.stderr));
    }
    lab.call(&["run", "--preserve-fds", "4294967295", "--bundle", lab.dir.path().to_str().unwrap(), &lab.id])
        .refuses("at most 1024");
}

/// Runs the runtime with a directory of the host open as 7, and a file as 5, as a careless caller has them.
fn with_leaks(lab: &Lab, words: &str) -> String {
    let (program, place) = (env!("CARGO_BIN_EXE_img-runtime"), lab.dir.path().display());
    let line = format!("exec {program} --root {place}/state {words} 7<{place}/outside 5<{place}/outside/file");
    let out = std::process::Command::new("sh").args(["-c", &line]).env_remove("LISTEN_FDS").output().unwrap();
    assert!(out.status.success(), "{words}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn a_directory_that_the_caller_left_open_reaches_nobody_inside() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    std::fs::create_dir(lab.path("outside")).unwrap();
    std::fs::write(lab.path("outside/file"), "secret").unwrap();
    let list = "ls -l /proc/self/fd 2>/dev/null | sed 's/.* -> //' | grep outside; ls /proc/self/fd | tr '\n' ' '";
    let hook = |name: &str, shell: &str| {
        let script = format!("ls -l /proc/self/fd > {name}");
        json!([{"path": shell, "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
    };
    let outside = lab.path("hook").display().to_string();
    lab.config(
        &format!("{list}; cat /hook; sleep 100"),
        json!({"hooks": {"createContainer": hook(&outside, "/bin/sh"), "startContainer": hook("/hook", "/bin/sh")}}),
    );
    let place = lab.dir.path().display();
    let log = lab.path("log");
    with_leaks(&lab, &format!("create --bundle {place} {} >{} 2>&1", lab.id, log.display()));
    // While it waits it is the runtime, with what it needs for the rest of its way.
    let held: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", lab.pid()))
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap())
        .filter(|link| link.starts_with(lab.path("outside")))
        .collect();
    assert!(held.is_empty(), "{held:?}");
    with_leaks(&lab, &format!("start {}", lab.id));
    wait_until("it has said all", || std::fs::read_to_string(&log).unwrap().contains("total"));
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.starts_with("0 1 2 3 ") && !said.contains("outside"), "{said}");
    assert!(!std::fs::read_to_string(lab.path("hook")).unwrap().contains("outside"));
    let executed = with_leaks(&lab, &format!("exec {} sh -c \"{}\"", lab.id, list.replace('\\', "\\\\")));
    assert_eq!(executed, "0 1 2 3 ");
    // What is asked for passes, the rest does not.
    let passed = with_leaks(&lab, &format!("exec --preserve-fds 3 {} ls /proc/self/fd", lab.id));
    assert_eq!(passed.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "5"]);
    lab.call(&["delete", "--force", &lab.id]).ok();
}

#[test]
fn sockets_for_another_process_are_not_passed_on() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    lab.config("echo fds=$LISTEN_FDS", json!({}));
    for (pid, expected) in [("LISTEN_PID=$$", "fds=1\n"), ("LISTEN_PID=1", "fds=\n"), ("", "fds=\n")] {
        let line = format!(
            "export LISTEN_FDS=1 {pid}; exec {} --root {1}/state run --bundle {1} {2} 3</etc/passwd",
            env!("CARGO_BIN_EXE_img-runtime"),
            lab.dir.path().display(),
            lab.id
        );
        let out = std::process::Command::new("sh").args(["-c", &line]).env_remove("LISTEN_PID").output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(text, expected, "{pid}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn scheduling_and_affinity_reach_the_program() {
    if !can_run() {
        return;
    }
    let lab = Lab::new();
    let said = lab.run(
        "cut -d' ' -f19 /proc/self/stat; grep Cpus_allowed_list /proc/self/status | tr -d '\\t'; ionice",
        json!({"process": {
            "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
            "execCPUAffinity": {"initial": "0-1", "final": "0"},
        }}),
    );
    assert_eq!(said.ok(), "5\nCpus_allowed_list:0\nbest-effort: prio 6\n");
}

#[test]
fn a_personality_is_taken_on() {
    if !can_run() || std::env::consts::ARCH != "x86_64" {
        return;
    }
    let said = Lab::new().run("uname -m", json!({"linux": {"personality": {"domain": "LINUX32"}}}));
    assert_eq!(said.ok(), "i686\n");
}

#[test]
fn fields_that_cannot_be_honoured_are_refused_by_name() {
    if !can_run() {
        return;
    }
    for (more, words) in [
        (json!({"linux": {"intelRdt": {"closID": "x"}}}), "linux.intelRdt"),
        (json!({"linux": {"netDevices": {"eth0": {}}}}), "linux.netDevices"),
        (json!({"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}}}), "linux.memoryPolicy"),
        (json!({"linux": {"mountLabel": "system_u:object_r:x:s0"}}), "linux.mountLabel"),
        (json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}}}), "listenerPath"),
        (json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY"}}}), "SCMP_ACT_NOTIFY"),
        (json!({"process": {"apparmorProfile": "nosuch"}}), "AppArmor"),
        (json!({"linux": {"timeOffsets": {"monotonic": {"secs": 5}}}}), "time namespace"),
        (json!({"linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}}), "user namespace"),
        (json!({"linux": {"sysctl": {"kernel.pid_max": "100000"}}}), "kernel.pid_max"),
        (json!({"linux": {"rootfsPropagation": "sideways"}}), "sideways"),
        (json!({"ociVersion": "2.0.0"}), "2.0.0"),
        (json!({"process": {"args": []}}), "no program"),
    ] {
        if words == "AppArmor" && std::path::Path::new("/sys/kernel/security/apparmor").exists() {
            continue;
        }
        let lab = Lab::new();
        lab.run("true", more).refuses(words);
        assert!(!lab.path("state").join(&lab.id).exists(), "{words}");
    }
}
