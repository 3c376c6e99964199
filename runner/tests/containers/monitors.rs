//! Foreground, monitors, logs, clients, exec, and the verbs from outside.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::runtime::Process;
use runner::exec::{Exec, exec_detached, exec_foreground, exec_monitored};
use runner::log::{Query, Reader, Stream};
use runner::spec::parse::RestartPolicy;
use runner::{
    Container, Error, Foreground, MonitorOptions, Status, delete, kill, pause, run_foreground, start_monitored, state,
    stop, sweep, unpause, wait,
};
use serde_json::json;

use crate::fixture::*;

pub const TESTS: &[(&str, fn())] = &[
    ("foreground_relays_and_logs", foreground_relays_and_logs),
    ("detached_life", detached_life),
    ("detached_stop_escalates", detached_stop_escalates),
    ("no_output_is_lost", no_output_is_lost),
    ("restart_policy", restart_policy),
    ("monitor_killed", monitor_killed),
    ("owner_vanishes", owner_vanishes),
    ("terminal", terminal),
    ("exec_forms", exec_forms),
    ("pausing", pausing),
    ("built_in_init", built_in_init),
    ("failed_start_leaves_nothing", failed_start_leaves_nothing),
    ("foreground_signals", foreground_signals),
    ("attach_client", attach_client),
];

const PLAIN: Foreground = Foreground { stdin: false, forward_signals: false };
const DETACHED: MonitorOptions = MonitorOptions { stdin: false, foreground: false };

fn start(container: &Container) -> runner::State {
    start_monitored(container.clone(), DETACHED, Box::new(|_| ())).unwrap_or_else(|error| panic!("{error}")).0
}

fn log(container: &Container) -> Vec<(Stream, String)> {
    let mut reader = Reader::open(container.log.as_ref().unwrap(), &Query::default()).unwrap();
    std::iter::from_fn(|| reader.next_entry().unwrap()).map(|entry| (entry.stream, entry.text)).collect()
}

fn process(args: &[&str], more: serde_json::Value) -> Process {
    spec(args, json!({"process": more})).process().clone().unwrap()
}

fn exec_of(args: &[&str]) -> Exec {
    Exec { process: process(args, json!({})), group_names: Vec::new(), seccomp: None, id: None, passed_on: Vec::new() }
}

fn foreground_relays_and_logs() {
    let lab = Lab::new();
    let container = lab.container("echo out; echo err >&2; exit 3", json!({}));
    let mut pid = None;
    let (exit, text) = captured(|| {
        run_foreground(&container, PLAIN, &mut |happening| {
            if let runner::Happening::Started(state) = happening {
                pid = state.process;
            }
        })
        .unwrap()
    });
    assert_eq!((exit.code, exit.signal, exit.requested), (Some(3), None, false));
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    assert!(pid.is_some());
    let mut lines = log(&container);
    lines.sort_by_key(|line| line.1.clone());
    assert_eq!(lines, [(Stream::Stderr, "err\n".to_owned()), (Stream::Stdout, "out\n".to_owned())]);
    let state = state::load(&container.state_dir).unwrap();
    assert_eq!((state.status, state.exit.unwrap().code), (Status::Stopped, Some(3)));
    delete(&container.state_dir, false).unwrap();
    delete(&container.state_dir, false).unwrap();
    assert!(!container.state_dir.exists());
}

fn detached_life() {
    let lab = Lab::new();
    let container = lab.container("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done", json!({}));
    let state = start(&container);
    assert_eq!(state.status, Status::Running);
    assert!(matches!(delete(&container.state_dir, false), Err(Error::Running(_))));
    let again = start_monitored(container.clone(), DETACHED, Box::new(|_| ()));
    assert!(again.unwrap_err().to_string().contains("is running"));
    eventually("it is up", || !log(&container).is_empty());
    let listed = state::list(container.state_dir.parent().unwrap()).unwrap();
    assert_eq!(listed.len(), 1);
    let exit = stop(&container.state_dir, None, Some(Duration::from_secs(5))).unwrap().unwrap();
    assert_eq!((exit.code, exit.requested, exit.oom), (Some(7), true, false));
    assert_eq!(wait(&container.state_dir, None).unwrap(), exit);
    assert_eq!(log(&container).last().unwrap().1, "bye\n");
    assert!(matches!(kill(&container.state_dir, 9, false), Err(Error::NotRunning(_))));
    delete(&container.state_dir, false).unwrap();
}

fn detached_stop_escalates() {
    let lab = Lab::new();
    let container = lab.container("trap '' TERM; while :; do sleep 1; done", json!({}));
    start(&container);
    let begin = Instant::now();
    let exit = stop(&container.state_dir, None, Some(Duration::from_millis(300))).unwrap().unwrap();
    assert_eq!((exit.code, exit.signal), (Some(137), Some(9)));
    assert!(begin.elapsed() >= Duration::from_millis(300) && begin.elapsed() < Duration::from_secs(3));
}

fn no_output_is_lost() {
    let lab = Lab::new();
    for terminal in [false, true] {
        let container = lab.container(
            "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; printf end",
            json!({"process": {"terminal": terminal}}),
        );
        start(&container);
        wait(&container.state_dir, Some(Duration::from_secs(20))).unwrap();
        let text: String = log(&container).into_iter().map(|line| line.1).collect();
        let text = text.replace('\r', "");
        assert!(
            text.starts_with("line 0\n") && text.ends_with("line 1999\nend"),
            "terminal {terminal}: {} bytes",
            text.len()
        );
        assert_eq!(text.lines().count(), 2001);
    }
}

fn restart_policy() {
    let lab = Lab::new();
    let with = |script: &str, restart| {
        let mut container = lab.container(script, json!({}));
        container.supervision.restart = restart;
        start_monitored(container.clone(), DETACHED, Box::new(|_| ())).unwrap();
        container
    };
    let container = with("echo run; exit 1", RestartPolicy::OnFailure(Some(2)));
    eventually("three runs", || log(&container).len() == 3);
    assert_eq!(wait(&container.state_dir, Some(Duration::from_secs(5))).unwrap().code, Some(1));
    assert_eq!(state::load(&container.state_dir).unwrap().restarts, 2);
    let container = with("exit 1", RestartPolicy::Always);
    let status = || state::load(&container.state_dir).unwrap().status;
    // By then the waits are of a second and more.
    eventually("it was started again", || state::load(&container.state_dir).unwrap().restarts >= 4);
    eventually("it waits", || status() == Status::Restarting);
    let asked = Instant::now();
    let exit = stop(&container.state_dir, None, Some(Duration::from_secs(1))).unwrap().unwrap();
    assert!(exit.requested && status() == Status::Stopped);
    assert!(asked.elapsed() < Duration::from_millis(500), "the wait ends with the request: {:?}", asked.elapsed());
    // A signal that ends it is a wish to stop.
    let container = with("exec sleep 1000", RestartPolicy::Always);
    kill(&container.state_dir, libc::SIGKILL, false).unwrap();
    assert_eq!(wait(&container.state_dir, Some(Duration::from_secs(5))).unwrap().signal, Some(libc::SIGKILL));
}

fn processes_of(container: &Container) -> usize {
    runner::cgroup::Cgroup::open(&container.id).map_or(0, |cgroup| cgroup.processes().unwrap().len())
}

fn monitor_killed() {
    let lab = Lab::new();
    for (user, init) in [("root", false), ("app", false), ("app", true)] {
        let mut container = lab
            .container("sleep 1000 & sleep 1000", json!({"process": {"user": {"uid": 0, "gid": 0, "username": user}}}));
        container.init = init;
        let state = start(&container);
        eventually("both run", || processes_of(&container) >= 2);
        let monitor = state.monitor.unwrap().open().unwrap().unwrap();
        rustix::process::pidfd_send_signal(&monitor, rustix::process::Signal::KILL).unwrap();
        eventually("nothing runs", || processes_of(&container) == 0);
        // Out of its groups, a process may take a moment longer to be gone.
        let load = || state::load(&container.state_dir).unwrap();
        eventually("it is known to have stopped", || load().status == Status::Stopped);
        assert_eq!(load().exit.unwrap().code, None, "unknown, not invented");
        sweep(container.state_dir.parent().unwrap(), None).unwrap();
        assert!(runner::cgroup::Cgroup::open(&container.id).is_err(), "the group is gone");
        delete(&container.state_dir, false).unwrap();
    }
}

fn owner_vanishes() {
    let lab = Lab::new();
    let container = lab.container("echo up; while :; do sleep 1; done", json!({}));
    let options = MonitorOptions { stdin: true, foreground: true };
    let (_, client) = start_monitored(container.clone(), options, Box::new(|_| ())).unwrap();
    eventually("it is up", || !log(&container).is_empty());
    drop(client);
    let exit = wait(&container.state_dir, Some(Duration::from_secs(8))).unwrap();
    assert_eq!(exit.signal, Some(9), "PID 1 ignores TERM and is killed");
}

/// A client by hand: sends frames and collects output.
struct Client(UnixStream);

impl Client {
    fn send(&mut self, kind: u8, payload: &[u8]) {
        let mut frame = vec![kind];
        frame.extend((payload.len() as u32).to_le_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).unwrap();
    }

    /// Reads until the output contains `text`, or the exit code.
    fn expect(&mut self, text: &str) -> String {
        let mut output = String::new();
        self.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        loop {
            let mut head = [0u8; 5];
            self.0.read_exact(&mut head).unwrap_or_else(|error| panic!("waiting for {text:?}: {error}: {output}"));
            let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut payload = vec![0u8; length];
            self.0.read_exact(&mut payload).unwrap();
            match head[0] {
                17 | 18 => output.push_str(&String::from_utf8_lossy(&payload)),
                19 => output.push_str(&format!("<exit {}>", i32::from_le_bytes(payload.try_into().unwrap()))),
                _ => {}
            }
            if output.contains(text) {
                return output;
            }
        }
    }
}

fn terminal() {
    let lab = Lab::new();
    let container =
        lab.container_of(&["sh"], json!({"process": {"terminal": true, "env": ["PATH=/bin", "PS1=ready> "]}}));
    let options = MonitorOptions { stdin: true, foreground: true };
    let (_, stream) = start_monitored(container.clone(), options, Box::new(|_| ())).unwrap();
    let mut client = Client(stream.unwrap());
    client.send(3, &[40, 0, 120, 0]);
    client.expect("ready> ");
    client.send(1, b"stty size; tty; test -c /dev/console && echo con''sole\n");
    let output = client.expect("console\r\n");
    assert!(output.contains("40 120") && output.contains("/dev/pts/0"), "{output}");
    client.send(1, b"sleep 100\n");
    std::thread::sleep(Duration::from_millis(100));
    client.send(1, b"\x03");
    client.expect("ready> ");
    // A second client sees the same, the first leaves on purpose, and the program goes on.
    let mut second = Client(runner::attach::connect(&container.state_dir).unwrap());
    client.send(5, &[]);
    second.send(1, b"echo still $((40+2))\n");
    second.expect("still 42");
    second.send(1, b"exit 9\n");
    second.expect("<exit 9>");
    assert_eq!(wait(&container.state_dir, None).unwrap().code, Some(9));
}

fn exec_forms() {
    let lab = Lab::new();
    let container = lab.container("while :; do sleep 0.1; done", json!({}));
    start(&container);
    let dir: &Path = &container.state_dir;
    let run = |args: &[&str]| captured(|| exec_foreground(dir, &exec_of(args), PLAIN));
    let (code, text) = run(&["sh", "-c", "echo in; hostname; exit 5"]);
    assert_eq!((code.unwrap(), text.as_str()), (5, "in\nlab\n"));
    let (_, text) = run(&["sh", "-c", "ls /proc/self/fd | wc -l; grep -E 'CapEff|CapInh|CapAmb' /proc/self/status"]);
    assert!(text.starts_with("4\n"), "no descriptor leaks: {text}");
    assert!(text.contains("CapInh:\t0000000000000000") && text.contains("CapAmb:\t0000000000000000"), "{text}");
    let (pid, _) = (run(&["sh", "-c", "cat /proc/1/cgroup"]).1, ());
    assert_eq!(pid, run(&["cat", "/proc/self/cgroup"]).1, "in the same groups");
    let (code, _) = run(&["no-such"]);
    assert_eq!(code.unwrap_err().exit_code(), 127);
    let user = Exec {
        process: process(&["id"], json!({"user": {"uid": 0, "gid": 0, "username": "app"}})),
        group_names: Vec::new(),
        seccomp: None,
        id: None,
        passed_on: Vec::new(),
    };
    let (code, text) = captured(|| exec_foreground(dir, &user, PLAIN));
    assert_eq!((code.unwrap(), text.trim()), (0, "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"));
    let cwd = Exec {
        process: process(&["pwd"], json!({"cwd": "/proc/self/fd/3"})),
        group_names: Vec::new(),
        seccomp: None,
        id: None,
        passed_on: Vec::new(),
    };
    assert!(exec_foreground(dir, &cwd, PLAIN).is_err());
    exec_detached(dir, &exec_of(&["sh", "-c", "echo $$ > /tmp/detached; sleep 100"]), |_| ()).unwrap();
    eventually("the detached exec runs", || run(&["test", "-s", "/tmp/detached"]).0.unwrap() == 0);
    let tty = Exec {
        process: process(&["sh", "-c", "tty; exit 6"], json!({"terminal": true})),
        group_names: Vec::new(),
        seccomp: None,
        id: None,
        passed_on: Vec::new(),
    };
    let (_, stream) = exec_monitored(dir, &tty, true, |_| ()).unwrap();
    let output = Client(stream).expect("<exit 6>");
    assert!(output.contains("/dev/pts/"), "{output}");
    // Dies with its client.
    let (id, stream) = exec_monitored(dir, &exec_of(&["sleep", "1000"]), false, |_| ()).unwrap();
    drop(stream);
    eventually("the exec died", || id.open().unwrap().is_none());
    delete(dir, true).unwrap();
    assert!(matches!(exec_foreground(dir, &exec_of(&["true"]), PLAIN), Err(Error::NotFound(_))));
}

fn pausing() {
    let lab = Lab::new();
    let container = lab.container("i=0; while :; do i=$((i+1)); echo $i > /tmp/count; done", json!({}));
    start(&container);
    let dir: &Path = &container.state_dir;
    let file = match &container.rootfs {
        runner::Rootfs::Overlay { upper, .. } => upper.join("tmp/count"),
        _ => unreachable!(),
    };
    eventually("it counts", || file.exists());
    pause(dir).unwrap();
    assert_eq!(state::load(dir).unwrap().status, Status::Paused);
    let count = || std::fs::read_to_string(&file).unwrap();
    let before = count();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(before, count());
    unpause(dir).unwrap();
    eventually("it goes on", || count() != before);
    pause(dir).unwrap();
    assert_eq!(
        stop(dir, None, Some(Duration::from_millis(100))).unwrap().unwrap().code,
        Some(137),
        "a paused one can be stopped"
    );
}

fn built_in_init() {
    let lab = Lab::new();
    let mut container = lab.container(
        "(sh -c 'sleep 0.05 & echo orphan' &); sleep 0.3; ps -o stat | grep -c Z; echo me $$; \
         ls -l /proc/1/exe 2>&1; ls /proc/1/fd 2>&1; trap 'exit 12' USR1; kill -USR1 1; sleep 5",
        json!({}),
    );
    container.init = true;
    let (output, exit) = collect(&container);
    assert_eq!(exit.code, Some(12), "{output}");
    assert!(output.contains("orphan\n0\nme "), "no zombies: {output}");
    assert!(!output.contains("me 1\n"), "{output}");
    assert!(output.contains("/proc/1/exe: cannot read link: Permission denied"), "sealed: {output}");
    let mut container = lab.container_of(&["no-such-program"], json!({}));
    container.init = true;
    assert_eq!(try_collect(&container).unwrap_err().exit_code(), 127);
    let mut container = lab.container("kill -9 $$", json!({}));
    container.init = true;
    assert_eq!(collect(&container).1.code, Some(137));
}

fn failed_start_leaves_nothing() {
    let lab = Lab::new();
    let container = lab.container_of(&["no-such-program"], json!({}));
    let error = start_monitored(container.clone(), DETACHED, Box::new(|_| ())).unwrap_err();
    assert_eq!(error.exit_code(), 127);
    assert!(!container.state_dir.exists());
    assert!(runner::cgroup::Cgroup::open(&container.id).is_err());
    let container = lab.container(
        "true",
        json!({"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1u64 << 40, "hard": 1u64 << 40}]}}),
    );
    let error = run_foreground(&container, PLAIN, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
    assert!(!container.state_dir.exists());
}

fn foreground_signals() {
    let lab = Lab::new();
    let container = lab.container("trap 'echo got; exit 4' USR1; echo up; while :; do sleep 0.01; done", json!({}));
    // Somebody else signals this process once the container is up.
    let me = std::process::id();
    let log_file = container.log.as_ref().unwrap().path.clone();
    let mut helper = std::process::Command::new("/bin/sh")
        .args(["-c", &format!("until grep -sq up {}; do sleep 0.02; done; kill -USR1 {me}", log_file.display())])
        .spawn()
        .unwrap();
    let options = Foreground { stdin: false, forward_signals: true };
    let (exit, text) = captured(|| run_foreground(&container, options, &mut |_| ()).unwrap());
    helper.wait().unwrap();
    assert_eq!((exit.code, text.as_str()), (Some(4), "up\ngot\n"));
}

/// The client as a person uses it: on a terminal of its own, which is raw meanwhile and as it was afterwards.
fn attach_client() {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
    let lab = Lab::new();
    let more = json!({"process": {"terminal": true, "env": ["PATH=/bin", "PS1=ready> "]}});
    let container = lab.container_of(&["sh"], more);
    let options = MonitorOptions { stdin: true, foreground: true };
    let (_, stream) = start_monitored(container.clone(), options, Box::new(|_| ())).unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    tcsetwinsize(&slave, Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let before = tcgetattr(&slave).unwrap();
    let saved = [rustix::io::dup(rustix::stdio::stdin()).unwrap(), rustix::io::dup(rustix::stdio::stdout()).unwrap()];
    rustix::stdio::dup2_stdin(&slave).unwrap();
    rustix::stdio::dup2_stdout(&slave).unwrap();
    let typist = std::thread::spawn(move || {
        let mut terminal = std::fs::File::from(master);
        let mut seen = String::new();
        let mut expect = |terminal: &mut std::fs::File, text: &str| {
            let mut buffer = [0u8; 1024];
            while !seen.contains(text) {
                let count = terminal.read(&mut buffer).unwrap();
                seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            std::mem::take(&mut seen)
        };
        expect(&mut terminal, "ready> ");
        terminal.write_all(b"stty size; printf '\\303\\251\\n'; echo fi''nished\n").unwrap();
        let output = expect(&mut terminal, "finished\r\n");
        let raw = tcgetattr(&terminal).unwrap();
        terminal.write_all(b"\x10\x11").unwrap();
        (output, raw.local_modes.contains(LocalModes::ECHO), terminal)
    });
    let attach = runner::attach::AttachOptions { stdin: true, forward_signals: false, ..Default::default() };
    let outcome = runner::attach::attach(stream.unwrap(), attach);
    let after = tcgetattr(&slave).unwrap();
    rustix::stdio::dup2_stdin(&saved[0]).unwrap();
    rustix::stdio::dup2_stdout(&saved[1]).unwrap();
    let (output, echo, _terminal) = typist.join().unwrap();
    assert_eq!(outcome.unwrap(), runner::attach::Outcome::Detached);
    assert!(output.contains("33 99") && output.contains('é'), "{output}");
    assert!(!echo, "the terminal was raw");
    assert_eq!(
        (after.local_modes, after.input_modes, after.output_modes),
        (before.local_modes, before.input_modes, before.output_modes)
    );
    assert_eq!(state::load(&container.state_dir).unwrap().status, Status::Running, "detached, not ended");
    stop(&container.state_dir, Some(libc::SIGKILL), None).unwrap();
}
