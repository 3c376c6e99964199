//! Real programs as guests: servers from Debian's packages and the registries' languages, used over the network by name
//! and through published ports, and a tool that presses against every limit.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Sandbox, skip};

/// How long a server may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An image with the servers in it; `None`, said loudly, where no Debian mirror is reachable.
fn servers(sandbox: &Sandbox) -> Option<()> {
    let update = "FROM debian\nRUN apt-get -o Acquire::Retries=0 -o Acquire::http::Timeout=10 update\n";
    let out = sandbox.img(&["build", "--network", "host", "-t", "updated", &context(sandbox, update)]);
    if ["Failed to fetch", "Temporary failure"].iter().any(|sign| out.stderr().contains(sign)) {
        return None;
    }
    out.ok();
    let text = "FROM updated\nENV DEBIAN_FRONTEND=noninteractive\n\
                RUN printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && \\\n\
                    apt-get install -y --no-install-recommends postgresql redis-server nginx-light stress-ng\n";
    sandbox.img(&["build", "--network", "host", "-t", "servers", &context(sandbox, text)]).ok();
    Some(())
}

fn context(sandbox: &Sandbox, text: &str) -> String {
    sandbox.write("guests/Buildfile", text);
    sandbox.text("guests")
}

/// Runs `words` until they succeed and print `wanted`.
fn until(sandbox: &Sandbox, words: &[&str], wanted: &str) {
    let began = Instant::now();
    loop {
        let out = sandbox.img(words);
        if out.code() == 0 && out.stdout().contains(wanted) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{words:?} never printed {wanted:?}:\n{out}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The answer of a published web server.
fn fetch(address: &str) -> String {
    let began = Instant::now();
    loop {
        let answer = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        });
        match answer {
            Ok(text) if !text.is_empty() => return text,
            answer => assert!(began.elapsed() < PATIENCE, "{address} never answered: {answer:?}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The first address that `img port` tells.
fn published(sandbox: &Sandbox, name: &str, port: &str) -> String {
    let told = sandbox.ok(&["port", name, port]);
    told.lines().next().expect("a published port").trim().replace("0.0.0.0", "127.0.0.1")
}

#[test]
fn servers_used_by_name_and_a_program_against_its_limits() {
    let sandbox = Sandbox::new();
    if servers(&sandbox).is_none() {
        skip!("no Debian mirror is reachable from a build");
    }
    let network = format!("guests{}", std::process::id());
    sandbox.ok(&["network", "create", &network]);

    // PostgreSQL: its own user, shared memory, many processes; its data in a volume that outlives it.
    let start = "exec su postgres -c '/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main \
                 -c config_file=/etc/postgresql/15/main/postgresql.conf -c listen_addresses=*'";
    let trust = format!("echo 'host all all all trust' >>/etc/postgresql/15/main/pg_hba.conf; {start}");
    let postgres = [
        "run",
        "-d",
        "--name",
        "db",
        "--network",
        &network,
        "-v",
        "data:/var/lib/postgresql",
        "servers",
        "sh",
        "-c",
        &trust,
    ];
    sandbox.ok(&postgres);
    let psql = ["run", "--rm", "--network", &network, "servers", "psql", "-h", "db", "-U", "postgres", "-tAc"];
    let query = |text: &'static str| [&psql[..], &[text]].concat();
    until(&sandbox, &query("select 41+1"), "42");
    let fill = query("create table t as select n, repeat('x', 100) as text from generate_series(1, 20000) as n");
    sandbox.img(&fill).ok();
    sandbox.ok(&["stop", "db"]);
    sandbox.ok(&["rm", "db"]);
    sandbox.ok(&postgres);
    until(&sandbox, &query("select count(*) from t"), "20000");

    // Redis, by name and by alias; it dies of a kill as it should.
    let redis = [
        "run",
        "-d",
        "--name",
        "cache",
        "--network",
        &network,
        "--network-alias",
        "kv",
        "servers",
        "redis-server",
        "--bind",
        "0.0.0.0",
        "--protected-mode",
        "no",
    ];
    sandbox.ok(&redis);
    let client = ["run", "--rm", "--network", network.as_str(), "servers", "redis-cli", "-h", "kv"];
    until(&sandbox, &[&client[..], &["ping"]].concat(), "PONG");
    sandbox.img(&[&client[..], &["set", "key", "value"]].concat()).ok();
    sandbox.img(&[&client[..], &["get", "key"]].concat()).ok().prints(&["value"]);
    sandbox.ok(&["exec", "cache", "redis-benchmark", "-q", "-n", "2000", "-t", "set,get"]);

    // nginx, through a published port.
    let nginx = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        &network,
        "-p",
        "127.0.0.1::80",
        "servers",
        "nginx",
        "-g",
        "daemon off;",
    ];
    sandbox.ok(&nginx);
    assert!(fetch(&published(&sandbox, "web", "80")).contains("Welcome to nginx"));
    sandbox
        .img(&["run", "--rm", "--network", &network, "busybox", "wget", "-qO-", "http://web"])
        .ok()
        .prints(&["Welcome to nginx"]);
    sandbox.ok(&["rm", "-f", "db", "cache", "web"]);
    sandbox.ok(&["network", "rm", &network]);

    // stress-ng: more memory, processes and processor time than it is given; none of it gets out.
    let stress = [
        "run",
        "-d",
        "--name",
        "stress",
        "--network",
        "none",
        "-m",
        "96m",
        "--memory-swap",
        "96m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "60",
        "servers",
    ];
    let press =
        ["stress-ng", "--vm", "2", "--vm-bytes", "300m", "--cpu", "2", "--fork", "4", "--timeout", "6", "--quiet"];
    sandbox.ok(&[&stress[..], &press].concat());
    std::thread::sleep(Duration::from_secs(3));
    let seen = sandbox.img(&["stats", "--no-stream", "--format", "json", "stress"]).ok().json();
    let seen = seen.get(0).unwrap_or(&seen).clone();
    // 96 MiB, give or take the last digit of the text.
    let peak = seen["MemPeak"].as_str().and_then(|text| text.strip_suffix("MiB")?.parse::<f64>().ok());
    assert!(peak.is_some_and(|peak| (60.0..=96.1).contains(&peak)), "{seen}");
    assert!(seen["OOMKills"].as_u64().is_some_and(|kills| kills > 0), "{seen}");
    assert!(
        seen["ThrottledPeriods"].as_u64().is_some_and(|periods| periods > 0),
        "it is held to half a processor: {seen}"
    );
    let tasks = sandbox.ok(&[
        "exec",
        "stress",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/pids/pids.current 2>/dev/null || cat /sys/fs/cgroup/pids.current",
    ]);
    assert!(tasks.trim().parse::<u64>().unwrap() <= 60, "{tasks}");
    sandbox.ok(&["wait", "stress"]);
}

#[test]
fn python_and_node_servers_behind_published_ports() {
    let sandbox = Sandbox::new();
    let python = [
        "run",
        "-d",
        "--name",
        "python",
        "-w",
        "/etc",
        "-p",
        "127.0.0.1::8000",
        "python:3.11-slim",
        "python3",
        "-m",
        "http.server",
        "8000",
    ];
    sandbox.ok(&python);
    assert!(fetch(&published(&sandbox, "python", "8000/tcp")).contains("passwd"));
    let serve = "require('http').createServer((q, s) => s.end('node ' + q.url)).listen(3000)";
    sandbox.ok(&[
        "run",
        "-d",
        "--init",
        "--name",
        "node",
        "-p",
        "127.0.0.1::3000",
        "node:18-slim",
        "node",
        "-e",
        serve,
    ]);
    assert!(fetch(&published(&sandbox, "node", "3000")).ends_with("node /"));
    // Both stop when they are asked to, within their time.
    let began = Instant::now();
    sandbox.ok(&["stop", "-t", "20", "node"]);
    assert!(began.elapsed() < Duration::from_secs(15), "an init passes the signal on");
    sandbox.ok(&["rm", "-f", "python", "node"]);
}
