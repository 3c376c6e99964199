//! `top`, `ps --processes` and `stats`: what runs in containers and what it uses, held against what /proc says.

use crate::support::Sandbox;

fn busy(sandbox: &Sandbox) {
    sandbox.pull("busybox");
    let script = "sleep 1000 & while :; do :; done";
    sandbox.ok(&["run", "-d", "--name", "box", "-m", "64m", "--network", "none", "busybox", "sh", "-c", script]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while sandbox.ok(&["top", "box"]).lines().count() < 3 {
        assert!(std::time::Instant::now() < deadline, "the second process does not come");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn top_shows_dockers_columns_and_podmans() {
    let sandbox = Sandbox::new();
    busy(&sandbox);
    let pid = sandbox.inspect("box")["State"]["Pid"].to_string();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let table = sandbox.ok(&["top", "box"]);
    let lines: Vec<Vec<String>> = table.lines().map(words).collect();
    assert_eq!(lines[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!((&lines[1][0], &lines[1][1]), (&"root".to_owned(), &pid));
    assert_eq!(lines[2][2], pid, "its parent is the shell");
    assert_eq!(lines[2][7..], ["sleep", "1000"]);
    let chosen = sandbox.ok(&["top", "box", "-eo", "pid,comm"]);
    assert_eq!(words(chosen.lines().nth(1).unwrap()), [pid.as_str(), "sh"]);
    let inner = sandbox.ok(&["top", "box", "pid", "hpid", "seccomp", "capeff", "args"]);
    let row = words(inner.lines().nth(1).unwrap());
    assert_eq!((row[0].as_str(), row[1].as_str(), row[2].as_str()), ("1", pid.as_str(), "filter"));
    assert!(row[3].contains("NET_BIND_SERVICE") && !row[3].contains("SYS_ADMIN"), "{inner}");
    sandbox.img(&["top", "box", "-o", "nonsense"]).refuses(125, &["no column"]).hints();
    sandbox.img(&["stop", "-t", "0", "box"]).ok();
    sandbox.img(&["top", "box"]).refuses(1, &["not running"]);
}

#[test]
fn one_table_for_all_processes() {
    let sandbox = Sandbox::new();
    busy(&sandbox);
    sandbox.ok(&["run", "-d", "--name", "other", "--network", "none", "busybox", "sleep", "1001"]);
    let table = sandbox.ok(&["ps", "--processes"]);
    assert!(table.lines().any(|line| line.starts_with("other ") && line.ends_with("sleep 1001")), "{table}");
    assert!(table.lines().any(|line| line.starts_with("box ") && line.ends_with("sleep 1000")), "{table}");
    let lines = sandbox.ok(&["ps", "--processes", "--format", "{{.Pid}} {{.Cgroup}} {{.Command}}"]);
    assert_eq!(lines.lines().count(), 3);
    let id = sandbox.inspect("other")["Id"].as_str().unwrap().to_owned();
    let pid = sandbox.inspect("other")["State"]["Pid"].to_string();
    assert!(lines.lines().any(|line| line.starts_with(&pid) && line.contains(&id) && line.ends_with("sleep 1001")));
}

#[test]
fn stats_count() {
    let sandbox = Sandbox::new();
    busy(&sandbox);
    sandbox.ok(&["create", "--name", "idle", "busybox"]);
    let out = sandbox.img(&["stats", "--no-stream", "--format", "json"]);
    let rows = out.ok().json();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    let row = &rows[0];
    assert_eq!((row["Name"].as_str(), row["PIDs"].as_str()), (Some("box"), Some("2")));
    assert!(row["MemUsage"].as_str().unwrap().ends_with("/ 64MiB"), "{row}");
    let percent = row["CPUPerc"].as_str().unwrap().trim_end_matches('%').parse::<f64>().unwrap();
    assert!(percent > 1.0 && percent < 130.0, "a loop uses a processor: {row}");
    let table = sandbox.ok(&["stats", "--no-stream", "--all"]);
    assert!(table.starts_with("CONTAINER ID   NAME "), "{table}");
    assert_eq!(table.lines().count(), 3);
    sandbox.img(&["stats", "--no-stream", "nobody"]).refuses(1, &["no such container"]);
    // A stream ends when nobody reads it any more.
    let mut stream = sandbox.spawn(&["stats", "-i", "0.05", "--format", "{{.Name}}", "box"]);
    let mut first = [0; 4];
    std::io::Read::read_exact(stream.0.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(&first, b"box\n");
    drop(stream.0.stdout.take());
    assert!(stream.0.wait().unwrap().success());
}
