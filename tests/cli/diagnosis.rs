//! Programs that cannot be started, each broken in its own way: the message names what is wrong and the exit code stays as
//! it was, for `run`, `exec` and the RUN of a build alike.

use std::collections::BTreeSet;

use crate::support::Sandbox;

/// A 64-bit program of which the kernel reads enough to look for its loader.
fn program(machine: u16, loader: &str) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let mut put = |value: u64, width: usize| file.extend(&value.to_le_bytes()[..width]);
    for (value, width) in
        [(2, 2), (u64::from(machine), 2), (1, 4), (0x40_0000, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (2, 2)]
    {
        put(value, width);
    }
    for _ in 0..3 {
        put(0, 2);
    }
    for (kind, offset, size) in [(3, 64 + 2 * 56, loader.len() as u64 + 1), (1, 0, 0x1000)] {
        put(kind, 4);
        put(5, 4);
        for value in [offset, 0x40_0000 + offset, 0x40_0000 + offset, size, size, 0x1000] {
            put(value, 8);
        }
    }
    file.extend(loader.as_bytes());
    file.resize(0x1000, 0);
    file
}

/// What is executed, the exit code, and words of the message and its hints.
type Case = (&'static str, i32, &'static [&'static str]);

const CASES: &[Case] = &[
    ("no-such-program", 127, &["executable file not found in $PATH", "searched /usr/local/sbin", "/bin"]),
    ("busybxo", 127, &["executable file not found in $PATH", "did you mean busybox?"]),
    ("/opt/ap/run", 127, &["no such file or directory", "there is no /opt/ap", "did you mean /opt/app?"]),
    ("/opt/app/none", 127, &["there is no /opt/app/none"]),
    ("/opt/app/run/x", 127, &["/opt/app/run is not a directory"]),
    ("/opt/app/dangling", 127, &["/opt/app/dangling is a symbolic link to /srv/gone/run, and there is no /srv"]),
    ("/opt/app/circle", 126, &["/opt/app/circle is a symbolic link to /opt/app/circle2", "in a circle"]),
    ("/opt/app", 126, &["/opt/app is a directory"]),
    ("/opt/app/pipe", 126, &["/opt/app/pipe is a named pipe"]),
    ("/opt/app/run", 126, &["/opt/app/run is not executable: its mode is 0644", "chmod +x"]),
    ("/opt/app/empty", 126, &["/opt/app/empty is empty"]),
    ("/opt/app/text", 126, &["/opt/app/text is neither a program nor a script that begins with #!", "#!/bin/sh"]),
    (
        "/opt/app/crlf",
        127,
        &["the first line of /opt/app/crlf ends with a carriage return (CR)", "/bin/sh\\r", "sed -i"],
    ),
    ("/opt/app/bash", 127, &["/opt/app/bash needs the interpreter /usr/bin/bash-6: there is no /usr/bin/bash-6"]),
    ("/opt/app/elsewhere", 127, &["needs the interpreter /usr/local/bin/sh", "the image has /sbin/sh"]),
    ("/opt/app/plain", 126, &["the interpreter of /opt/app/plain: /opt/app/run is not executable"]),
    ("/opt/app/bom", 126, &["byte order mark"]),
    ("/opt/app/windows.exe", 126, &["/opt/app/windows.exe is a Windows program"]),
    ("/opt/app/arm", 126, &["/opt/app/arm is a program for arm64, this machine is amd64", "binfmt_misc", "--platform"]),
    ("/opt/app/cut", 126, &["/opt/app/cut is a damaged program"]),
    ("/opt/app/musl", 127, &["/opt/app/musl needs the dynamic loader /lib/ld-musl-x86_64.so.1 (musl)", "none at all"]),
    (
        "/opt/noexec/run",
        126,
        &["/opt/noexec/run lies on a file system that is mounted noexec (the mount at /opt/noexec)"],
    ),
];

fn broken(sandbox: &Sandbox) {
    for (name, bytes) in [
        ("run", b"#!/bin/sh\n".to_vec()),
        ("empty", vec![]),
        ("text", b"echo hello\n".to_vec()),
        ("crlf", b"#!/bin/sh\r\necho hello\r\n".to_vec()),
        ("bash", b"#!/usr/bin/bash-6\n".to_vec()),
        ("elsewhere", b"#!/usr/local/bin/sh -e\n".to_vec()),
        ("plain", b"#!/opt/app/run\n".to_vec()),
        ("bom", b"\xef\xbb\xbf#!/bin/sh\n".to_vec()),
        ("windows.exe", b"MZ\x90\0\x03\0\0\0".to_vec()),
        ("arm", program(183, "/lib/ld-linux-aarch64.so.1")),
        ("cut", program(62, "/lib/x")[..100].to_vec()),
        ("musl", program(62, "/lib/ld-musl-x86_64.so.1")),
        ("glibc", program(62, "/lib64/ld-linux-x86-64.so.2")),
    ] {
        sandbox.write(&format!("context/app/{name}"), bytes);
    }
    let lines = "FROM busybox\nCOPY --chmod=755 app /opt/app\n\
        RUN chmod 644 /opt/app/run && ln -s /srv/gone/run /opt/app/dangling && mkfifo -m 755 /opt/app/pipe && \
        ln -s /opt/app/circle2 /opt/app/circle && ln -s circle /opt/app/circle2 && mkdir /opt/noexec && \
        mkdir -m 700 /secret && cp /bin/true /secret/true && cp /bin/true /opt/app/mine && chmod 700 /opt/app/mine\n";
    sandbox.build("context", "broken", lines).ok();
}

#[test]
fn each_broken_program_has_its_own_message() {
    let sandbox = Sandbox::new();
    broken(&sandbox);
    let id = sandbox.ok(&["run", "-d", "--network", "none", "--tmpfs", "/opt/noexec:noexec", "broken", "sleep", "600"]);
    sandbox.ok(&["exec", &id, "cp", "-p", "/bin/busybox", "/opt/noexec/run"]);
    let mut messages = BTreeSet::new();
    for (program, code, words) in CASES {
        let run = if *program == "/opt/noexec/run" {
            let volume = sandbox.path("volume");
            std::fs::create_dir_all(&volume).unwrap();
            std::fs::write(volume.join("run"), "#!/bin/sh\n").unwrap();
            crate::support::tools::run("chmod", ["755", volume.join("run").to_str().unwrap()]);
            let bind = format!("{}:/opt/noexec:noexec", volume.display());
            sandbox.img(&["run", "--rm", "--network", "none", "-v", &bind, "broken", program])
        } else {
            sandbox.img(&["run", "--rm", "--network", "none", "broken", program])
        };
        run.exits(*code).says(words);
        sandbox.img(&["exec", &id, program]).exits(*code).says(words);
        messages.insert(run.stderr().lines().next().unwrap_or_default().replace(program, "X"));
    }
    assert!(messages.len() >= CASES.len() - 1, "{messages:#?}");
    sandbox.ok(&["rm", "-f", &id]);
}

#[test]
fn a_step_of_a_build_is_told_too() {
    let sandbox = Sandbox::new();
    broken(&sandbox);
    for (program, _, words) in CASES.iter().filter(|case| case.0 != "/opt/noexec/run") {
        let out = sandbox.build("step", "step", &format!("FROM broken\nRUN [\"{program}\"]\n"));
        out.refuses(1, words);
    }
}

#[test]
fn who_may_not_execute_it_is_said() {
    let sandbox = Sandbox::new();
    broken(&sandbox);
    let run = |words: &[&str]| {
        let mut all = vec!["run", "--rm", "--network", "none"];
        all.extend(words);
        sandbox.img(&all)
    };
    run(&["-u", "1000:100", "broken", "/secret/true"])
        .exits(126)
        .says(&["the directory /secret may not be searched by user 1000 and group 100: its mode is 0700"]);
    run(&["-u", "1000", "broken", "/opt/app/mine"]).exits(126).says(&[
        "/opt/app/mine may not be executed by user 1000 and group 1000: its mode is 0700 and it belongs to 0:0",
    ]);
    // cap_net_raw+ep, which the default bounding set lacks.
    let raw = sandbox.write("raw", std::fs::read(sandbox.flatten("busybox", "tree").join("bin/busybox")).unwrap());
    crate::support::tools::run("chmod", ["755", &raw]);
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(&raw, "security.capability", &capability, rustix::fs::XattrFlags::empty()).unwrap();
    let bind = format!("{raw}:/opt/busybox");
    run(&["-v", &bind, "busybox", "/opt/busybox"])
        .exits(126)
        .says(&["/opt/busybox carries the capability NET_RAW", "--cap-add NET_RAW"]);
    run(&["-v", &bind, "--cap-add", "NET_RAW", "busybox", "/opt/busybox", "true"]).ok();
    run(&["--workdir", "/opt", "broken", "app/none"]).exits(127).says(&["there is no /opt/app/none"]);
    let long = format!("X={}", "y".repeat(1 << 17));
    sandbox.write("env", &long);
    run(&["--env-file", &sandbox.text("env"), "broken", "true"])
        .exits(125)
        .says(&["the variable beginning with \"X=yyyy", "has 131074 bytes, the limit is 131072"]);
    let busy = std::fs::File::options().append(true).open(&raw).unwrap();
    run(&["-v", &bind, "busybox", "/opt/busybox"])
        .exits(126)
        .says(&["/opt/busybox is open for writing by some process"]);
    drop(busy);
    let lines: String = (0..100).map(|number| format!("V{number}={}\n", "z".repeat(2000))).collect();
    sandbox.write("lines", lines);
    run(&["--ulimit", "stack=400000", "--env-file", &sandbox.text("lines"), "broken", "true"]).exits(125).says(&[
        "arguments and environment together take",
        "the limit is 100000",
        "--ulimit stack",
    ]);
}

#[test]
fn a_program_for_the_other_c_library_names_both() {
    let sandbox = Sandbox::new();
    broken(&sandbox);
    sandbox.build("glibc", "on-glibc", "FROM debian\nCOPY --from=broken /opt/app/musl /app\n").ok();
    sandbox.img(&["run", "--rm", "--network", "none", "on-glibc", "/app"]).exits(127).says(&[
        "/app was built for musl (its loader is /lib/ld-musl-x86_64.so.1), but the image has glibc (/lib64/ld-linux-x86-64.so.2)",
        "alpine",
    ]);
    let lines = "FROM broken\nRUN mkdir -p /lib && touch /lib/ld-musl-x86_64.so.1\n";
    sandbox.build("musl", "on-musl", lines).ok();
    sandbox.img(&["run", "--rm", "--network", "none", "on-musl", "/opt/app/glibc"]).exits(127).says(&[
        "was built for glibc (its loader is /lib64/ld-linux-x86-64.so.2), but the image has musl (/lib/ld-musl-x86_64.so.1)",
        "debian:stable-slim",
    ]);
}

#[test]
fn an_image_without_a_shell_is_told_from_a_missing_program() {
    let sandbox = Sandbox::new();
    sandbox.write("context/file", "x");
    sandbox.build("context", "bare", "FROM scratch\nCOPY file /file\nCMD echo hello\n").ok();
    sandbox.img(&["run", "--rm", "--network", "none", "bare"]).exits(127).says(&["there is no /bin", "has no shell"]);
    sandbox.build("context", "none", "FROM scratch\nRUN echo hello\n").refuses(1, &["has no shell", "exec form"]);
}

#[test]
fn shared_libraries_that_are_missing_are_named_after_the_end() {
    let sandbox = Sandbox::new();
    let lines = "FROM debian\nRUN rm /lib/x86_64-linux-gnu/libselinux.so.1\n";
    sandbox.build("context", "lacking", lines).ok();
    let words = &["shared libraries are missing in the image", "/usr/bin/ls needs libselinux.so.1"];
    sandbox.img(&["run", "--rm", "--network", "none", "lacking", "ls", "/"]).exits(127).says(words);
    let id = sandbox.ok(&["run", "-d", "--network", "none", "lacking", "sleep", "600"]);
    sandbox.img(&["exec", &id, "ls", "/"]).exits(127).says(words);
    sandbox.ok(&["rm", "-f", &id]);
    sandbox.build("context", "step", "FROM lacking\nRUN [\"ls\", \"/\"]\n").refuses(1, words);
    // A shell that does not find a command says 127 too, and nothing is added to that.
    let out = sandbox.img(&["run", "--rm", "--network", "none", "lacking", "sh", "-c", "none"]);
    assert!(out.exits(127).stderr().lines().count() == 1, "{out}");
}
