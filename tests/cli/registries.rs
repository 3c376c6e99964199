//! Where images come from and whom we trust there: our own tables, podman's `registries.conf`, `certs.d`, containerd's
//! `hosts.toml`, and TLS with an authority and client certificates of the test's own.

use std::path::Path;

use crate::support::{Registry, Sandbox, skip, tools};

/// Writes the configuration anew, with nothing of the sandbox's own.
fn configure(sandbox: &Sandbox, text: &str) {
    sandbox.write("config.toml", text);
}

/// `registries.conf` in the home folder of the sandbox.
fn registries_conf(sandbox: &Sandbox, text: &str) {
    sandbox.write("home/.config/containers/registries.conf", text);
}

#[test]
fn rules_count_for_a_namespace_and_the_longest_prefix_wins() {
    let registry = Registry::fresh();
    let sandbox = Sandbox::new();
    registry.put("busybox", "copies/team/tool:1");
    let address = registry.address();
    configure(
        &sandbox,
        &format!(
            "[registries.\"reg.example\"]\nblocked = true\n[registries.\"reg.example/team\"]\n\
             mirrors = [\"http://{address}/copies/team\"]\n"
        ),
    );
    sandbox.img(&["pull", "reg.example/team/tool:1"]).ok();
    sandbox.img(&["pull", "reg.example/other/tool:1"]).refuses(1, &["blocked by configuration"]);
}

#[test]
fn podmans_registries_conf_counts_where_ours_says_nothing() {
    let registry = Registry::fresh();
    let sandbox = Sandbox::new();
    registry.put("busybox", "hub/library/tool:latest");
    registry.put("busybox", "team/short:latest");
    let address = registry.address();
    configure(&sandbox, "");
    let both = format!(
        "unqualified-search-registries = [\"a.example\", \"{address}\"]\n\
         [[registry]]\nprefix = \"docker.io\"\nlocation = \"{address}/hub\"\ninsecure = true\n\
         [[registry]]\nprefix = \"*.blocked.example\"\nblocked = true\n\
         [aliases]\nshort = \"{address}/team/short\"\n"
    );
    registries_conf(&sandbox, &both);
    sandbox.img(&["pull", "docker.io/tool"]).ok();
    sandbox.img(&["pull", "short"]).ok().says(&[&format!("{address}/team/short")]);
    // What was pulled by the alias is found by it.
    sandbox.img(&["inspect", "short"]).ok();
    sandbox.img(&["pull", "x.blocked.example/tool"]).refuses(1, &["blocked"]);
    let out = sandbox.img(&["pull", "tool"]);
    out.refuses(1, &["\"tool\"", "2 registries"]);
    assert!(out.stderr().contains(&format!("a.example/tool, {address}/tool")), "{}", out.stderr());
    // Ours wins, and may shut the others out.
    configure(&sandbox, "[registries.\"docker.io\"]\nblocked = true\n");
    sandbox.img(&["pull", "docker.io/tool"]).refuses(1, &["blocked"]);
    configure(
        &sandbox,
        "system-registries = false\nunqualified-registry = \"r.example\"\n[registries.\"r.example\"]\nblocked = true\n",
    );
    sandbox.img(&["pull", "tool"]).refuses(1, &["r.example/tool", "blocked"]);
    configure(&sandbox, "");
    registries_conf(&sandbox, "[[registry]\n");
    sandbox.img(&["pull", "docker.io/tool"]).refuses(1, &["registries.conf"]);
}

#[test]
fn containerds_hosts_toml_names_mirrors() {
    let registry = Registry::fresh();
    let sandbox = Sandbox::new();
    registry.put("busybox", "cache/library/tool:1");
    configure(&sandbox, "");
    let folder = "home/.config/containers/certs.d/docker.io/hosts.toml";
    let address = registry.address();
    let text =
        format!("[host.\"http://{address}/v2/cache\"]\ncapabilities = [\"pull\", \"resolve\"]\noverride_path = true\n");
    sandbox.write(folder, text);
    sandbox.img(&["pull", "docker.io/library/tool:1"]).ok();
    sandbox.write(folder, "[host.\"http://x.example\".header]\nauthorization = \"a\"\n");
    sandbox.img(&["pull", "docker.io/library/tool:1"]).refuses(1, &["hosts.toml", "headers"]);
}

/// An authority, and what it signs for the registry and for a client.
fn certificates(dir: &Path) {
    let openssl = |words: &str| {
        let out = std::process::Command::new("openssl").current_dir(dir).args(words.split(' ')).output();
        let out = out.expect("openssl runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -days 3 -subj /CN=test-ca"));
    for name in ["server", "client"] {
        std::fs::write(dir.join("ext"), "subjectAltName=IP:127.0.0.1\n").expect("an extension file");
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3 -extfile ext -out {name}.crt"
        ));
    }
}

#[test]
fn certificates_are_wanted_and_come_from_the_folders_or_the_configuration() {
    if !tools::has("openssl") {
        skip!("openssl is needed");
    }
    let sandbox = Sandbox::new();
    let dir = sandbox.path("pki");
    std::fs::create_dir(&dir).expect("a folder");
    certificates(&dir);
    let registry = Registry::with_tls(&dir, true);
    let address = registry.address();
    let name = registry.name("private/tool:1");
    configure(&sandbox, "");
    let list = registry.name("private/tool");
    // Nobody vouches for it; nothing falls back to plain HTTP or to no check.
    sandbox.img(&["list-tags", &list]).refuses(1, &["certificate", "not trusted"]);
    // An authority, but no certificate of ours.
    let certs = format!("home/.config/containers/certs.d/{address}");
    let place = |from: &str, to: &str| {
        drop(sandbox.write(&format!("{certs}/{to}"), std::fs::read(dir.join(from)).expect("a file")))
    };
    place("ca.crt", "ca.crt");
    sandbox.img(&["list-tags", &list]).refuses(1, &["cannot list"]);
    place("client.crt", "client.cert");
    sandbox.img(&["list-tags", &list]).refuses(1, &["client.key"]);
    place("client.key", "client.key");
    sandbox.img(&["list-tags", &list]).refuses(1, &["not found"]);
    let sibling = Sandbox::new();
    sibling.pull("busybox");
    let archive = sandbox.text("b.tar");
    sibling.img(&["save", "-o", &archive, "busybox"]).ok();
    sandbox.img(&["load", "-i", &archive]).ok();
    sandbox.img(&["push", "busybox", &name]).ok();
    sandbox.img(&["list-tags", &list]).ok().prints_exactly("1\n");
    // The same from our own file.
    std::fs::remove_dir_all(sandbox.path(&certs)).expect("the folder goes");
    let dir = dir.display();
    configure(
        &sandbox,
        &format!(
            "[registries.\"{address}\"]\nca = \"{dir}/ca.crt\"\nclient-cert = \"{dir}/client.crt\"\nclient-key = \"{dir}/client.key\"\n"
        ),
    );
    sandbox.img(&["pull", &name]).ok();
}

#[test]
fn limits_are_raised_and_lowered_by_the_configuration() {
    let registry = Registry::fresh();
    let sandbox = Sandbox::new();
    let name = registry.put("busybox", "tool:1");
    configure(&sandbox, "[transfers]\nmanifest-size = \"100b\"\n");
    sandbox.img(&["pull", &name]).refuses(1, &["larger than the limit of 100 bytes"]);
    configure(&sandbox, "[transfers]\nconfig-size = \"100b\"\n");
    sandbox.img(&["pull", &name]).refuses(1, &["config", "larger than the limit of 100 bytes"]);
    configure(&sandbox, "[transfers]\nmanifest-size = \"8m\"\nconfig-size = \"16m\"\nstreams = 1\nleast-rate = 0\n");
    sandbox.img(&["pull", &name]).ok();
    configure(&sandbox, "[transfers]\nmanifest-sice = \"8m\"\n");
    sandbox.img(&["pull", &name]).refuses(1, &["manifest-sice"]);
    configure(&sandbox, "");
}
