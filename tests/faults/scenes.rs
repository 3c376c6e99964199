//! What is interrupted: each scene is a store made ready once, one command, and how it is known to have done its work.

/// One command and what surrounds it. In all words `{dir}` is the folder of the test, `{busybox}` the layout of the base image,
/// `{bases}` the address of the registry that serves it, `{push}` that of an empty one.
pub struct Scene {
    pub name: &'static str,
    /// Commands that make the store ready, once.
    pub before: &'static [&'static str],
    /// The command that is interrupted.
    pub command: &'static str,
    /// Commands that may fail and make a second try possible: what a user would clean up by hand with docker too.
    pub clear: &'static [&'static str],
    /// What the second try may say instead of succeeding: the interrupted one had been through already.
    pub done: &'static [&'static str],
    /// Commands that must succeed then, each with what it prints (`*`: anything).
    pub proof: &'static [(&'static str, &'static str)],
    /// Commands that put everything of this scene away, so that the store is again as it was made ready.
    pub undo: &'static [&'static str],
}

const fn scene(name: &'static str, command: &'static str) -> Scene {
    Scene { name, before: &[], command, clear: &[], done: &[], proof: &[], undo: &[] }
}

const LOADED: &[&str] = &["load --quiet --input {busybox}", "tag 509e2ffe8ad4 busybox"];

/// All scenes.
pub fn scenes() -> Vec<Scene> {
    let busybox = &["pull --quiet busybox"][..];
    vec![
        Scene {
            proof: &[("run --rm --network none busybox echo whole", "whole")],
            undo: &["rmi busybox"],
            ..scene("pull", "pull --quiet busybox")
        },
        Scene { undo: &["image prune --all --force"], ..scene("load", "load --quiet --input {busybox}") },
        Scene {
            proof: &[("run --rm --network none imported /bin/busybox echo whole", "whole")],
            undo: &["rmi imported", "image prune --force"],
            ..scene("import", "import {busybox}/rootfs.tar imported")
        },
        Scene {
            before: busybox,
            proof: &[("run --rm --network none built cat /made", "made")],
            undo: &["rmi built", "builder prune --all --force", "image prune --force"],
            ..scene("build", "build --quiet --network none --tag built {dir}/context")
        },
        Scene {
            before: &["pull --quiet busybox", "run --name source --network none busybox touch /made"],
            proof: &[("run --rm --network none committed ls /made", "/made")],
            undo: &["rmi committed", "image prune --force"],
            ..scene("commit", "commit source committed")
        },
        Scene { before: busybox, ..scene("run-none", "run --rm --network none busybox true") },
        Scene { before: busybox, ..scene("run-bridge", "run --rm busybox true") },
        Scene {
            before: busybox,
            // A volume without a name is made before its container: of one killed between them, `volume prune` is told.
            undo: &["volume prune --force"],
            ..scene("run-volume", "run --rm --network none --volume /data --memory 64m busybox touch /data/file")
        },
        Scene {
            before: busybox,
            clear: &["rm --force kept"],
            proof: &[("exec kept echo inside", "inside")],
            undo: &["rm --force kept"],
            ..scene("run-detached", "run --detach --name kept busybox sleep 1000")
        },
        Scene {
            before: busybox,
            clear: &["rm --force made"],
            proof: &[("start made", "made"), ("wait made", "0")],
            undo: &["rm --force made"],
            ..scene("create", "create --name made --network none busybox true")
        },
        Scene {
            before: &["pull --quiet busybox", "create --name ready --network none busybox true"],
            proof: &[("wait ready", "0")],
            ..scene("start", "start ready")
        },
        Scene {
            before: &["pull --quiet busybox", "create --name gone busybox true"],
            done: &["no such container"],
            ..scene("rm", "rm gone")
        },
        Scene {
            before: &["pull --quiet busybox", "create --name old --network none busybox true"],
            clear: &["rename new old"],
            proof: &[("inspect --format {{.Name}} new", "*")],
            ..scene("rename", "rename old new")
        },
        Scene {
            before: &["pull --quiet busybox", "create --name target --network none busybox true"],
            proof: &[("start --attach target", "")],
            ..scene("cp", "cp {dir}/context/file target:/copied")
        },
        Scene {
            before: &["pull --quiet busybox", "tag busybox second"],
            done: &["no such image"],
            proof: &[("run --rm --network none second echo whole", "whole")],
            ..scene("untag", "rmi busybox")
        },
        Scene {
            before: busybox,
            done: &["no such image"],
            // First the name goes, then the image: one that was cut between is an image without a name.
            undo: &["image prune --all --force"],
            ..scene("rmi", "rmi busybox")
        },
        Scene {
            before: busybox,
            proof: &[("run --rm --network none other echo whole", "whole")],
            undo: &["rmi other"],
            ..scene("tag", "tag busybox other")
        },
        Scene {
            before: &[
                "pull --quiet busybox",
                "create --name kept --network none busybox true",
                "import {busybox}/rootfs.tar",
            ],
            proof: &[("run --rm --network none busybox true", "")],
            ..scene("system-prune", "system prune --force --volumes")
        },
        Scene {
            before: busybox,
            proof: &[("images --quiet", "")],
            ..scene("image-prune", "image prune --all --force")
        },
        Scene {
            before: busybox,
            proof: &[("images --quiet", "")],
            ..scene("image-prune-budget", "image prune --all --force --max-used-space 1k")
        },
        Scene {
            before: &["pull --quiet busybox", "create --network none --volume /own busybox true"],
            proof: &[("ps --all --quiet", ""), ("volume ls --quiet", "")],
            ..scene("container-prune", "container prune --force")
        },
        Scene {
            before: &["build --quiet --tag made {dir}/context"],
            proof: &[("builder du --format {{.ID}}", ""), ("run --rm --network none made cat /made", "made")],
            ..scene("builder-prune", "builder prune --all --force")
        },
        Scene {
            before: busybox,
            undo: &["image prune --all --force"],
            ..scene("save", "save --output {dir}/saved.tar busybox")
        },
        Scene { before: LOADED, ..scene("push", "push --quiet busybox {push}/pushed") },
        Scene {
            before: &["volume ls"],
            proof: &[("volume inspect --format {{.Name}} data", "data")],
            undo: &["volume rm data"],
            ..scene("volume-create", "volume create data")
        },
        Scene {
            before: &["volume create data"],
            done: &["no such volume"],
            proof: &[("volume ls --quiet", "")],
            ..scene("volume-rm", "volume rm data")
        },
        Scene {
            before: &["volume create one", "volume create two"],
            proof: &[("volume ls --quiet", "")],
            ..scene("volume-prune", "volume prune --all --force")
        },
        Scene {
            before: &["volume ls"],
            done: &["is there already"],
            proof: &[("network inspect --format {{.Name}} wire", "wire")],
            undo: &["network rm wire"],
            ..scene("network-create", "network create wire")
        },
        Scene {
            before: &["network create wire"],
            done: &["no such network", "not found"],
            proof: &[("network ls --quiet --filter name=wire", "")],
            ..scene("network-rm", "network rm wire")
        },
        Scene {
            before: &["pull --quiet busybox", "network create wire"],
            undo: &["network prune --force"],
            ..scene("run-network", "run --rm --network wire --publish 127.0.0.1::80 busybox true")
        },
    ]
}
