//! `img image tree`, `img image diff` and `img history --shared`: images beside one another.

use crate::support::{Registry, Sandbox, tools};

#[test]
fn the_difference_of_two_images_by_path_and_size() {
    let sandbox = Sandbox::new();
    sandbox.write("context/file", "one\n");
    let first = "FROM busybox\nCOPY file /a/file\nRUN echo same > /a/same; echo gone > /a/gone; echo 1 > /a/mode; echo x > /a/swap; mkdir /a/kind; ln -s file /a/link";
    let second = "FROM busybox\nCOPY file /a/file\nRUN echo same > /a/same; echo two2 > /a/file; echo 1 > /a/mode; chmod 600 /a/mode; echo y > /a/swap; ln -s x /a/kind; ln -s other /a/link; head -c 1000 /dev/zero > /a/new";
    sandbox.build("context", "one", first).ok();
    sandbox.build("context", "two", second).ok();
    let out = sandbox.img(&["image", "diff", "one", "two"]);
    let expected = [
        "C /a/file  (4B → 5B; content)",
        "D /a/gone  (5B)",
        "C /a/kind  (type)",
        "C /a/link  (content)",
        "C /a/mode  (mode)",
        "A /a/new  (1kB)",
        "C /a/swap  (content)",
    ];
    assert_eq!(out.ok().stdout().lines().map(str::to_owned).collect::<Vec<_>>(), expected.map(str::to_owned));
    let rows = sandbox.img(&["image", "diff", "--format", "json", "one", "two"]).ok().json();
    assert_eq!(rows[0]["SizeBefore"], 4);
    assert_eq!((&rows[0]["Size"], &rows[0]["Kind"], &rows[0]["What"][0]), (&5.into(), &"C".into(), &"content".into()));
    assert_eq!(sandbox.ok(&["image", "diff", "one", "one"]), "");
    assert_eq!(sandbox.ok(&["image", "diff", "--format", "json", "one", "one"]), "[]");
    // The other way round added and deleted change places.
    sandbox.img(&["image", "diff", "two", "one"]).ok().prints(&["A /a/gone", "D /a/new"]);
    // One image: its uppermost layer.
    let top = sandbox.img(&["image", "diff", "two"]);
    top.ok().prints(&["A /a/new", "C /a/file"]);
    assert!(!top.stdout().contains("/bin/"), "{top}");
    sandbox.img(&["image", "diff", "one", "nothing"]).refuses(1, &["no such image: nothing"]);
}

#[test]
fn nothing_is_printed_of_an_image_that_is_damaged() {
    let sandbox = Sandbox::new();
    for (name, letter) in [("one", "1"), ("two", "2")] {
        sandbox.write(&format!("{name}/a"), letter);
        sandbox.write(&format!("{name}/b"), letter.repeat(100_000));
        sandbox.build(name, name, "FROM scratch\nCOPY . /\n").ok();
    }
    let layer = sandbox.img(&["image", "inspect", "two"]).json()[0]["RootFS"]["Layers"][0]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    let tar = sandbox.root().join("layers/sha256").join(layer).join("tar");
    std::fs::File::options().write(true).open(&tar).unwrap().set_len(30_000).unwrap();
    let out = sandbox.img(&["image", "diff", "--format", "json", "one", "two"]);
    out.refuses(1, &["the store is damaged: the tar of layer", "has 30000 bytes"]);
    assert_eq!(out.stdout(), "");
}

#[test]
fn the_difference_is_that_of_the_files_on_disk() {
    let sandbox = Sandbox::new();
    sandbox.pull("odd");
    sandbox.pull("busybox");
    let listed = sandbox.img(&["image", "diff", "busybox", "odd", "--format", "json"]).ok().json();
    let (left, right) = (sandbox.flatten("busybox", "left"), sandbox.flatten("odd", "right"));
    let names = |kind: &str| {
        let rows = listed.as_array().unwrap().iter().filter(|row| row["Kind"] == kind);
        rows.map(|row| row["Path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let present =
        |root: &std::path::Path, path: &str| root.join(path.trim_start_matches('/')).symlink_metadata().is_ok();
    assert!(!names("A").is_empty());
    // A name with a control character, or that is no UTF-8, is shown escaped.
    for path in names("A").into_iter().filter(|path| !path.contains('\\')) {
        assert!(present(&right, &path) && !present(&left, &path), "{path}");
    }
    for path in names("D") {
        assert!(!present(&right, &path) && present(&left, &path), "{path}");
    }
    let count = |root: &std::path::Path| {
        tools::run("find", [root.as_os_str(), "-printf".as_ref(), "x".as_ref()]).stdout().len()
    };
    assert_eq!(count(&left) + names("A").len(), count(&right) + names("D").len());
}

#[test]
fn layers_that_two_histories_share() {
    let registry = Registry::fresh();
    let mut sandbox = Sandbox::new();
    sandbox.trust(&registry);
    sandbox.write("context/file", "data\n");
    sandbox.build("context", "one", "FROM busybox\nRUN head -c 1000000 /dev/zero > /million").ok();
    sandbox.build("context", "two", "FROM busybox\nCOPY file /file").ok();
    let shared = sandbox.img(&["history", "--shared", "--format", "json", "one", "two"]).ok().json();
    let layers = |name: &str| sandbox.inspect(name)["RootFS"]["Layers"].clone();
    assert_eq!(shared["shared_layers"].as_array().unwrap().len(), 1);
    assert_eq!(shared["shared_layers"][0]["layer"], layers("busybox")[0]);
    assert_eq!(shared["shared_bytes"], sandbox.inspect("busybox")["Size"]);
    assert_eq!(shared["only_first"][0]["size"], 1_000_000);
    let table = sandbox.img(&["history", "--shared", "one", "two"]);
    table.ok().prints(&["LAYER", "both", "1MB", "COPY file /file"]).says(&["1 layer is in both", "kept once"]);
    assert_eq!(sandbox.ok(&["history", "--shared", "-q", "one", "two"]), layers("busybox")[0].as_str().unwrap());
    sandbox.img(&["history", "one", "two"]).refuses(125, &["--shared"]);
    sandbox.img(&["history", "--shared", "one"]).refuses(125, &["--shared"]);

    // The tree has the base once, and both on top.
    let tree = sandbox.img(&["image", "tree"]);
    tree.ok().prints(&["shared by 3 images", "[busybox:latest]", "├── ", "└── ", "[one:latest]", "[two:latest]"]);
    let nodes = sandbox.img(&["image", "tree", "--format", "json"]).ok().json();
    assert_eq!(nodes.as_array().unwrap().len(), 1);
    assert_eq!(nodes[0]["Children"].as_array().unwrap().len(), 2);
    let own = sandbox.img(&["image", "tree", "one"]);
    assert!(own.ok().stdout().contains("one:latest") && !own.stdout().contains("two:latest"), "{own}");
    let base = sandbox.img(&["image", "tree", "busybox"]);
    assert_eq!(base.ok().stdout().lines().count(), 1, "{base}");
    sandbox.img(&["image", "tree", "--whatrequires", "busybox"]).ok().prints(&["one:latest", "two:latest"]);
    sandbox.img(&["image", "tree", "nothing"]).refuses(1, &["no such image"]);
}
