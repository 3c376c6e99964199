//! Names of containers on user-defined networks, and all other names by way of the host: asked by the programs of the
//! images, answered by a name server of the test's own on a loopback address of this machine.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::Sandbox;

/// Answers every question for an address with 192.0.2.77; one whose name begins with `long` with so many that they need
/// TCP. Counts the questions.
fn name_server(address: &str) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let udp = UdpSocket::bind((address, 53)).expect("a free port 53 on a loopback address");
    let tcp = TcpListener::bind((address, 53)).expect("a free port 53 on a loopback address");
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            count.fetch_add(1, Ordering::Relaxed);
            drop(udp.send_to(&reply(&buffer[..length], false), from));
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                if stream.read_exact(&mut query).is_err() {
                    break;
                }
                let answer = reply(&query, true);
                let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
                if stream.write_all(&framed).is_err() {
                    break;
                }
            }
        }
    });
    asked
}

fn reply(query: &[u8], stream: bool) -> Vec<u8> {
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name's end") + 5;
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    let long = query[12..].starts_with(b"\x04long");
    let count = match (kind, long, stream) {
        (1, true, true) => 60,
        (1, false, _) => 1,
        _ => 0u16,
    };
    let mut answer = query[..end].to_vec();
    answer[2] = 0x81 | if long && !stream { 2 } else { 0 };
    answer[3] = 0x80;
    answer[6..12].copy_from_slice(&[0, count as u8, 0, 0, 0, 0]);
    for number in 0..count {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 77 + number as u8]);
    }
    answer
}

/// What `name` means to a program in a running container; empty if nothing.
fn resolve(sandbox: &Sandbox, container: &str, name: &str) -> String {
    let script = "nslookup $0 2>/dev/null | awk '/^Address/ && !/:53$/ {print $2}'";
    sandbox.ok(&["exec", container, "sh", "-c", script, name])
}

fn start(sandbox: &Sandbox, name: &str, words: &[&str], image: &[&str]) -> String {
    sandbox.ok(&[&["run", "-d", "--name", name], words, image].concat())
}

fn address(sandbox: &Sandbox, container: &str) -> String {
    sandbox.ok(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", container])
}

const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];

#[test]
fn names_aliases_and_ids_on_one_network() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "lab"]);
    sandbox.ok(&["network", "create", "other"]);
    let id = start(&sandbox, "web", &["--network", "lab:alias=www", "--network-alias", "site.example"], &SLEEP);
    start(&sandbox, "app", &["--network", "name=lab,alias=www"], &SLEEP);
    start(&sandbox, "far", &["--network", "other"], &SLEEP);
    let web = address(&sandbox, "web");
    for name in ["web", "WEB", "web.lab", "site.example", &id[..12]] {
        assert_eq!(resolve(&sandbox, "app", name), web, "{name}");
    }
    let mut both: Vec<String> = resolve(&sandbox, "web", "www").lines().map(str::to_owned).collect();
    both.sort();
    let mut expected = [web.clone(), address(&sandbox, "app")];
    expected.sort();
    assert_eq!(both, expected);
    assert_eq!(resolve(&sandbox, "far", "web"), "", "another network");
    assert!(sandbox.ok(&["exec", "app", "nslookup", &web]).contains("name = web.lab"));
    sandbox.img(&["exec", "app", "cat", "/etc/resolv.conf"]).ok().prints(&["nameserver 127.0.0.11\n", "ndots:0"]);

    // In the foreground the caller itself answers.
    let out = sandbox.img(&["run", "--rm", "--network", "lab", "busybox", "nslookup", "web"]);
    out.ok().prints(&[&format!("Address: {web}")]);
    // Who follows has the name, and who is gone has none.
    sandbox.ok(&["rm", "-f", "web"]);
    assert_eq!(resolve(&sandbox, "app", "web.lab"), "");
    start(&sandbox, "web", &["--network", "lab"], &SLEEP);
    assert_eq!(resolve(&sandbox, "app", "web"), address(&sandbox, "web"));
    sandbox.img(&["run", "--rm", "--network-alias", "x", "busybox", "true"]).refuses(125, &["alias"]);
}

#[test]
fn a_network_without_names_has_the_hosts_servers() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "--disable-dns", "plain"]);
    let out = sandbox.img(&["run", "--rm", "--network", "plain", "busybox", "cat", "/etc/resolv.conf"]);
    assert!(!out.ok().stdout().contains("127.0.0.11"), "{out}");
}

#[test]
fn ipv6_addresses_have_names_too() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "--ipv6", "six"]);
    start(&sandbox, "web", &["--network", "six"], &SLEEP);
    let six = sandbox.ok(&["inspect", "-f", "{{.NetworkSettings.GlobalIPv6Address}}", "web"]);
    let both = resolve(&sandbox, "web", "web");
    assert_eq!(both.lines().collect::<Vec<_>>(), [address(&sandbox, "web"), six]);
}

#[test]
fn other_names_are_asked_from_the_host_and_never_by_internal_networks() {
    let sandbox = Sandbox::new();
    let asked = name_server("127.81.0.1");
    sandbox.ok(&["network", "create", "lab"]);
    sandbox.ok(&["network", "create", "--internal", "inner"]);
    start(&sandbox, "app", &["--network", "lab", "--dns", "127.81.0.1"], &["debian", "sleep", "1000"]);
    let known = sandbox.ok(&["exec", "app", "getent", "ahostsv4", "outside.example"]);
    assert!(known.starts_with("192.0.2.77 "), "{known}");
    // Cut over UDP, so the program asks again over TCP.
    let long = sandbox.ok(&["exec", "app", "getent", "ahostsv4", "long.example"]);
    assert_eq!(long.lines().filter(|line| line.contains("STREAM")).count(), 60, "{long}");
    let before = asked.load(Ordering::Relaxed);
    assert!(before > 0);
    // A name of a container is nobody else's business.
    sandbox.ok(&["exec", "app", "getent", "ahostsv4", "app"]);
    assert_eq!(asked.load(Ordering::Relaxed), before);

    start(&sandbox, "in", &["--network", "inner", "--dns", "127.81.0.1"], &SLEEP);
    assert_eq!(resolve(&sandbox, "in", "outside.example"), "");
    assert_eq!(resolve(&sandbox, "in", "in"), address(&sandbox, "in"));
    assert_eq!(asked.load(Ordering::Relaxed), before, "an internal network asked outside");
}

#[test]
fn a_server_that_is_silent_is_passed_over() {
    let sandbox = Sandbox::new();
    // Bound and never read.
    let _silent = UdpSocket::bind("127.81.0.2:53").expect("a free port 53 on a loopback address");
    name_server("127.81.0.3");
    sandbox.ok(&["network", "create", "lab"]);
    let words = ["--network", "lab", "--dns", "127.81.0.2", "--dns", "127.81.0.3", "--dns-option", "timeout:9"];
    start(&sandbox, "app", &words, &["debian", "sleep", "1000"]);
    let known = sandbox.ok(&["exec", "app", "getent", "ahostsv4", "outside.example"]);
    assert!(known.starts_with("192.0.2.77 "), "{known}");
}

#[test]
fn changes_of_the_hosts_servers_are_followed() {
    let sandbox = Sandbox::new();
    let (first, second) = (name_server("127.81.0.4"), name_server("127.81.0.5"));
    sandbox.ok(&["network", "create", "lab"]);
    sandbox.pull("busybox");
    // The host's file as the monitor sees it: a mount namespace of its own has another one.
    let file = sandbox.write("resolv.conf", "nameserver 127.81.0.4\n");
    let img = sandbox.command(&["run", "-d", "--name", "app", "--network", "lab", "busybox", "sleep", "1000"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"", &file]);
    command.arg(img.get_program()).args(img.get_args()).env_clear().current_dir(sandbox.root());
    for (key, value) in img.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return println!("skip: no unshare here: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(resolve(&sandbox, "app", "outside.example"), "192.0.2.77");
    assert!(first.load(Ordering::Relaxed) > 0 && second.load(Ordering::Relaxed) == 0);
    sandbox.write("resolv.conf", "# changed\nnameserver 127.81.0.5\n");
    assert_eq!(resolve(&sandbox, "app", "outside.example"), "192.0.2.77");
    assert!(second.load(Ordering::Relaxed) > 0);
}

#[test]
fn hostile_packets_do_nothing() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "lab"]);
    start(&sandbox, "app", &["--network", "lab"], &["debian", "sleep", "1000"]);
    let script = r"
        my $u = IO::Socket::INET->new(PeerAddr => '127.0.0.11:53', Proto => 'udp') or die $!;
        srand(7);
        for my $n (0 .. 3000) {
            my $bytes = join '', map { chr int rand 256 } 1 .. int rand 600;
            $bytes = qq{\x12\x34\x01\x00\x00\x01} . $bytes if $n % 2;
            $u->send($bytes);
        }
        $u->send('x' x 60000);
        for my $n (0 .. 40) {
            my $t = IO::Socket::INET->new(PeerAddr => '127.0.0.11:53', Proto => 'tcp') or die $!;
            print $t $n % 3 ? qq{\xff\xff} . 'y' x 20000 : qq{\x00\x05hello};
        }
        my @open = map { IO::Socket::INET->new(PeerAddr => '127.0.0.11:53', Proto => 'tcp') } 1 .. 40;
        my $q = qq{\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03app\x00\x00\x01\x00\x01};
        my $t = IO::Socket::INET->new(PeerAddr => '127.0.0.11:53', Proto => 'tcp') or die $!;
        print $t pack('n', length $q) . $q; $t->flush;
        read $t, my $length, 2; read $t, my $answer, unpack('n', $length);
        print substr($answer, 0, 2) eq qq{\x12\x34} ? 'answered' : 'silent';
    ";
    sandbox.img(&["exec", "app", "perl", "-MIO::Socket::INET", "-e", script]).ok().prints_exactly("answered");
    assert!(sandbox.ok(&["exec", "app", "getent", "hosts", "app"]).contains("app"));
}

#[test]
fn port_53_is_free_for_a_server_in_the_container() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "lab"]);
    let script = "use IO::Socket::INET; my $u = IO::Socket::INET->new(LocalAddr => '0.0.0.0:53', Proto => 'udp') or die $!; \
                  my $t = IO::Socket::INET->new(LocalAddr => '0.0.0.0:53', Listen => 1) or die $!; \
                  print scalar gethostbyname('own') ? 'both' : 'no names';";
    let words = ["run", "--rm", "--name", "own", "--network", "lab", "debian", "perl", "-e", script];
    sandbox.img(&words).ok().prints_exactly("both");
}
