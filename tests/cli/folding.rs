//! Metadata folding: a RUN that only changes owners, modes and times costs no second copy, the tree is the same with and
//! without, and the history says what was done.

use std::path::PathBuf;

use crate::support::{Out, Sandbox, tree};

const TEXT: &str = "FROM busybox\nWORKDIR /app\nCOPY data /app/data\nRUN chown -R 33:44 /app/data && chmod 0600 /app/data/big && touch -d '2001-02-03 04:05:06' /app/data/sub/small\nCMD [\"sh\"]\n";

fn context(sandbox: &Sandbox) {
    sandbox.write("context/data/big", "0123456789".repeat(300_000));
    sandbox.write("context/data/sub/small", "small\n");
    sandbox.write("context/data/sub/other", "other\n");
    std::os::unix::fs::symlink("big", sandbox.path("context/data/link")).unwrap();
}

fn build(sandbox: &Sandbox, flags: &[&str], tag: &str) -> Out {
    let context = sandbox.text("context");
    sandbox.img(&[&["build", "--tag", tag], flags, &[&context]].concat())
}

/// Builds with and without folding and compares the trees; gives both sizes.
fn both(sandbox: &Sandbox, text: &str) -> (u64, u64) {
    sandbox.write("context/Buildfile", text);
    build(sandbox, &["--no-fold"], "plain").ok();
    build(sandbox, &[], "folded").ok();
    let flat = |name: &str| -> PathBuf { sandbox.flatten(name, name) };
    tree::assert_same(&flat("plain"), &flat("folded"), &[]);
    for name in ["plain", "folded"] {
        std::fs::remove_dir_all(sandbox.path(name)).unwrap();
    }
    let size = |name: &str| sandbox.inspect(name)["Size"].as_u64().unwrap();
    (size("plain"), size("folded"))
}

fn layers(sandbox: &Sandbox, name: &str) -> usize {
    sandbox.inspect(name)["RootFS"]["Layers"].as_array().unwrap().len()
}

#[test]
fn a_change_of_owners_costs_no_second_copy() {
    let sandbox = Sandbox::new();
    context(&sandbox);
    let (plain, folded) = both(&sandbox, TEXT);
    assert_eq!(plain - folded, 3_000_000 + 12, "the RUN holds no bytes any more");
    assert_eq!(layers(&sandbox, "plain") - layers(&sandbox, "folded"), 1);
    let history = sandbox.img(&["history", "--no-trunc", "--format", "json", "folded"]).ok().json();
    let run = &history.as_array().unwrap()[1];
    assert_eq!((&run["empty_layer"], &run["size"]), (&true.into(), &0.into()), "{run}");
    assert_eq!(run["comment"], "folded into step stage-0 2/3, saved 3.0MB");
    // The step itself is cached as it ran, folded or not, and the same image comes of it again.
    let again = build(&sandbox, &[], "again");
    assert_eq!(again.ok().stderr().matches(" CACHED").count(), 3, "{again}");
    assert_eq!(sandbox.inspect("again")["Id"], sandbox.inspect("folded")["Id"]);
    let blame = sandbox.ok(&["blame", "folded", "/app/data/big"]);
    assert!(
        blame.contains("written by Buildfile:3") && blame.contains("attributes also by line 4 [stage-0 3/3] RUN chown"),
        "{blame}"
    );
    sandbox.assert_usable();
}

#[test]
fn trees_are_equal_whatever_was_done() {
    let sandbox = Sandbox::new();
    context(&sandbox);
    let cases = [
        // Twice, and across stages of one chain.
        "FROM busybox AS one\nCOPY data /d\nRUN chown -R 5 /d\nFROM one\nRUN chmod -R go-rwx /d\nRUN touch -d @5 /d/big\n",
        // Partly: something new beside it, something changed, something removed.
        "FROM busybox\nCOPY data /d\nRUN chown -R 5 /d && echo new > /d/sub/new && echo more >> /d/sub/small && rm /d/sub/other\n",
        // Hard links: the kernel gives the changed name an inode of its own.
        "FROM busybox\nCOPY data /d\nRUN ln /d/big /d/same\nRUN chmod 0711 /d/big\nRUN chown 7 /d/same\n",
        // A directory replaced and one emptied.
        "FROM busybox\nCOPY data /d\nRUN rm -r /d/sub && mkdir /d/sub && chmod 0700 /d/sub\nRUN chown -R 9:9 /d\n",
        // Directories of the base image, with and without an entry in a layer of ours.
        "FROM busybox\nCOPY data /srv\nRUN chown -R 3:3 /srv /var && chmod 0750 /var\n",
        "FROM busybox\nCOPY data/sub/small /etc/small\nRUN chown 3:3 /etc /etc/small && chmod 0750 /etc\n",
        // Set-id bits and attributes go with the file; chown takes the bits away again.
        "FROM busybox\nCOPY data /d\nRUN chmod 4755 /d/big\nRUN chown 3 /d/big; chmod u+s /d/sub/small\n",
        // A file removed and made again the same is another file in between.
        "FROM busybox\nCOPY data /d\nRUN rm /d/big\nCOPY data/big /d/big\nRUN chmod 0444 /d/big\n",
    ];
    for text in cases {
        let (plain, folded) = both(&sandbox, text);
        assert!(folded <= plain, "{text}");
    }
}

#[test]
fn layers_of_the_base_are_never_touched() {
    let sandbox = Sandbox::new();
    context(&sandbox);
    sandbox.write("context/Buildfile", "FROM busybox\nCOPY data /d\n");
    build(&sandbox, &[], "base").ok();
    let base = sandbox.inspect("base")["RootFS"]["Layers"].clone();
    let (plain, folded) = both(&sandbox, "FROM base\nRUN chown -R 5 /d\n");
    assert_eq!(plain, folded, "the bytes are the base's: nothing to fold into");
    let layers = sandbox.inspect("folded")["RootFS"]["Layers"].clone();
    assert_eq!(layers.as_array().unwrap()[..base.as_array().unwrap().len()], base.as_array().unwrap()[..]);
}

#[test]
fn the_exported_image_is_no_larger_than_its_files() {
    let sandbox = Sandbox::new();
    sandbox.write("context/big", vec![b'x'; 40_000_000]);
    sandbox.write(
        "context/Buildfile",
        "FROM scratch\nCOPY big /d/big\nFROM busybox\nCOPY big /d/big\nRUN chown -R 33 /d\n",
    );
    build(&sandbox, &[], "app").ok();
    let busybox = {
        sandbox.pull("busybox");
        sandbox.inspect("busybox")["Size"].as_u64().unwrap()
    };
    let archive = sandbox.text("app.tar");
    sandbox.ok(&["save", "-o", &archive, "app"]);
    let size = std::fs::metadata(&archive).unwrap().len();
    assert!(size < (40_000_000 + busybox) * 102 / 100 + 200_000, "{size}");
}

#[test]
fn a_large_layer_is_not_written_again_for_a_small_gain() {
    let sandbox = Sandbox::new();
    for (name, size) in [("large", 20 << 20), ("middle", 4 << 20), ("small", 1 << 20)] {
        sandbox.write(&format!("context/data/{name}"), vec![b'x'; size]);
    }
    let folds = |steps: &str| {
        let (plain, folded) = both(&sandbox, &format!("FROM busybox\nCOPY data /d\n{steps}"));
        let ids = |name: &str| sandbox.inspect(name)["RootFS"]["Layers"].clone();
        assert_eq!(ids("plain") == ids("folded"), plain == folded, "{steps}");
        plain - folded
    };
    assert_eq!(folds("RUN chmod 0600 /d/small\n"), 0, "1 of 25 MiB");
    assert_eq!(folds("RUN chmod 0600 /d/middle\n"), 4 << 20);
    // What is written again anyway takes small ones too.
    assert_eq!(folds("RUN chmod 0600 /d/middle\nRUN chmod 0644 /d/small\n"), 5 << 20);
    assert_eq!(folds("RUN chmod 0600 /d/small && mkdir /e && chmod 0700 /d\n"), 0);
}
