//! What survives a journey: layers in every compression, the manifest's digest through pull and push, and a download
//! that was cut or spoilt on the way.

use crate::support::{Registry, Sandbox, images, tools, tree};

#[test]
fn plain_gzip_and_zstd_layers_give_the_same_image() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    let expected = sandbox.inspect("odd")["RootFS"]["Layers"].clone();
    let id = sandbox.inspect("odd")["Id"].clone();
    let archive = sandbox.text("plain.tar");
    sandbox.ok(&["save", "--uncompressed", "-o", &archive, "odd"]);
    // The layers of our archive are not compressed; skopeo does that on the way unless it is told to keep digests.
    let plain = format!("oci-archive:{archive}");
    let ways: [(&str, &[&str]); 3] = [
        ("gzip", &["--dest-compress-format", "gzip"]),
        ("zstd", &["--dest-compress-format", "zstd"]),
        ("", &["--preserve-digests"]),
    ];
    for (compression, options) in ways {
        // One registry each: skopeo takes a layer that it finds there in another compression.
        let registry = Registry::fresh();
        let name = registry.name(&format!("odd-{}:1", if compression.is_empty() { "plain" } else { compression }));
        let to = format!("docker://{name}");
        let mut words = vec!["copy", "--quiet", "--dest-tls-verify=false"];
        words.extend(options);
        words.extend([plain.as_str(), to.as_str()]);
        tools::run("skopeo", words);
        let raw = tools::run("skopeo", ["inspect", "--raw", "--tls-verify=false", &to]).json();
        let kind = raw["layers"][0]["mediaType"].as_str().unwrap().to_owned();
        assert!(kind.ends_with(if compression.is_empty() { ".tar" } else { compression }), "{kind}");
        let mut other = sandbox.sibling();
        other.trust(&registry);
        other.img(&["pull", &name]).ok();
        let facts = other.inspect(&name);
        assert_eq!((&facts["RootFS"]["Layers"], &facts["Id"]), (&expected, &id), "{kind}");
        // And on from there: the manifest is the one that was pulled.
        let again = registry.name("again:1");
        let digest = tools::run("skopeo", ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &to]).word();
        assert_eq!(other.ok(&["push", "-q", &name, &again]), digest, "{kind}");
    }
}

#[test]
fn a_pulled_image_keeps_its_digest_at_another_registry() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    let reference = format!("docker://{}", Registry::bases().name("library/odd"));
    let digest = tools::run("skopeo", ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &reference]).word();
    sandbox.pull("odd");
    // At the registry that has the layers already nothing is sent, and the digest stays.
    let there = registry.put("odd", "mirror/odd:1");
    let name = registry.name("mirror/odd:2");
    let before = registry.blobs();
    assert_eq!(sandbox.ok(&["push", "-q", "odd", &name]), digest);
    assert_eq!(registry.blobs().len(), before.len(), "only a link was made");
    let copied = tools::run(
        "skopeo",
        ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{there}")],
    );
    assert_eq!(copied.word(), digest);
}

#[test]
fn a_spoilt_beginning_is_fetched_anew() {
    let sandbox = Sandbox::new();
    let config =
        tools::run("skopeo", ["inspect", "--raw", &format!("oci:{}:latest", images::layout("debian").display())]);
    let layer = config.json()["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    sandbox.ok(&["images"]);
    let blob = std::fs::read(images::layout("debian").join("blobs/sha256").join(&layer)).unwrap();
    let kept = sandbox.root().join("ingest").join(&layer);

    // What a killed pull leaves: the pull goes on after it.
    std::fs::write(&kept, &blob[..2_000_000]).unwrap();
    sandbox.img(&["pull", "debian"]).ok().says(&["continuing after 2MB"]);
    sandbox.ok(&["rmi", "debian"]);

    // `copy` from a registry is no other.
    std::fs::write(&kept, &blob[..2_000_000]).unwrap();
    let from = format!("docker://{}/library/debian:latest", Registry::bases().address());
    sandbox.img(&["copy", &from, "debian"]).ok().says(&["continuing after 2MB"]);
    assert!(!kept.exists(), "nothing is left of the download");
    sandbox.ok(&["rmi", "debian"]);

    // The same with one bit wrong: found out, thrown away, and fetched anew in the same pull.
    let mut wrong = blob[..2_000_000].to_vec();
    wrong[1_000_000] ^= 4;
    std::fs::write(&kept, wrong).unwrap();
    sandbox.img(&["pull", "debian"]).ok().says(&["anew"]);
    assert!(!kept.exists(), "nothing is left of the download");
    sandbox.img(&["system", "check"]).ok();
    sandbox.img(&["run", "--rm", "--network", "none", "debian", "true"]).ok();
}

#[test]
fn both_storage_drivers_show_build_and_export_the_same() {
    let erofs = Sandbox::new();
    if erofs.ok(&["info", "--format", "{{.Driver}}"]) != "erofs" {
        crate::support::skip!("this kernel mounts no layers, so there is one driver only");
    }
    let unpacked = erofs.sibling();
    let config = std::fs::read_to_string(unpacked.path("config.toml")).unwrap();
    unpacked.write("config.toml", format!("storage-driver = \"dir\"\n\n{config}"));
    assert_eq!(unpacked.ok(&["info", "--format", "{{.Driver}}"]), "dir");
    let script = "cd /odd && rm plain && rm -r dir && mkdir dir && echo x > dir/x && chown 9:9 xattrs && ln setuid hard3 && touch -d @1700000000 dir/x";
    let list = "cd /odd && find . -xdev -print0 | sort -z | xargs -0 stat -c '%n %f %u:%g %h %s'";
    let mut trees = Vec::new();
    for sandbox in [&erofs, &unpacked] {
        sandbox.pull("odd");
        sandbox.build("context", "made", &format!("FROM odd\nUSER 0\nRUN {script}\nCOPY Buildfile /b\n")).ok();
        let run = ["run", "--rm", "--network", "none", "made", "sh", "-c", list];
        let seen = sandbox.img(&run).ok().stdout();
        assert!(seen.contains("./dir/x") && !seen.contains("./plain"), "{seen}");
        trees.push((seen, sandbox.flatten("made", "tree"), sandbox.flatten("odd", "base")));
        sandbox.ok(&["system", "check"]);
    }
    let [(left, made, base), (right, other_made, other_base)] = &trees[..] else { panic!("two drivers") };
    let directories = |text: &str| -> Vec<String> {
        // How many names a directory has, and its size, are the file system's own business.
        text.lines().filter(|line| !line.split(' ').nth(1).unwrap_or("").starts_with('4')).map(str::to_owned).collect()
    };
    assert_eq!(directories(left), directories(right));
    // `b` is the only file whose time is the build's.
    tree::assert_same(made, other_made, &["b"]);
    tree::assert_same(base, other_base, &[]);
}
