//! What RUN steps are given from outside: secrets, agents, and leave to leave the sandbox.

use super::Bench;
use crate::inputs::{Entitlement, Secret};
use crate::ports::RunMountSource;

fn with_secret(bench: &mut Bench, id: &str, value: &str) {
    bench.options.inputs.secrets.insert(id.to_owned(), Secret::new(value.as_bytes()));
}

#[test]
fn a_secret_is_a_file_and_a_variable_and_no_part_of_the_key() {
    let mut bench = Bench::new(&[]);
    with_secret(&mut bench, "a/token", "first");
    let text = "FROM base\nENV OTHER=own\n\
        RUN --mount=type=secret,id=a/token --mount=type=secret,id=a/token,target=x/y,uid=5,gid=6,mode=0444 \
        --mount=type=secret,id=a/token,env=OTHER --mount=type=secret,id=gone --mount=type=secret,id=gone,env=GONE \
        read /run/secrets/token . /out\n";
    let output = bench.build(text);
    assert_eq!(bench.look(&output, "/out"), "first");
    {
        let ran = bench.ran.lock().unwrap();
        assert_eq!(ran[0].env, ["PATH=/bin", "FROM_BASE=1", "OTHER=first"], "the secret hides the variable");
        let targets: Vec<&str> = ran[0].mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/run/secrets/token", "/x/y"], "what was not given is no mount");
        let modes = ran[0].mounts.iter().map(|mount| match &mount.source {
            RunMountSource::Secret { mode, uid, gid, .. } => (*mode, *uid, *gid),
            other => panic!("{other:?}"),
        });
        assert_eq!(modes.collect::<Vec<_>>(), [(0o400, 0, 0), (0o444, 5, 6)]);
        assert!(ran[0].mounts.iter().all(|mount| mount.read_only));
    }
    let config = String::from_utf8(output.config.clone()).unwrap();
    assert!(!config.contains("first"), "{config}");
    with_secret(&mut bench, "a/token", "second");
    assert_eq!(bench.build(text).executed, 0, "another value is the same step");
    bench.options.inputs.secrets.clear();
    assert_eq!(bench.build(&text.replace("id=a/token", "id=a/token,required=false")).cached, 1);
    with_secret(&mut bench, "a/token", "third");
    assert_eq!(bench.build(&text.replace(",uid=5", ",uid=7")).executed, 1);
}

#[test]
fn a_required_secret_is_missed_where_it_is_wanted() {
    let mut bench = Bench::new(&[]);
    with_secret(&mut bench, "token", "x");
    for (flag, part, hint) in [
        ("type=secret,id=tokn,required", "needs the secret tokn", "did you mean token?"),
        ("type=secret,id=other,env=A,required=true", "needs the secret other", "--secret id=other,src="),
        ("type=ssh,required", "needs the ssh agent default", "--ssh default"),
        ("type=ssh,id=work,required", "needs the ssh agent work", "--ssh work=SOCKET"),
    ] {
        let error = bench.fail(&format!("FROM base\nRUN --mount={flag} true\n"));
        let problem = error.diagnostic().unwrap();
        assert_eq!((problem.span.start.line, problem.span.start.column), (2, 1), "{error}");
        assert!(problem.message.contains(part), "{error}");
        assert!(problem.hint.as_deref().is_some_and(|text| text.contains(hint)), "{error}");
        assert!(bench.ran.lock().unwrap().is_empty());
    }
    bench.options.inputs.secrets.insert("raw".to_owned(), Secret::new(*b"\xff"));
    let error = bench.fail("FROM base\nRUN --mount=type=secret,id=raw,env=A true\n");
    assert!(error.to_string().contains("is no text"), "{error}");
}

#[test]
fn agents_are_numbered_and_named_by_a_variable() {
    let mut bench = Bench::new(&[]);
    bench.options.inputs.agents.insert("default".to_owned(), "/agent/one".into());
    bench.options.inputs.agents.insert("work".to_owned(), "/agent/two".into());
    bench.build("FROM base\nRUN --mount=type=ssh --mount=type=ssh,id=work,mode=0666 --mount=type=ssh,id=gone true\n");
    {
        let ran = bench.ran.lock().unwrap();
        let socket = |number: usize| match &ran[0].mounts[number].source {
            RunMountSource::Agent { socket, mode, .. } => (socket.display().to_string(), *mode),
            other => panic!("{other:?}"),
        };
        assert_eq!((socket(0), socket(1)), (("/agent/one".to_owned(), 0o600), ("/agent/two".to_owned(), 0o666)));
        assert_eq!(ran[0].mounts[1].target, "/run/buildkit/ssh_agent.1");
        assert_eq!(ran[0].mounts.len(), 2);
        assert!(ran[0].env.contains(&"SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0".to_owned()));
    }
    bench.build("FROM base\nENV SSH_AUTH_SOCK=/own\nRUN --mount=type=ssh,target=/own true\n");
    assert!(bench.ran.lock().unwrap()[0].env.contains(&"SSH_AUTH_SOCK=/own".to_owned()));
}

#[test]
fn leaving_the_sandbox_has_to_be_allowed() {
    let mut bench = Bench::new(&[]);
    for (flag, name) in [("--network=host", "network.host"), ("--security=insecure", "security.insecure")] {
        let text = format!("FROM base\nRUN {flag} true\n");
        let error = bench.fail(&text);
        let problem = error.diagnostic().unwrap();
        assert!(problem.hint.as_deref().is_some_and(|hint| hint.ends_with(&format!("--allow {name}"))), "{error}");
        bench.options.inputs.allowed.insert(Entitlement::parse(name).unwrap());
        assert_eq!(bench.build(&text).executed, 1);
    }
    bench.options.inputs.allowed.clear();
    bench.options.network = crate::buildfile::NetworkMode::Host;
    bench.build("FROM base\nRUN --network=host true\n");
}
