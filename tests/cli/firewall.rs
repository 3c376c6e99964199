//! A container's network on hosts that are set up differently: forwarding off, a firewall that drops what is forwarded,
//! another tool's tables. Each test makes such a host for itself: a network namespace that `img` is run in, with a second
//! one behind it as the world outside. Nothing of the machine's own network is touched.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Out, Sandbox, skip, tools};

/// A host of our own and a world behind it, by documentation addresses: the world is 198.51.100.2.
struct Island {
    host: String,
    world: String,
    server: Option<Child>,
}

impl Island {
    fn new(name: &str) -> Self {
        let (host, world) = (format!("img{name}h{}", std::process::id()), format!("img{name}w{}", std::process::id()));
        let island = Self { host, world, server: None };
        let (host, world) = (&island.host, &island.world);
        shell(&format!(
            "ip netns add {host}; ip netns add {world}; ip -n {host} link set lo up; ip -n {world} link set lo up; \
             ip -n {host} link add out0 type veth peer name eth0 netns {world}; \
             ip -n {host} addr add 198.51.100.1/24 dev out0; ip -n {host} link set out0 up; \
             ip -n {world} addr add 198.51.100.2/24 dev eth0; ip -n {world} link set eth0 up; \
             ip netns exec {host} sh -c 'echo 0 > /proc/sys/net/ipv4/ip_forward'"
        ));
        island
    }

    /// Lets the world answer on TCP port 7777 with the address that the question seemed to come from.
    fn serve(&mut self) {
        let script =
            "while :; do nc -l -n -v -s 198.51.100.2 -p 7777 -q 0 </dev/null 2>&1 | grep -o 'from.*' > /dev/null; done";
        let answer = script.replace("</dev/null", "< /etc/hostname");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.world)).args(["sh", "-c", &answer]);
        self.server = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    /// `img` on this host. Only the network namespace differs, so the store and its mounts are the same.
    fn img(&self, sandbox: &Sandbox, arguments: &[&str]) -> Out {
        let inner = sandbox.command(arguments);
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.host))
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_clear();
        command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
        Out::of(command, None, Duration::from_secs(60))
    }

    fn on_host(&self, script: &str) -> Out {
        tools::run("nsenter", [format!("--net=/run/netns/{}", self.host).as_str(), "sh", "-ec", script])
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            drop(server.kill());
            drop(server.wait());
        }
        // `nc` below the shell goes when its namespace's only user asks for it; end what lives there by id.
        for name in [&self.world, &self.host] {
            let ids = Command::new("ip").args(["netns", "pids", name]).output();
            let ids = ids.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
            for id in ids.split_whitespace() {
                drop(Command::new("kill").args(["-KILL", id]).output());
            }
            drop(Command::new("ip").args(["netns", "del", name]).output());
        }
    }
}

fn shell(script: &str) -> Out {
    tools::run("sh", ["-ec", script])
}

const FETCH: &str = "for n in 1 2 3 4 5 6; do nc -w 2 198.51.100.2 7777 </dev/null && exit; sleep 0.3; done; exit 1";

fn ready() -> bool {
    tools::has("ip") && tools::has("nft") && tools::has("nsenter")
}

#[test]
fn out_through_nat_with_forwarding_off_before() {
    if !ready() {
        skip!("ip, nft and nsenter are needed");
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let mut island = Island::new("nat");
    island.serve();
    let own = std::fs::read_to_string("/etc/hostname").unwrap();
    let out = island.img(&sandbox, &["run", "--rm", "busybox", "sh", "-c", FETCH]);
    out.ok().prints_exactly(&own);
}

#[test]
fn beside_a_firewall_that_drops_what_is_forwarded() {
    if !ready() {
        skip!("ip, nft and nsenter are needed");
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let mut island = Island::new("drop");
    island.serve();
    // As Docker and ufw leave it: the filter table's FORWARD chain with policy drop.
    island.on_host("nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'");
    let before = island.on_host("nft list table ip filter").stdout();
    let out = island.img(&sandbox, &["run", "--rm", "busybox", "sh", "-c", FETCH]);
    if out.code() == 125 {
        out.refuses(125, &["FORWARD", "drop"]).hints();
    } else {
        out.ok();
        let rules = island.on_host("nft list table ip filter").stdout();
        assert!(rules.contains("img"), "the accept carries our name, so that its owner can find it:\n{rules}");
        island.img(&sandbox, &["system", "unmount"]).ok();
        island.img(&sandbox, &["network", "prune", "--force"]);
    }
    assert!(
        before.contains("policy drop") && island.on_host("nft list table ip filter").stdout().contains("policy drop")
    );
}

#[test]
fn a_drop_that_no_accept_of_ours_can_lift_is_named() {
    if !ready() {
        skip!("ip, nft and nsenter are needed");
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let mut island = Island::new("other");
    island.serve();
    island.on_host("nft add table inet strict; nft 'add chain inet strict forward { type filter hook forward priority 10; policy drop; }'");
    let out = island.img(&sandbox, &["run", "--rm", "busybox", "sh", "-c", FETCH]);
    if out.code() == 125 {
        out.refuses(125, &["strict"]).hints();
    } else {
        out.ok();
    }
}

#[test]
fn other_tools_tables_stay_as_they_are() {
    if !ready() {
        skip!("ip, nft and nsenter are needed");
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let island = Island::new("tables");
    island.on_host("nft add table ip docker-like; nft 'add chain ip docker-like c { type nat hook postrouting priority 100; }'; nft add rule ip docker-like c ip saddr 10.99.0.0/16 masquerade");
    let before = island.on_host("nft list table ip docker-like").stdout();
    island.img(&sandbox, &["run", "--rm", "-p", "127.0.0.1:0:80", "busybox", "true"]).ok();
    assert_eq!(island.on_host("nft list table ip docker-like").stdout(), before);
}

#[test]
fn two_containers_on_the_bridge_talk_and_an_internal_firewall_is_not_opened_wider() {
    if !ready() {
        skip!("ip, nft and nsenter are needed");
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let island = Island::new("wide");
    let id = island
        .img(
            &sandbox,
            &[
                "run",
                "-d",
                "-p",
                "127.0.0.1:8080:80",
                "busybox",
                "sh",
                "-c",
                "while :; do echo inner | nc -l -p 80 >/dev/null; done",
            ],
        )
        .ok()
        .word();
    let fetch = "for n in 1 2 3 4 5 6; do nc -w 1 127.0.0.1 8080 </dev/null && exit; sleep 0.2; done; exit 1";
    assert_eq!(island.on_host(fetch).stdout(), "inner\n");
    // The world asks the published port on the outer address, which was not published.
    let outside = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", island.world))
        .args(["sh", "-c", "nc -w 1 198.51.100.1 8080 </dev/null"])
        .output()
        .unwrap();
    assert!(outside.stdout.is_empty(), "127.0.0.1 publishing answers the world: {outside:?}");
    island.img(&sandbox, &["rm", "-f", &id]).ok();
}

#[test]
fn what_was_flushed_is_there_again_after_a_reload() {
    if !ready() {
        skip!("ip, nft and nsenter are needed");
    }
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let mut island = Island::new("load");
    island.serve();
    let own = std::fs::read_to_string("/etc/hostname").unwrap();
    let script = "while :; do echo inside | nc -l -p 80 >/dev/null; done";
    let words = ["run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", script];
    let id = island.img(&sandbox, &words).ok().word();
    island.img(&sandbox, &["run", "-d", "--name", "bare", "--network", "host", "busybox", "sleep", "1000"]).ok();
    let ask = "nc -w 2 198.51.100.1 8080 </dev/null";
    let asked = || {
        let words = [format!("--net=/run/netns/{}", island.world), "sh".into(), "-c".into(), format!("{ask} || true")];
        tools::run("nsenter", &words).stdout()
    };
    sandbox.wait_until("it answers the world", || asked() == "inside\n");
    let rules = || island.on_host("nft list table ip img").stdout();
    let before = rules();
    island.on_host("nft flush ruleset");
    assert_eq!(asked(), "");
    island.img(&sandbox, &["network", "reload", "--all"]).ok().prints(&[&id]);
    assert_eq!(rules(), before);
    sandbox.wait_until("it answers again", || asked() == "inside\n");
    island.img(&sandbox, &["exec", "web", "sh", "-c", FETCH]).ok().prints_exactly(&own);
    // What is there is left as it is.
    island.img(&sandbox, &["network", "reload", "web", "bare"]).ok().prints_exactly("web\nbare\n");
    assert_eq!(rules(), before);
    island.img(&sandbox, &["network", "reload", "nobody"]).refuses(1, &["nobody"]);
    island.img(&sandbox, &["rm", "-f", "web", "bare"]).ok();
    island.img(&sandbox, &["create", "--name", "idle", "busybox"]).ok();
    island.img(&sandbox, &["network", "reload", "idle"]).refuses(1, &["not running"]);
}
