//! Where images come from and whom we trust there: our own tables, podman's `registries.conf`, `certs.d`, containerd's
//! `hosts.toml`, and the limits.

use crate::support::{Registry, Sandbox};

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
