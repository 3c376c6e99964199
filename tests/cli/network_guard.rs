//! `-o antispoof=true`: who claims a neighbour's address, or an address that nobody gave it, gets no answer.

use crate::support::Sandbox;

const ASK: &str = "for n in 1 2 3; do nc -w 1 $0 80 </dev/null && exit; sleep 0.2; done";
const CLAIM: &str = "ip addr flush dev eth0; ip addr add $1/24 dev eth0; nc -w 2 $0 80 </dev/null";
const CLAIM6: &str = "ip -6 addr flush dev eth0; ip -6 addr add $1/64 dev eth0; \
                      for n in 1 2 3 4; do nc -w 1 $0 80 </dev/null && exit; sleep 0.5; done";
const CLAIM_MAC: &str =
    "ip link set eth0 down; ip link set eth0 address $1; ip link set eth0 up; nc -w 2 $0 80 </dev/null";

fn field(sandbox: &Sandbox, container: &str, network: &str, key: &str) -> String {
    sandbox.inspect(container)["NetworkSettings"]["Networks"][network][key].as_str().unwrap().to_owned()
}

/// Two servers on a network, and what a third container gets from the first by a script.
fn world<'a>(sandbox: &'a Sandbox, network: &'a str) -> impl Fn(&str, &[&str]) -> String + 'a {
    for name in ["web", "victim"] {
        let name = format!("{network}-{name}");
        let serve = "while :; do echo hello | nc -l -p 80 >/dev/null; done";
        sandbox.ok(&["run", "-d", "--name", &name, "--network", network, "busybox", "sh", "-c", serve]);
    }
    move |script, words| {
        let run = [
            "run",
            "--rm",
            "--cap-add",
            "NET_ADMIN",
            "--cap-add",
            "NET_RAW",
            "--network",
            network,
            "busybox",
            "sh",
            "-c",
            script,
        ];
        sandbox.img(&[&run[..], words].concat()).stdout().trim().to_owned()
    }
}

#[test]
fn who_claims_what_is_not_its_own_gets_no_answer() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["network", "create", "--ipv6", "-o", "antispoof=true", "-o", "isolate=true", "held"]);
    sandbox.ok(&["network", "create", "--ipv6", "free"]);
    for network in ["held", "free"] {
        let ask = world(&sandbox, network);
        let (web, victim) = (format!("{network}-web"), format!("{network}-victim"));
        let (address, six) =
            (field(&sandbox, &web, network, "IPAddress"), field(&sandbox, &web, network, "GlobalIPv6Address"));
        assert_eq!(ask(ASK, &[&address]), "hello", "{network}");
        assert_eq!(ask(ASK, &[&six]), "hello", "{network}");
        // Nobody has these, so that on a free network an answer finds its way.
        let unused = format!("{}.200", address.rsplit_once('.').unwrap().0);
        let answer = if network == "held" { "" } else { "hello" };
        assert_eq!(ask(CLAIM, &[&address, &unused]), answer, "{network}");
        assert_eq!(ask(CLAIM_MAC, &[&address, "02:00:00:00:02:00"]), answer, "{network}");
        let prefix = six.rsplit_once("::").unwrap().0;
        assert_eq!(ask(CLAIM6, &[&six, &format!("{prefix}::c8")]), answer, "{network}");
        if network == "held" {
            let theirs = field(&sandbox, &victim, network, "IPAddress");
            assert_eq!(ask(CLAIM, &[&address, &theirs]), "");
            assert_eq!(ask(CLAIM_MAC, &[&address, &field(&sandbox, &victim, network, "MacAddress")]), "");
            assert_eq!(ask(ASK, &[&theirs]), "hello", "the neighbour itself is still reached");
        }
    }
    let listed = || std::process::Command::new("nft").args(["list", "table", "bridge", "img"]).output();
    let port = field(&sandbox, "held-web", "held", "HostInterface");
    sandbox.ok(&["network", "disconnect", "held", "held-victim"]);
    sandbox.ok(&["network", "connect", "held", "held-victim"]);
    assert_eq!(field(&sandbox, "held-victim", "held", "Interface"), "eth0");
    if let Ok(before) = listed() {
        assert!(String::from_utf8_lossy(&before.stdout).contains(&port));
        sandbox.ok(&["rm", "-f", "held-web"]);
        assert!(!String::from_utf8_lossy(&listed().unwrap().stdout).contains(&port));
    }
    sandbox.img(&["network", "create", "-o", "antispoof=maybe", "x"]).refuses(125, &["antispoof", "maybe"]);
    sandbox.img(&["network", "create", "-o", "isolate=false", "x"]).refuses(125, &["isolate", "apart", "hint"]);
}
