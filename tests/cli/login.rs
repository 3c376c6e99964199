//! Where `login` keeps credentials, and that they are seen nowhere else.

use crate::support::registry::PASSWORD;
use crate::support::{Registry, Relay, Sandbox, images, leaks, skip, tools};

/// A registry with a password and one image, and a sandbox that trusts it; credentials go where they go by default.
fn guarded(more: &str) -> (Registry, Sandbox, String) {
    let registry = Registry::with_password();
    let sandbox = Sandbox::new();
    let name = registry.name("private/busybox:1");
    let from = format!("oci:{}:latest", images::layout("busybox").display());
    let (to, credentials) = (format!("docker://{name}"), format!("alice:{PASSWORD}"));
    tools::run("skopeo", ["copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", &credentials, &from, &to]).ok();
    sandbox.write("config.toml", format!("{more}[registries.\"{}\"]\ninsecure = true\n", registry.address()));
    (registry, sandbox, name)
}

fn keys(registry: &Registry) -> Vec<String> {
    let all = std::fs::read_to_string("/proc/keys").unwrap_or_default();
    // These registries speak plain HTTP, to which a key is bound.
    all.lines().filter(|line| line.contains(&format!("img:http://{}", registry.address()))).map(str::to_owned).collect()
}

#[test]
fn the_keyring_of_the_kernel_keeps_them_and_no_file() {
    let (registry, sandbox, name) = guarded("");
    let login = ["login", "--username", "alice", "--password-stdin", registry.address()];
    let out = sandbox.img_with_input(&login, PASSWORD);
    out.ok();
    if out.stderr().contains("the kernel's keyring is not used") {
        assert!(out.stderr().contains("unencrypted"), "{out}");
        skip!("the kernel has no keyring for us");
    }
    out.says(&["keyring"]);
    assert_eq!(keys(&registry).len(), 1, "{:?}", keys(&registry));
    let kept = std::fs::read_to_string(sandbox.path("home/.docker/config.json")).unwrap_or_default();
    assert!(!kept.contains(registry.address()), "{kept}");
    // Another process has them, and one of a session of its own.
    sandbox.img(&["pull", &name]).ok();
    sandbox.img(&["rmi", &name]).ok();
    let mut apart = std::process::Command::new("setsid");
    let pull = sandbox.command(&["pull", &name]);
    apart.arg("--wait").arg(pull.get_program()).args(pull.get_args()).env_clear();
    apart.envs(pull.get_envs().filter_map(|(key, value)| Some((key, value?)))).current_dir(sandbox.path(""));
    crate::support::Out::of(apart, None, std::time::Duration::from_secs(60)).ok();
    // A second login replaces the first, one into a file leaves the keyring alone.
    sandbox.img_with_input(&login, PASSWORD).ok();
    assert_eq!(keys(&registry).len(), 1);
    let file = sandbox.text("auth.json");
    let named = ["login", "--authfile", &file, "--username", "alice", "--password-stdin", registry.address()];
    sandbox.img_with_input(&named, PASSWORD).ok().says(&["unencrypted"]);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600, "credentials are the owner's alone");
    sandbox.img(&["logout", "--authfile", &file, registry.address()]).ok();
    assert!(!std::fs::read_to_string(&file).unwrap().contains(registry.address()));
    assert_eq!(keys(&registry).len(), 1);
    sandbox.img(&["logout", registry.address()]).ok();
    // The kernel clears away a moment later.
    sandbox.wait_until("the key to go", || keys(&registry).is_empty());
    sandbox.img(&["rmi", &name]).ok();
    sandbox.img(&["pull", &name]).refuses(1, &[&name]);
}

#[test]
fn a_file_is_kept_where_the_configuration_says_so() {
    let (registry, sandbox, name) = guarded("credential-store = \"file\"\n\n");
    let login = ["login", "--username", "alice", "--password-stdin", registry.address()];
    sandbox.img_with_input(&login, PASSWORD).ok().says(&["unencrypted"]);
    assert_eq!(keys(&registry), Vec::<String>::new());
    sandbox.img(&["pull", &name]).ok();
    sandbox.img(&["logout", registry.address()]).ok();
    sandbox.img(&["rmi", &name]).ok();
    sandbox.img(&["pull", &name]).refuses(1, &[&name]);
    sandbox.write("paper.toml", "credential-store = \"paper\"\n");
    sandbox.img(&["--config", &sandbox.text("paper.toml"), "images"]).refuses(1, &["paper"]);
}

#[test]
fn no_process_line_log_or_file_has_the_password() {
    let (registry, sandbox, _) = guarded("credential-store = \"file\"\n\n");
    // The registry's answers stop in the middle of the layer, so that there is somebody to look at.
    let relay = Relay::to(registry.address());
    let name = format!("{}/private/busybox:1", relay.address());
    let trust = format!("credential-store = \"file\"\n\n[registries.\"{}\"]\ninsecure = true\n", relay.address());
    sandbox.write("config.toml", trust);
    let login = ["login", "--username", "alice", "--password-stdin", relay.address()];
    let mut said = sandbox.img_with_input(&login, PASSWORD).ok().stderr().to_owned();
    relay.hold_after(200_000);
    let mut pull = sandbox.spawn(&["pull", &name]);
    sandbox.wait_until("the layer to come", || relay.is_awaited());
    // By its encoded form too, which is what goes over the line. `secret` alone is in many a name of a test.
    let encoded = "YWxpY2U6c2VjcmV0";
    // Other tests have the same user and password: the processes of this one.
    let ours = leaks::processes(&sandbox.text("config.toml"));
    assert!(!ours.is_empty());
    for (pid, line) in ours {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let text = format!("{line}\n{}", String::from_utf8_lossy(&environment));
        for mark in [encoded, "alice", PASSWORD] {
            assert!(!text.contains(mark), "{text}");
        }
    }
    relay.let_go();
    assert_eq!(pull.wait(), 0);
    said.push_str(&pull.said());
    said.push_str(&sandbox.ok(&["events", "--since", "1h", "--until", "0s"]));
    said.push_str(&sandbox.ok(&["inspect", &name]));
    for mark in [encoded, "alice:secret"] {
        assert!(!said.contains(mark), "{said}");
        let found = std::process::Command::new("grep")
            .args(["-rlaF", mark])
            .arg(sandbox.root())
            .arg(sandbox.path("run"))
            .output();
        assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "", "{mark} is in the store");
    }
}
