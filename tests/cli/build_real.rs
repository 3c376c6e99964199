//! Buildfiles as people write them, on bases that are made here. What needs a package registry skips itself, loudly, where
//! none is reachable.

use crate::support::{Sandbox, skip, tools};

/// What the machine trusts, for whoever stands between it and the registries.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

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
    sandbox.write("context/ca.crt", std::fs::read(AUTHORITIES).unwrap_or_default());
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

#[test]
fn a_rust_program_with_a_crate_from_the_registry() {
    let found = ["rustc", "cargo"].iter().all(|program| tools::has(program));
    if !found {
        skip!("there is no Rust on this machine");
    }
    let toolchain = tools::run("rustc", ["--print", "sysroot"]).ok().stdout().trim().to_owned();
    let sandbox = Sandbox::new();
    sandbox.write("context/ca.crt", std::fs::read(AUTHORITIES).unwrap_or_default());
    sandbox.write(
        "context/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"1\"\n",
    );
    let main = "fn main() { println!(\"hello {}\", itoa::Buffer::new().format(42)) }\n";
    sandbox.write("context/src/main.rs", main);
    sandbox.write("context/.dockerignore", "target\n**/*.rs.bk\n");
    // The toolchain is the machine's own, mounted: an image of it has a gigabyte. Dependencies are built before the
    // program comes, as everybody does.
    let text = "# syntax=docker/dockerfile:1\nFROM gcc:12 AS build\nWORKDIR /src\n\
                ENV CARGO_HOME=/cargo PATH=/rust/bin:$PATH CARGO_HTTP_CAINFO=/ca.crt CARGO_NET_RETRY=0\n\
                COPY ca.crt /ca.crt\nCOPY Cargo.toml ./\n\
                RUN --mount=from=rust,source=bin/cargo,target=/rust/bin/cargo \\\n\
                    --mount=from=rust,source=bin/rustc,target=/rust/bin/rustc \\\n\
                    --mount=from=rust,source=lib,target=/rust/lib \\\n\
                    --mount=type=cache,target=/cargo/registry,sharing=locked \\\n\
                    mkdir src && echo 'fn main() {}' > src/main.rs && cargo build --release && rm -r src target/release/app\n\
                COPY src src\n\
                RUN --mount=from=rust,source=bin/cargo,target=/rust/bin/cargo \\\n\
                    --mount=from=rust,source=bin/rustc,target=/rust/bin/rustc \\\n\
                    --mount=from=rust,source=lib,target=/rust/lib \\\n\
                    --mount=type=cache,target=/cargo/registry,sharing=locked \\\n\
                    touch src/main.rs && cargo build --release --offline && ls -A /cargo/registry | wc -l\n\n\
                FROM debian:bookworm-slim\nCOPY --from=build /src/target/release/app /usr/local/bin/\nUSER 65534:65534\nCMD [\"app\"]\n";
    sandbox.write("context/Buildfile", text);
    let build = |tag: &str| {
        let rust = format!("rust={toolchain}");
        let words = ["build", "--progress=plain", "--network", "host", "--build-context", &rust, "-t", tag];
        sandbox.img(&[&words[..], &[&sandbox.text("context")]].concat())
    };
    let out = build("app");
    let signs = ["Could not resolve host", "failed to download", "failed to query", "failed to get `itoa`"];
    if signs.iter().any(|sign| out.stderr().contains(sign)) {
        skip!("no crate registry is reachable from a build");
    }
    out.ok();
    sandbox.img(&["run", "--rm", "--network", "none", "app"]).ok().prints_exactly("hello 42\n");
    // A change of the program builds no dependency again, and the final image has neither tools nor sources.
    sandbox.write("context/src/main.rs", main.replace("hello", "bye"));
    let out = build("app");
    assert_eq!(out.ok().stderr().matches("CACHED").count(), 4, "{out}");
    sandbox.img(&["run", "--rm", "--network", "none", "app"]).ok().prints_exactly("bye 42\n");
    let left = sandbox.img(&["run", "--rm", "--network", "none", "app", "ls", "-d", "/src", "/rust", "/cargo"]);
    assert_eq!(left.stdout(), "", "{left}");
}

#[test]
fn a_node_program_with_a_package_from_the_registry() {
    let found = ["node", "npm"].iter().all(|program| tools::has(program));
    if !found {
        skip!("there is no npm on this machine");
    }
    let node = tools::run("node", ["-p", "require('path').dirname(process.execPath)"]).ok().stdout();
    let npm = tools::run("npm", ["root", "-g"]).ok().stdout();
    let (node, npm) = (format!("node={}", node.trim()), format!("npm={}/npm", npm.trim()));
    let sandbox = Sandbox::new();
    sandbox.write("context/ca.crt", std::fs::read(AUTHORITIES).unwrap_or_default());
    sandbox.write(
        "context/package.json",
        "{ \"name\": \"app\", \"version\": \"1.0.0\", \"private\": true, \"main\": \"index.js\",\n\
         \"scripts\": { \"test\": \"node index.js 1\" }, \"dependencies\": { \"is-number\": \"^7.0.0\" } }\n",
    );
    sandbox.write("context/index.js", "console.log(require('is-number')(process.argv[2]))\n");
    sandbox.write("context/.dockerignore", "node_modules\nnpm-debug.log\n");
    let tools = "--mount=from=node,source=node,target=/usr/local/bin/node --mount=from=npm,target=/npm";
    let text = format!(
        "FROM node:18-slim AS deps\nWORKDIR /app\nENV NODE_EXTRA_CA_CERTS=/ca.crt NODE_ENV=production\nCOPY ca.crt /\n\
         COPY package*.json ./\n\
         RUN {tools} --mount=type=cache,target=/root/.npm \\\n\
             node /npm/bin/npm-cli.js install --omit=dev --no-audit --no-fund --fetch-retries=0 && test -e package-lock.json\n\
         FROM deps AS test\nCOPY index.js .\nRUN {tools} node /npm/bin/npm-cli.js test\n\
         FROM node:18-slim\nWORKDIR /app\nCOPY --from=deps /app/node_modules node_modules\nCOPY --from=test /app/index.js .\n\
         USER nobody\nENTRYPOINT [\"node\", \"/app\"]\nCMD [\"five\"]\n"
    );
    sandbox.write("context/Buildfile", text);
    let words = ["build", "--network", "host", "--build-context", &node, "--build-context", &npm, "-t", "app"];
    let out = sandbox.img(&[&words[..], &[&sandbox.text("context")]].concat());
    if ["EAI_AGAIN", "ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "E404"].iter().any(|sign| out.stderr().contains(sign)) {
        skip!("no npm registry is reachable from a build");
    }
    out.ok();
    sandbox.img(&["run", "--rm", "--network", "none", "app"]).ok().prints_exactly("false\n");
    sandbox.img(&["run", "--rm", "--network", "none", "app", "5"]).ok().prints_exactly("true\n");
}
