//! The same Buildfile built by `img` and by buildah gives the same tree, file by file, and the same configuration.
//! Left out is where buildah differs from Docker and `img` follows Docker: set-group-ID directories that are copied, and the
//! entry `.` of an archive.

use crate::support::tools::{self, Podman};
use crate::support::{Registry, Sandbox, images, tree};

/// What a container run-time makes in a root by itself.
const OWN: [&str; 9] =
    ["dev", "proc", "sys", "run", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"];

const TEXT: &str = r#"ARG NAME=given
FROM BASE AS maker
ARG NAME
WORKDIR /work/deep
COPY tree/ ./tree/
COPY --chown=7:8 one two.txt /copied/
COPY tree/link /followed
COPY --chown=alice tree /owned
ADD pack.tar.gz /unpacked/
ADD pack.tar.gz /unpacked/again
RUN mkdir -p /made/a && echo $NAME > /made/a/f && touch -d @1000000000 /made/a/f && ln /made/a/f /made/hard && ln -s a/f /made/soft && chmod 4711 /made/a/f && mkfifo /made/pipe
RUN rm -r /unpacked/x && rm /bin/vi && mkdir /unpacked/x && echo new > /unpacked/x/new
RUN mv /made/pipe /made/moved && mkdir /made/big && echo big > /made/big/f && chown -R 70000:70000 /made/big
USER alice
RUN echo mine > /tmp/mine
USER root
RUN find /made/soft /made/moved /made/big /tmp/mine /unpacked/x/new -exec touch -h -d @1000000000 {} +
COPY *.txt /work/deep/tree/
COPY one /work/deep/renamed

FROM BASE
COPY --from=maker /made /from/made
COPY --from=maker /work /copied/one /from/work/
COPY --from=maker --chown=5 /owned /from/owned
ENV A=1 B="two words"
LABEL l="x y"
EXPOSE 80
VOLUME /data
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["id"]
STOPSIGNAL SIGUSR2
USER alice
WORKDIR /final
"#;

fn context(sandbox: &Sandbox) {
    sandbox.write("context/one", "1\n");
    sandbox.write("context/two.txt", "2\n");
    sandbox.write("context/ignored.txt", "no\n");
    sandbox.write("context/.dockerignore", "ignored.txt\n**/*.o\n");
    sandbox.write("context/tree/sub/file", "deep\n");
    sandbox.write("context/tree/sub/junk.o", "no\n");
    sandbox.write("context/tree/exec", "#!/bin/sh\n");
    let at = sandbox.path("context/tree");
    std::os::unix::fs::symlink("sub/file", at.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", at.join("dangling")).unwrap();
    tools::run("chmod", ["0751", &at.join("sub").to_string_lossy()]);
    tools::run("chmod", ["0755", &at.join("exec").to_string_lossy()]);
    sandbox.write("pack/x/packed", "packed\n");
    std::os::unix::fs::symlink("packed", sandbox.path("pack/x/link")).unwrap();
    tools::run("chown", ["-R", "33:44", &sandbox.text("pack")]);
    tools::run("tar", ["-czf", &sandbox.text("context/pack.tar.gz"), "-C", &sandbox.text("pack"), "x"]);
    // Buildah rounds times of the context to seconds.
    tools::run("find", [&sandbox.text("context"), "-exec", "touch", "-h", "-d", "@1234567890", "{}", "+"]);
}

#[test]
fn buildah_gives_the_same_tree_and_configuration() {
    let sandbox = Sandbox::new();
    context(&sandbox);
    let podman = Podman::new(&sandbox.path("podman"), Registry::bases().address());
    podman.run(&["pull", &format!("oci:{}:latest", images::layout("busybox").display())]).ok();
    let base = podman.run(&["images", "-q"]).ok().word();
    let at = sandbox.text("context");
    for target in ["maker", "1"] {
        sandbox.build("context", "ours", &TEXT.replace("BASE", "busybox")).ok();
        sandbox.img(&["build", "-t", "ours", "--target", target, &at]).ok();
        let theirs = sandbox.write("Theirs", TEXT.replace("BASE", &base));
        let words = ["bud", "--isolation", "chroot", "--format", "docker", "--target", target, "-t", "theirs", "-f"];
        podman.buildah(&[&words[..], &[theirs.as_str(), at.as_str()]].concat()).ok();

        let container = podman.run(&["create", "theirs"]).ok().word();
        let archive = sandbox.text("theirs.tar");
        podman.run(&["export", "-o", &archive, &container]).ok();
        podman.run(&["rm", &container]).ok();
        let into = sandbox.path(format!("theirs-{target}"));
        tools::untar(std::path::Path::new(&archive), &into);
        let ours = sandbox.flatten("ours", &format!("ours-{target}"));
        tree::assert_same(&ours, &into, &OWN);

        let ours = sandbox.inspect("ours")["Config"].clone();
        let theirs = podman.run(&["image", "inspect", "theirs"]).ok().json()[0]["Config"].clone();
        for key in ["Env", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Volumes", "StopSignal"] {
            assert_eq!(ours[key], theirs[key], "{key} of {target}");
        }
        let label = |config: &serde_json::Value| config["Labels"]["l"].clone();
        assert_eq!(label(&ours), label(&theirs));
    }
}
