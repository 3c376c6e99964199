//! `network connect` and `disconnect` on running and stopped containers, and `port`: what a container is told, what its
//! neighbours see, and what is left when it all goes wrong.

use std::net::TcpListener;
use std::path::Path;

use crate::support::Sandbox;

const SLEEP: [&str; 3] = ["busybox", "sleep", "1000"];

fn start(sandbox: &Sandbox, name: &str, words: &[&str]) -> String {
    sandbox.ok(&[&["run", "-d", "--name", name], words, &SLEEP].concat())
}

fn resolve(sandbox: &Sandbox, container: &str, name: &str) -> String {
    let script = "nslookup $0 2>/dev/null | awk '/^Address/ && !/:53$/ {print $2}'";
    sandbox.ok(&["exec", container, "sh", "-c", script, name])
}

fn place(sandbox: &Sandbox, container: &str, network: &str) -> serde_json::Value {
    sandbox.inspect(container)["NetworkSettings"]["Networks"][network].clone()
}

fn default_route(sandbox: &Sandbox, container: &str) -> String {
    sandbox.ok(&["exec", container, "sh", "-c", "ip route | awk '/^default/ {print $5}'"])
}

#[test]
fn a_running_container_is_put_on_a_network_and_taken_off() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "lab"]);
    start(&sandbox, "web", &["--network", "lab"]);
    start(&sandbox, "app", &[]);
    assert_eq!(resolve(&sandbox, "app", "web"), "");
    sandbox.ok(&["network", "connect", "--alias", "other", "lab", "app"]);
    let there = place(&sandbox, "app", "lab");
    assert_eq!(there["Interface"], "eth1");
    let web = place(&sandbox, "web", "lab")["IPAddress"].as_str().unwrap().to_owned();
    sandbox.wait_until("names are served", || resolve(&sandbox, "app", "web") == web);
    assert_eq!(resolve(&sandbox, "web", "other"), there["IPAddress"].as_str().unwrap());
    assert_eq!(default_route(&sandbox, "app"), "eth0");
    sandbox.img(&["network", "connect", "lab", "app"]).refuses(1, &["already"]);
    assert_eq!(sandbox.ok(&["ps", "--filter", "name=app", "--format", "{{.Networks}}"]), "bridge,lab");

    sandbox.ok(&["network", "disconnect", "bridge", "app"]);
    assert_eq!(default_route(&sandbox, "app"), "eth1");
    assert!(!sandbox.ok(&["exec", "app", "ip", "link"]).contains("eth0"));
    sandbox.img(&["network", "disconnect", "bridge", "app"]).refuses(1, &["not on"]);
    sandbox.ok(&["network", "disconnect", "--force", "bridge", "app"]);
    // It is where it was after it was started again.
    sandbox.ok(&["restart", "-t", "0", "app"]);
    assert!(place(&sandbox, "app", "bridge").is_null());
    assert_eq!(resolve(&sandbox, "app", "web"), web);

    sandbox.ok(&["network", "disconnect", "lab", "web"]);
    assert!(sandbox.ok(&["exec", "web", "ip", "-o", "link"]).lines().all(|line| line.contains("lo:")));
    sandbox.wait_until("the name is gone", || resolve(&sandbox, "app", "web.lab").is_empty());
    sandbox.ok(&["network", "connect", "lab", "web"]);
    sandbox.wait_until("the name is back", || !resolve(&sandbox, "app", "web").is_empty());
    sandbox.ok(&["rename", "web", "shop"]);
    sandbox.wait_until("the new name is known", || !resolve(&sandbox, "app", "shop").is_empty());
    assert_eq!(resolve(&sandbox, "app", "web.lab"), "");
    let events = sandbox.ok(&["events", "--since", "10m", "--stream=false", "--filter", "type=network"]);
    assert!(events.contains("connect") && events.contains("disconnect") && events.contains("create"), "{events}");
}

#[test]
fn a_stopped_container_is_put_on_a_network_for_its_next_start() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "lab"]);
    sandbox.ok(&["create", "--name", "app", "--network", "none", "busybox", "sleep", "1000"]);
    let subnet = sandbox.ok(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "lab"]);
    let ip = subnet.replace(".0/24", ".99");
    sandbox.ok(&["network", "connect", "--ip", &ip, "lab", "app"]);
    sandbox.ok(&["start", "app"]);
    assert_eq!(place(&sandbox, "app", "lab")["IPAddress"], ip);
    sandbox.img(&["network", "connect", "host", "app"]).refuses(1, &["host"]);
    start(&sandbox, "host", &["--network", "host"]);
    sandbox.img(&["network", "connect", "lab", "host"]).refuses(1, &["no network of its own"]);
    sandbox.img(&["network", "connect", "nosuch", "app"]).refuses(1, &["nosuch"]);
    // A foreground container hears of it, too.
    let mut foreground = sandbox.spawn(&[
        "run",
        "--rm",
        "--name",
        "fore",
        "busybox",
        "sh",
        "-c",
        "until nslookup app; do sleep 0.1; done",
    ]);
    sandbox.wait_until("it runs", || sandbox.img(&["exec", "fore", "true"]).code() == 0);
    sandbox.ok(&["network", "connect", "lab", "fore"]);
    assert_eq!(foreground.wait(), 0);
}

#[test]
fn a_connect_killed_at_any_moment_is_taken_back_with_the_container() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(&["network", "create", "lab"]);
    let leases = format!("/run/img/network/leases/img-{}", &id[..10]);
    let held = || {
        std::fs::read_dir(Path::new(&leases))
            .map_or(0, |all| all.flatten().filter(|one| one.path().is_symlink()).count())
    };
    for number in 0..10u64 {
        start(&sandbox, "app", &[]);
        let running = sandbox.spawn(&["network", "connect", "lab", "app"]);
        std::thread::sleep(std::time::Duration::from_micros(900 * number));
        // Dropped: killed.
        drop(running);
        if number % 2 == 0 {
            // The next one is not in the way of what the killed one left.
            let again = sandbox.img(&["network", "connect", "lab", "app"]);
            assert!(again.code() == 0 || again.stderr().contains("already"), "{again}");
        }
        sandbox.ok(&["rm", "-f", "app"]);
        sandbox.wait_until("nothing is leased", || held() == 0);
    }
    sandbox.ok(&["network", "rm", "lab"]);
    assert!(!Path::new(&leases).exists());
}

#[test]
fn ports_are_told_as_they_are() {
    let sandbox = Sandbox::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = free.local_addr().unwrap().port();
    let choice = format!("127.0.0.1:{taken}-{}:80", taken.saturating_add(20));
    let id = start(&sandbox, "web", &["-p", &choice, "-p", "127.0.0.1::53/udp", "--expose", "7000-7001", "-P"]);
    let told = sandbox.ok(&["port", "web", "80"]);
    let number: u16 = told.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
    assert!(number > taken && number <= taken + 20, "{told}: the first is taken");
    let all = sandbox.ok(&["port", "web"]);
    for inside in ["53/udp -> 127.0.0.1:", "7000/tcp -> 0.0.0.0:", "7001/tcp -> 0.0.0.0:", "80/tcp -> 127.0.0.1:"] {
        assert!(all.contains(inside), "{inside}: {all}");
    }
    let shown = sandbox.inspect(&id)["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].clone();
    assert_eq!(shown, number.to_string());
    assert!(sandbox.ok(&["ps", "--format", "{{.Ports}}"]).contains(&format!("127.0.0.1:{number}->80/tcp")));
    sandbox.img(&["port", "web", "81"]).refuses(1, &["81/tcp"]);
    sandbox.img(&["port", "nosuch"]).refuses(1, &["nosuch"]);
    let range = format!("127.0.0.1:{taken}:80");
    sandbox.img(&["run", "--rm", "-p", &range, "busybox", "true"]).refuses(125, &["in use"]);
    sandbox.ok(&["stop", "-t", "0", "web"]);
    assert_eq!(sandbox.ok(&["port", "web"]), "");
}

#[test]
fn what_was_connected_is_there_after_a_restart_too() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "lab"]);
    sandbox.ok(&["network", "create", "yard"]);
    start(&sandbox, "web", &["--network", "lab"]);
    // Ends when its file is made, and is started again by its policy.
    let script = "rm -f /end; until test -e /end; do sleep 0.05; done; exit 1";
    let words = ["run", "-d", "--name", "app", "--restart=always", "--network", "yard", "busybox", "sh", "-c", script];
    sandbox.ok(&words);
    sandbox.ok(&["network", "connect", "--alias", "other", "lab", "app"]);
    sandbox.ok(&["network", "disconnect", "yard", "app"]);
    let again = |times: &str| {
        sandbox.ok(&["exec", "app", "touch", "/end"]);
        sandbox.wait_until("it was started again", || {
            let words = ["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "app"];
            sandbox.ok(&words) == format!("{times} running")
        });
    };
    again("1");
    assert!(place(&sandbox, "app", "yard").is_null(), "{}", place(&sandbox, "app", "yard"));
    let address = place(&sandbox, "app", "lab")["IPAddress"].as_str().unwrap().to_owned();
    assert!(sandbox.ok(&["exec", "app", "ip", "address"]).contains(&address));
    sandbox.wait_until("names are served", || resolve(&sandbox, "web", "other") == address);
    assert!(!resolve(&sandbox, "app", "web").is_empty());
    // And by hand.
    sandbox.ok(&["restart", "-t", "0", "app"]);
    assert!(place(&sandbox, "app", "lab")["IPAddress"].is_string());
    sandbox.ok(&["network", "connect", "yard", "app"]);
    again("1");
    assert!(
        place(&sandbox, "app", "yard")["IPAddress"].is_string()
            && place(&sandbox, "app", "lab")["IPAddress"].is_string()
    );
}
