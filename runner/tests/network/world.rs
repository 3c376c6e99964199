//! A world for network tests: the process's own fresh namespace plays the host, further ones play containers and a
//! machine outside. Nothing here touches the network of the machine that runs the tests.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use runner::network::{self, BridgeConfig, Config, Mode, Network, PortMapping, Protocol, Site, State};

/// The host's and the outside machine's address on the wire between them.
pub const HOST_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OUTSIDE_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// The same of IPv6.
pub const HOST_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const OUTSIDE_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// Gives the wire between host and outside IPv6, too.
pub fn add_ipv6(outside: &OwnedFd) {
    run(&format!("ip address add {HOST_IP6}/64 dev wan0 nodad && ip -6 route add default via {OUTSIDE_IP6}"));
    within(outside, || run(&format!("ip address add {OUTSIDE_IP6}/64 dev wan1 nodad")));
}

/// Moves the process into a namespace that plays the host.
pub fn become_host() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (as root)");
    // A fresh namespace takes these from the machine's first one.
    run("ip link set lo up && echo 0 > /proc/sys/net/ipv4/ip_forward");
}

pub fn new_netns() -> OwnedFd {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        OwnedFd::from(fs::File::open("/proc/thread-self/ns/net").unwrap())
    });
    made.join().unwrap()
}

/// Runs `f` by a thread inside `netns`.
pub fn within<T: Send>(netns: &OwnedFd, f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
            f()
        });
        inside.join().unwrap()
    })
}

/// Runs a command, which must succeed, and returns what it says.
pub fn run(command: &str) -> String {
    let (ok, text) = try_run(command);
    assert!(ok, "{command}: {text}");
    text
}

pub fn try_run(command: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A machine outside, wired to the host, which has its default route there. The outside knows no way back to containers.
pub fn outside() -> OwnedFd {
    let netns = new_netns();
    run("ip link add wan0 type veth peer name wan1");
    run(&format!("ip link set wan1 netns /proc/{}/fd/{}", std::process::id(), netns.as_raw_fd()));
    run(&format!("ip address add {HOST_IP}/24 dev wan0 && ip link set wan0 up"));
    within(&netns, || run(&format!("ip address add {OUTSIDE_IP}/24 dev wan1 && ip link set wan1 up")));
    run(&format!("ip route add default via {OUTSIDE_IP}"));
    netns
}

/// Serves TCP inside a namespace, until the process ends: each client is told the server's name and its own address.
pub fn serve(netns: &OwnedFd, address: &str, name: &'static str) {
    let listener = within(netns, || TcpListener::bind(address).unwrap());
    serve_on(listener, name);
}

pub fn serve_on(listener: TcpListener, name: &'static str) {
    thread::spawn(move || {
        while let Ok((mut client, peer)) = listener.accept() {
            let _ = write!(client, "{name} {}", peer.ip());
        }
    });
}

pub fn serve_udp(netns: &OwnedFd, address: &str, name: &'static str) {
    let socket = within(netns, || UdpSocket::bind(address).unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// What a server answers to this thread.
pub fn ask(ip: impl Into<IpAddr>, port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip.into(), port), Duration::from_millis(700))?;
    stream.set_read_timeout(Some(Duration::from_millis(700)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub fn ask_udp(ip: Ipv4Addr, port: u16) -> io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(700)))?;
    socket.send_to(b"?", (ip, port))?;
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// A directory of leases and what counts as alive.
pub struct House {
    pub dir: tempfile::TempDir,
}

/// A container: its namespace and what was set up in it.
pub struct Guest {
    pub netns: OwnedFd,
    pub network: Network,
}

impl Guest {
    pub fn state(&self) -> &State {
        &self.network.state
    }

    pub fn ip(&self) -> Ipv4Addr {
        self.state().first().unwrap().ip
    }

    pub fn gateway(&self) -> Ipv4Addr {
        self.state().first().unwrap().gateway
    }

    pub fn asks(&self, ip: impl Into<IpAddr> + Send, port: u16) -> io::Result<String> {
        within(&self.netns, || ask(ip, port))
    }
}

impl House {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn site(&self) -> Site<'_> {
        Site { state_dir: self.dir.path(), is_alive: &|_| true }
    }

    /// A container on a bridge; all else as `change` says.
    pub fn guest(&self, id: &str, change: impl FnOnce(&mut BridgeConfig)) -> Guest {
        self.try_guest(id, change).unwrap_or_else(|error| panic!("{}", words(&error)))
    }

    pub fn try_guest(&self, id: &str, change: impl FnOnce(&mut BridgeConfig)) -> network::Result<Guest> {
        let mut bridge = BridgeConfig::default();
        change(&mut bridge);
        let netns = new_netns();
        let config = Config::new(id, Mode::bridge(bridge));
        let network = network::setup(&config, &self.site(), Some(netns.as_fd()))?;
        Ok(Guest { netns, network })
    }

    pub fn teardown(&self, guest: Guest) {
        network::teardown(guest.state(), &self.site()).unwrap();
    }

    /// Everything our code may have left on the host, as text.
    pub fn traces(&self) -> String {
        let leases = run(&format!("cd {} && find . -type l | sort", self.dir.path().display()));
        let links = run("ip -o link | grep -o ' img[^:@ ]*' | sort; true");
        let ports = run("nft -n list ruleset | grep -A99 elements || true");
        format!("{leases}|{links}|{ports}")
    }
}

/// An error with its causes.
pub fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// A published port.
pub fn port(host_ip: &str, host_port: u16, container_port: u16, protocol: Protocol) -> PortMapping {
    PortMapping { host_ip: host_ip.parse().ok(), ..PortMapping::new(host_port, container_port, protocol) }
}
