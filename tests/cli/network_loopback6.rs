//! Ports on the IPv6 loopback address, which the kernel does not lead to containers: the monitor relays them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::support::Sandbox;

/// Sends back what it gets, on TCP and UDP port 7; the end of the input ends the answer.
const ECHO: &str = "use IO::Socket::IP; \
    my $tcp = IO::Socket::IP->new(LocalHost => '::', LocalPort => 7, V6Only => 0, Listen => 50, ReuseAddr => 1) or die $!; \
    if (!fork) { my $udp = IO::Socket::IP->new(LocalHost => '::', LocalPort => 7, V6Only => 0, Type => SOCK_DGRAM) or die $!; \
      while (defined(my $from = $udp->recv(my $got, 65536))) { $udp->send($got) } exit } \
    while (my $one = $tcp->accept) { if (!fork) { \
      while (sysread $one, my $got, 65536) { my $at = 0; \
        while ($at < length $got) { $at += syswrite $one, $got, length($got) - $at, $at } } \
      print $one 'end'; exit } close $one }";

fn free() -> u16 {
    TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port()
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(
        &SocketAddr::new([0_u16, 0, 0, 0, 0, 0, 0, 1].into(), port),
        Duration::from_secs(5),
    )?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Whether so many bytes come back as they were, and the end after them.
fn echoes(port: u16, bytes: usize) -> bool {
    let Ok(mut stream) = connect(port) else { return false };
    let sent: Vec<u8> = (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || writer.write_all(&copy).and_then(|()| writer.shutdown(Shutdown::Write)));
    let mut got = Vec::new();
    let read = stream.read_to_end(&mut got);
    writing.join().unwrap().is_ok() && read.is_ok() && got == [&sent[..], b"end"].concat()
}

#[test]
fn connections_and_datagrams_to_the_ipv6_loopback_address_arrive() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "--ipv6", "six"]);
    let (one, every, four) = (free(), free(), free());
    let run = |network: &str, ports: &[String]| {
        let mut words = vec!["run", "-d", "--network", network];
        ports.iter().for_each(|port| words.extend(["-p", port]));
        words.extend(["debian", "perl", "-e", ECHO]);
        sandbox.ok(&words)
    };
    let udp = UdpSocket::bind("[::1]:0").unwrap();
    let datagrams = free();
    // On a network with IPv6, on ::1 alone and on every address; and on one without.
    run("six", &[format!("[::1]:{one}:7"), format!("{every}:7"), format!("[::1]:{datagrams}:7/udp")]);
    let id = run("bridge", &[format!("[::1]:{four}:7")]);
    for port in [one, every, four] {
        sandbox.wait_until(&format!("an echo of port {port}"), || echoes(port, 5));
        assert!(echoes(port, 8_000_000), "port {port}");
    }
    let many: Vec<_> = (0..40).map(|_| std::thread::spawn(move || echoes(one, 100_000))).collect();
    assert!(many.into_iter().all(|one| one.join().unwrap()), "many at a time");

    udp.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    udp.connect(("::1", datagrams)).unwrap();
    sandbox.wait_until("a datagram comes back", || {
        let mut got = [0; 100];
        udp.send(b"datagram").is_ok() && matches!(udp.recv(&mut got), Ok(8)) && &got[..8] == b"datagram"
    });

    assert_eq!(sandbox.ok(&["port", &id]), format!("7/tcp -> [::1]:{four}"));
    let twice = format!("[::1]:{four}:80");
    sandbox.img(&["run", "--rm", "-p", &twice, "busybox", "true"]).refuses(125, &["in use", &four.to_string()]);
    let sctp = format!("[::1]:{}:80/sctp", free());
    sandbox.img(&["run", "--rm", "-p", &sctp, "busybox", "true"]).refuses(125, &["sctp", "::1"]);

    // A new run is relayed as the first was, and with the container the port is free.
    sandbox.ok(&["restart", "-t", "0", &id]);
    sandbox.wait_until("an echo after the restart", || echoes(four, 5));
    sandbox.ok(&["rm", "-f", &id]);
    assert!(TcpListener::bind(("::1", four)).is_ok());
}
