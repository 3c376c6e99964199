//! The build cache of other machines: a machine with an empty store finds every step in a cache that another one wrote, and
//! a cache that is damaged, hostile or not there costs time only.

use crate::support::{Out, Registry, Sandbox, tools};

const BUILDFILE: &str = "FROM busybox AS tool\nCOPY a /a\nRUN cat /proc/sys/kernel/random/uuid > /tool\n\
    FROM busybox\nCOPY --from=tool /tool /tool\nRUN cat /proc/sys/kernel/random/uuid > /stamp\nWORKDIR /w\nCMD [\"true\"]\n";

fn prepared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("context/a", "a\n");
    sandbox.write("context/Buildfile", BUILDFILE);
    sandbox
}

/// Builds `from`'s context on another machine.
fn build(on: &Sandbox, from: &Sandbox, flags: &[&str]) -> Out {
    let context = from.text("context");
    let out = on.img(&[&["build"][..], flags, &[context.as_str()]].concat());
    out.ok();
    out
}

fn cached(out: &Out) -> usize {
    out.stderr().matches("CACHED").count()
}

fn ran(out: &Out) -> usize {
    out.stderr().matches("done in").count()
}

#[test]
fn a_directory_brings_every_step_to_an_empty_store() {
    let one = prepared();
    let dir = one.text("cache");
    let first = build(&one, &one, &["--cache-to", &format!("type=local,dest={dir},mode=max")]);
    assert_eq!((cached(&first), ran(&first)), (0, 5), "{first}");
    tools::run("skopeo", ["inspect", "--raw", &format!("oci:{dir}:latest")]).prints(&["vnd.img.buildcache.v1"]);
    // The same steps again, from nothing: same layers, same image.
    let two = one.sibling();
    let second = build(&two, &one, &["--cache-from", &format!("type=local,src={dir}"), "-t", "app"]);
    assert_eq!((cached(&second), ran(&second), second.word()), (5, 0, first.word()), "{second}");
    two.img(&["run", "--rm", "--network", "none", "app", "cat", "/tool", "/stamp"]).ok();
    two.img(&["system", "check"]).ok();
    // What came from there is known from then on.
    let third = build(&two, &one, &[]);
    assert_eq!((cached(&third), third.word()), (5, first.word()));

    // A second export of the cached build, under another name, is as good.
    build(&two, &one, &["--cache-to", &format!("type=local,dest={dir},mode=max,tag=again,compression=gzip")]);
    let from = format!("type=local,src={dir},tag=again");
    assert_eq!(build(&one.sibling(), &one, &["--cache-from", &from]).word(), first.word());
    assert_eq!(build(&one.sibling(), &one, &["--cache-from", &format!("type=local,src={dir}")]).word(), first.word());
}

#[test]
fn reset_leaves_one_cache_and_nothing_else() {
    let one = prepared();
    let dir = one.text("cache");
    let blobs = || std::fs::read_dir(one.path("cache/blobs/sha256")).unwrap().count();
    build(&one, &one, &["--cache-to", &format!("type=local,dest={dir},mode=max,tag=old,compression=gzip")]);
    build(&one, &one, &["--cache-to", &format!("type=local,dest={dir},mode=max")]);
    let both = blobs();
    let words = format!("type=local,dest={dir},mode=max,reset=true,image-manifest=true,oci-mediatypes=true");
    build(&one, &one, &["--cache-to", &words]);
    assert!(blobs() < both, "{} of {both}", blobs());
    let index = std::fs::read_to_string(one.path("cache/index.json")).unwrap();
    assert!(index.contains("latest") && !index.contains("old"), "{index}");
    // What it names is all there, and nothing else is.
    let layout = format!("oci:{dir}:latest");
    tools::run("skopeo", ["copy", "-q", &layout, &format!("dir:{}", one.text("copy"))]).ok();
    let again = build(&one.sibling(), &one, &["--cache-from", &format!("type=local,src={dir}")]);
    assert_eq!(ran(&again), 0, "{again}");
}

#[test]
fn mode_min_has_the_steps_of_the_image_alone() {
    let one = prepared();
    let dir = one.text("cache");
    let first = build(&one, &one, &["--cache-to", &format!("type=local,dest={dir}")]);
    let second = build(&one.sibling(), &one, &["--cache-from", &format!("type=local,src={dir}")]);
    // The other stage runs again, and its file is another one: what copies it runs too.
    assert!(ran(&second) >= 2 && second.word() != first.word(), "{second}");
    // A stage that gives the same files again costs no more than itself.
    one.write("context/Buildfile", BUILDFILE.replace("cat /proc/sys/kernel/random/uuid > /tool", "echo same > /tool"));
    build(&one, &one, &["--cache-to", &format!("type=local,dest={dir}")]);
    let third = build(&one.sibling(), &one, &["--cache-from", &format!("type=local,src={dir}")]);
    assert_eq!((cached(&third), ran(&third)), (3, 2), "{third}");
}

#[test]
fn a_registry_brings_every_step_as_an_artifact_or_in_the_image() {
    let registry = Registry::fresh();
    let mut one = prepared();
    one.trust(&registry);
    let mut two = one.sibling();
    two.trust(&registry);
    let cache = registry.name("team/cache:main");
    let first = build(&one, &one, &["--cache-to", &format!("type=registry,ref={cache},mode=max")]);
    let second = build(&two, &one, &["--cache-from", &cache]);
    assert_eq!((cached(&second), ran(&second), second.word()), (5, 0, first.word()), "{second}");

    let image = registry.name("team/app:1");
    one.write(
        "context/Buildfile",
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /stamp\nRUN echo two > /two\n",
    );
    let pushed = build(&one, &one, &["--cache-to", "type=inline", "-t", &image, "--push"]);
    assert_eq!(build(&one, &one, &["--cache-to", "type=inline", "-t", &image, "--push"]).word(), pushed.word());
    let mut three = one.sibling();
    three.trust(&registry);
    let found = build(&three, &one, &["--cache-from", &format!("type=registry,ref={image}"), "-t", "app"]);
    assert_eq!((cached(&found), ran(&found)), (2, 0), "{found}");
    let stamp = |sandbox: &Sandbox, image: &str| {
        sandbox.img(&["run", "--rm", "--network", "none", image, "cat", "/stamp"]).ok().stdout()
    };
    assert_eq!(stamp(&three, "app"), stamp(&one, &image));
}

#[test]
fn a_cache_that_is_damaged_or_not_there_costs_time_only() {
    let one = prepared();
    let dir = one.text("cache");
    build(&one, &one, &["--cache-to", &format!("type=local,dest={dir},mode=max")]);
    let from = format!("type=local,src={dir}");
    let nothing = format!("type=local,src={}", one.text("nothing"));
    let out = build(&one.sibling(), &one, &["--cache-from", &nothing, "--cache-from", "127.0.0.1:1/no:1"]);
    assert_eq!(ran(&out), 5);
    out.says(&["nothing is left out", "127.0.0.1:1/no:1 is left out"]);

    // Another layer under a layer's name: the digest is not right, so the step runs.
    let blobs = one.path("cache/blobs/sha256");
    let mut layers: Vec<_> = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()).collect();
    layers.retain(|path| !std::fs::read(path).unwrap().starts_with(b"{"));
    assert_eq!(layers.len(), 4, "one blob for each layer; a copied file makes the layer that it had");
    for layer in &layers {
        let mut bytes = std::fs::read(layer).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(layer, bytes).unwrap();
    }
    let two = one.sibling();
    let out = build(&two, &one, &["--cache-from", &from]);
    assert_eq!((cached(&out), ran(&out)), (0, 5), "{out}");
    out.says(&["is left out"]);
    two.img(&["system", "check"]).ok();

    // A list of steps that was changed is no longer the one the manifest names.
    for path in std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = std::fs::read(&path).unwrap();
        if bytes.starts_with(b"{\"version\"") {
            std::fs::write(&path, [&bytes[..], b" "].concat()).unwrap();
        }
    }
    let out = build(&one.sibling(), &one, &["--cache-from", &from]);
    assert_eq!(ran(&out), 5);
    out.says(&["is left out", "damaged"]);
}

#[test]
fn refusals() {
    let one = prepared();
    let context = one.text("context");
    one.write("file", "");
    for (flags, code, words) in [
        (["--cache-from", "type=gha"], 125, "no type"),
        (["--cache-from", "type=local"], 125, "needs src="),
        (["--cache-to", "type=local,dest=x,mode=some"], 125, "min or max"),
        (["--cache-to", "type=inline,mode=max"], 125, "no key"),
        (["--cache-to", &format!("type=local,dest={}", one.text("file"))], 1, "cannot export the cache"),
    ] {
        one.img(&["build", "--progress", "quiet", flags[0], flags[1], &context]).exits(code).says(&[words]);
    }
    let to = format!("type=local,dest={},ignore-error=true", one.text("file"));
    one.img(&["build", "--cache-to", &to, &context]).ok().says(&["was not exported"]);
}
