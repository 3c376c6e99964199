//! `build --ssh` with key files, against OpenSSH's own server: a step logs in with the key and never holds it. Server and
//! client come from Debian's mirror; where none is reachable the test skips itself, loudly.

use crate::support::{Sandbox, skip, tools};

/// The server in the step itself, on loopback; each login says by which key it was let in.
const LOG_IN: &str = r#"FROM ssh
COPY *.pub /root/.ssh/keys/
RUN --mount=type=ssh --mount=type=ssh,id=work,target=/run/work.sock <<EOF
set -e
cat /root/.ssh/keys/*.pub > /root/.ssh/authorized_keys
mkdir -p /run/sshd
/usr/sbin/sshd -o ListenAddress=127.0.0.1 -o Port=2222 -o ExposeAuthInfo=yes
# The server listens only after the command that starts it has ended.
for turn in $(seq 100); do ssh-keyscan -p 2222 127.0.0.1 2> /dev/null | grep -q ssh- && break; sleep 0.1; done
login() { ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o IdentitiesOnly=yes -p 2222 "$@" root@127.0.0.1 'cat $SSH_USER_AUTH'; }
login -i /root/.ssh/keys/ed25519.pub > /ed25519
login -i /root/.ssh/keys/rsa.pub > /rsa
SSH_AUTH_SOCK=/run/work.sock login -i /root/.ssh/keys/ecdsa.pub > /ecdsa
# The agent of one id has not the keys of the other, and without an agent nobody comes in.
if login -i /root/.ssh/keys/ecdsa.pub 2> /refused; then exit 8; fi
if SSH_AUTH_SOCK= login -i /root/.ssh/keys/rsa.pub; then exit 9; fi
EOF
RUN test ! -e /run/buildkit/ssh_agent.0 && grep -qi denied /refused && cat /ed25519 /rsa /ecdsa > /all
"#;

#[test]
fn a_step_logs_in_with_keys_that_it_never_holds() {
    if !tools::has("ssh-keygen") {
        skip!("there is no ssh-keygen on this machine");
    }
    let sandbox = Sandbox::new();
    sandbox.write("context/.dockerignore", "*\n!*.pub\n");
    let text = "FROM debian:bookworm-slim\nRUN apt-get -o Acquire::Retries=0 -o Acquire::http::Timeout=10 update && \
                apt-get install -y --no-install-recommends openssh-server openssh-client && apt-get clean\n";
    sandbox.write("context/Buildfile", text);
    let at = sandbox.text("context");
    let made = sandbox.img(&["build", "--network", "host", "-t", "ssh", &at]);
    if ["Failed to fetch", "Temporary failure"].iter().any(|sign| made.stderr().contains(sign)) {
        skip!("no Debian mirror is reachable from a build");
    }
    made.ok();
    let mut keys = Vec::new();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let key = sandbox.text(&format!("context/{kind}"));
        tools::run("ssh-keygen", ["-q", "-t", kind, "-N", "", "-C", kind, "-f", &key]).ok();
        keys.push(key);
    }
    sandbox.write("context/Buildfile", LOG_IN);
    let default = format!("default={},{}", keys[0], keys[1]);
    let work = format!("work={}", keys[2]);
    sandbox.img(&["build", "--network", "none", "-t", "in", "--ssh", &default, "--ssh", &work, &at]).ok();
    let told = sandbox.ok(&["run", "--rm", "--network", "none", "in", "cat", "/all"]);
    let expected: Vec<String> = ["ed25519", "rsa", "ecdsa"]
        .iter()
        .map(|kind| std::fs::read_to_string(sandbox.path(format!("context/{kind}.pub"))).unwrap())
        .map(|key| format!("publickey {}", key.split(' ').take(2).collect::<Vec<_>>().join(" ")))
        .collect();
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}
