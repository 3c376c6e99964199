//! Buildfiles as people write them, on bases that are made here. What needs a package registry skips itself, loudly, where
//! none is reachable.

use crate::support::{Sandbox, skip};

#[test]
fn a_c_program_with_make_and_nothing_else_in_the_image() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "context/hello.c",
        "#include <stdio.h>\n#include \"words.h\"\nint main(void) { puts(WORDS); return 0; }\n",
    );
    sandbox.write(
        "context/Makefile",
        "hello: hello.c words.h\n\t$(CC) -static -O2 -o $@ hello.c\n\nclean:\n\trm -f hello\n",
    );
    sandbox.write("context/.dockerignore", "hello\n*.o\n");
    let text = "FROM gcc:12 AS build\nARG WORDS=\"hello from make\"\nWORKDIR /src\nCOPY Makefile hello.c ./\n\
                RUN printf '#define WORDS \"%s\"\\n' \"$WORDS\" > words.h && make && strip hello\n\n\
                FROM scratch\nCOPY --from=build --chmod=0555 /src/hello /hello\nUSER 65534\nENTRYPOINT [\"/hello\"]\n";
    sandbox.build("context", "hello", text).ok();
    sandbox.img(&["run", "--rm", "--network", "none", "hello"]).ok().prints_exactly("hello from make\n");
    // An argument changes the second step and what follows, not the first.
    sandbox.write("context/Buildfile", text);
    let other = ["build", "-t", "other", "--progress=plain", "--build-arg", "WORDS=other words"];
    let out = sandbox.img(&[&other[..], &[&sandbox.text("context")]].concat());
    assert_eq!(out.ok().stderr().matches("CACHED").count(), 2, "{out}");
    sandbox.img(&["run", "--rm", "--network", "none", "other"]).ok().prints_exactly("other words\n");
}

#[test]
fn python_and_node_programs_with_entry_points() {
    let sandbox = Sandbox::new();
    sandbox.write("context/app/__main__.py", "import sys, json\nprint(json.dumps(sys.argv[1:]))\n");
    sandbox.write("context/index.js", "console.log(process.argv.slice(2).concat(process.env.MODE).join(' '))\n");
    let python = "FROM python:3.11-slim\nENV PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt\nWORKDIR /opt\nCOPY app app\n\
                  RUN python3 -m compileall -q app && python3 -m app check\nENTRYPOINT [\"python3\", \"-m\", \"app\"]\nCMD [\"x\"]\n";
    sandbox.build("context", "python", python).ok();
    sandbox.img(&["run", "--rm", "--network", "none", "python"]).ok().prints_exactly("[\"x\"]\n");
    sandbox.img(&["run", "--rm", "--network", "none", "python", "a", "b c"]).ok().prints_exactly("[\"a\", \"b c\"]\n");
    let node = "FROM node:18-slim AS deps\nWORKDIR /app\nCOPY <<EOF package.json\n{ \"name\": \"x\", \"main\": \"index.js\" }\nEOF\n\
                FROM deps\nENV MODE=production\nCOPY index.js .\nSHELL [\"/bin/sh\", \"-ec\"]\nCMD exec node . one two\n";
    sandbox.build("context", "node", node).ok();
    sandbox.img(&["run", "--rm", "--network", "none", "node"]).ok().prints_exactly("one two production\n");
}

#[test]
fn packages_from_apt_and_pip() {
    let sandbox = Sandbox::new();
    // Whoever stands between this machine and the registries signs with what the machine trusts.
    let authorities = std::fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    sandbox.write("context/ca.crt", authorities);
    let update = "FROM python:3.11-slim\nRUN apt-get -o Acquire::Retries=0 -o Acquire::http::Timeout=10 update\n";
    sandbox.write("context/Buildfile", update);
    let at = sandbox.text("context");
    let reached = sandbox.img(&["build", "--network", "host", "-t", "updated", &at]);
    if ["Failed to fetch", "Temporary failure"].iter().any(|sign| reached.stderr().contains(sign)) {
        skip!("no Debian mirror is reachable from a build");
    }
    reached.ok();
    let text = "FROM python:3.11-slim\nENV DEBIAN_FRONTEND=noninteractive\n\
                RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \\\n\
                    rm -f /etc/apt/apt.conf.d/docker-clean && apt-get update \\\n && apt-get install -y --no-install-recommends jq\n\
                RUN echo '{\"a\": [1, 2]}' | jq .a[1] > /answer\nCMD [\"cat\", \"/answer\"]\n";
    sandbox.write("context/Buildfile", text);
    sandbox.img(&["build", "--network", "host", "-t", "apt", &at]).ok();
    sandbox.img(&["run", "--rm", "--network", "none", "apt"]).ok().prints_exactly("2\n");
    // What a cache mount held is no part of the image.
    let left = sandbox.img(&[
        "run",
        "--rm",
        "--network",
        "none",
        "apt",
        "sh",
        "-c",
        "find /var/cache/apt -name *.deb | wc -l",
    ]);
    left.ok().prints_exactly("0\n");

    let text = "FROM apt\nRUN --mount=type=cache,target=/var/cache/apt --mount=type=cache,target=/var/lib/apt \\\n\
                    apt-get update && apt-get install -y --no-install-recommends python3-pip\n\
                COPY ca.crt /etc/ssl/certs/ca-certificates.crt\nENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt\n\
                RUN --mount=type=cache,target=/root/.cache/pip pip install --break-system-packages --target /opt/site six\n\
                ENV PYTHONPATH=/opt/site\nCMD [\"python3\", \"-c\", \"import six; print(six.PY3)\"]\n";
    sandbox.write("context/Buildfile", text);
    let out = sandbox.img(&["build", "--network", "host", "-t", "pip", &at]);
    if out.stderr().contains("No matching distribution") || out.stderr().contains("Max retries exceeded") {
        skip!("no Python package index is reachable from a build");
    }
    out.ok();
    sandbox.img(&["run", "--rm", "--network", "none", "pip"]).ok().prints_exactly("True\n");
}
