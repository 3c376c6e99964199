use proptest::prelude::*;

use super::*;
use crate::buildfile::{Arg, NetworkMode, Pair, Position, Run};

fn parse(text: &str) -> Result<Buildfile, Failure> {
    Buildfile::parse("Buildfile", text.as_bytes())
}

fn one(text: &str) -> Kind {
    let file = parse(&format!("FROM a\n{text}\n")).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(file.stages[0].instructions.len(), 1, "{text}");
    file.stages[0].instructions[0].kind.clone()
}

fn error(text: &str) -> Diagnostic {
    match parse(&format!("FROM a\n{text}\n")) {
        Err(error) => *error,
        Ok(file) => panic!("{text} parsed as {:?}", file.stages[0].instructions),
    }
}

fn rules(text: &str) -> Vec<&'static str> {
    parse(text).unwrap().warnings.iter().map(|warning| warning.rule.name()).collect()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn stages() {
    let file =
        parse("ARG V=1\nFROM --platform=$BUILDPLATFORM golang:$V AS Build\nRUN x\nfrom scratch as two\n").unwrap();
    assert_eq!(file.global_args.len(), 1);
    assert_eq!(file.stages[0].base, "golang:$V");
    assert_eq!(file.stages[0].name.as_deref(), Some("build"));
    assert_eq!(file.stages[0].platform.as_deref(), Some("$BUILDPLATFORM"));
    assert_eq!((file.stages[1].base.as_str(), file.stages[1].name.as_deref()), ("scratch", Some("two")));
    for (text, part) in [
        ("", "no FROM"),
        ("# only a comment\n", "no FROM"),
        ("RUN x\n", "before the first FROM"),
        ("FROM\n", "takes an image"),
        ("FROM a b\n", "takes an image"),
        ("FROM a AS\n", "takes an image"),
        ("FROM a AS 1x\n", "legal stage name"),
        ("FROM a AS x/y\n", "legal stage name"),
        ("FROM --platfrom=x a\n", "no flag --platfrom"),
        ("FROM --platform a\n", "needs a value"),
        ("# syntax=example/front\nFROM a\n", "front end"),
        ("# check=bogus\nFROM a\n", "check option"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.message.contains(part), "{text}: {error}");
    }
    for syntax in ["docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs@sha256:0", "docker/dockerfile"] {
        assert!(parse(&format!("# syntax={syntax}\nFROM a\n")).is_ok());
    }
}

#[test]
fn commands_in_both_forms() {
    assert_eq!(one("CMD [\"a\", \"b\"]"), Kind::Cmd(Command::Exec(strings(&["a", "b"]))));
    assert_eq!(one("CMD []"), Kind::Cmd(Command::Exec(Vec::new())));
    assert_eq!(one("CMD ['a']"), Kind::Cmd(Command::Shell("['a']".into())));
    assert_eq!(one("ENTRYPOINT exec top -b"), Kind::Entrypoint(Command::Shell("exec top -b".into())));
    assert_eq!(one("entrypoint [\"/x\"]"), Kind::Entrypoint(Command::Exec(strings(&["/x"]))));
    assert_eq!(one("SHELL [\"/bin/bash\", \"-c\"]"), Kind::Shell(strings(&["/bin/bash", "-c"])));
    for (text, part) in [
        ("CMD", "at least one argument"),
        ("CMD [1]", "strings only"),
        ("SHELL bash", "JSON array"),
        ("SHELL []", "JSON array"),
        ("RUN", "needs a command"),
        ("RUN []", "needs a command"),
        ("CMD --x=1 y", "no flag --x"),
    ] {
        let error = error(text);
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn run_flags_and_documents() {
    let Kind::Run(run) = one("RUN --network=none --mount=type=cache,target=/c --security=sandbox echo --mount") else {
        panic!()
    };
    assert_eq!(run.network, NetworkMode::None);
    assert_eq!(run.mounts[0].0, "type=cache,target=/c");
    assert_eq!(run.command, Command::Shell("echo --mount".into()));
    let Kind::Run(run) = one("RUN <<EOF bash && <<'X'\necho $a\nEOF\nb\nX") else { panic!() };
    let Run { command, documents, .. } = *run;
    assert_eq!(command, Command::Shell("<<EOF bash && <<'X'".into()));
    assert_eq!((documents[0].content.as_str(), documents[0].expand), ("echo $a\n", true));
    assert_eq!((documents[1].content.as_str(), documents[1].expand), ("b\n", false));
    for (text, part) in [
        ("RUN --network=bridge x", "default, none or host"),
        ("RUN --mount=type=secret,id=../.. x", "cannot be an id"),
        ("RUN --security=none x", "sandbox or insecure"),
        ("RUN --device=gpu x", "not supported yet"),
        ("RUN --mout=x y", "no flag --mout"),
        ("RUN --network=none --network=host x", "twice"),
    ] {
        let error = error(text);
        assert!(error.message.contains(part), "{text}: {error}");
    }
    assert_eq!(error("RUN --mout=x y").hint.as_deref(), Some("did you mean --mount?"));
    assert!(matches!(one("RUN --mount=type=$T,target=/x y"), Kind::Run(_)), "judged when the value is known");
}

#[test]
fn copies() {
    let Kind::Copy(copy) =
        one("COPY --from=b --chown=a:b --chmod=u=rwX,go=rX --exclude=*.o --exclude=x --parents --link a b/c d/")
    else {
        panic!()
    };
    assert_eq!((copy.from.as_deref(), copy.chown.as_deref()), (Some("b"), Some("a:b")));
    assert_eq!(copy.chmod.as_deref(), Some("u=rwX,go=rX"));
    assert_eq!(copy.exclude, strings(&["*.o", "x"]));
    assert!(copy.parents && copy.link && !copy.add);
    assert_eq!((copy.sources, copy.destination.as_str()), (strings(&["a", "b/c"]), "d/"));
    let Kind::Copy(copy) = one("ADD [\"a b\", \"c d/\"]") else { panic!() };
    assert!(copy.add);
    assert_eq!((copy.sources, copy.destination.as_str()), (strings(&["a b"]), "c d/"));
    let Kind::Copy(copy) = one("COPY <<A.txt x <<-\"B\" /d/\n$a\nA.txt\n\tb\n\tB") else { panic!() };
    assert_eq!(copy.sources, strings(&["x"]));
    assert_eq!((copy.documents[0].name.as_str(), copy.documents[0].text().as_str()), ("A.txt", "$a\n"));
    assert_eq!((copy.documents[1].expand, copy.documents[1].text().as_str()), (false, "b\n"));
    for (text, part) in [
        ("COPY a", "a source and a destination"),
        ("COPY", "a source and a destination"),
        ("COPY a b c", "is a directory"),
        ("COPY --from=x <<E /a\nE", "cannot be copied from"),
        ("COPY a <<E\nE", "cannot be the destination"),
        ("COPY --link=perhaps a b", "true or false"),
        ("COPY --unpack a b", "no flag --unpack"),
        ("ADD --from=x a b", "no flag --from"),
        ("COPY [\"a\", 1]", "strings only"),
        ("COPY --exclude= a b", "needs a pattern"),
    ] {
        let error = error(text);
        assert!(error.message.contains(part), "{text}: {error}");
    }
    assert!(matches!(one("COPY a b $dest"), Kind::Copy(_)), "judged when the value is known");
    assert!(matches!(one("COPY a b ."), Kind::Copy(_)));
}

#[test]
fn names_and_values() {
    let pair = |key: &str, value: &str| Pair { key: key.into(), value: value.into() };
    assert_eq!(
        one("ENV a=1 b=\"x y\" c=p\\ q"),
        Kind::Env(vec![pair("a", "1"), pair("b", "\"x y\""), pair("c", "p\\ q")])
    );
    assert_eq!(one("ENV key some value = x"), Kind::Env(vec![pair("key", "some value = x")]));
    assert_eq!(one("LABEL \"a.b\"=c d="), Kind::Label(vec![pair("\"a.b\"", "c"), pair("d", "")]));
    let arg = |name: &str, default: Option<&str>| Arg { name: name.into(), default: default.map(str::to_owned) };
    assert_eq!(one("ARG a b=1 c="), Kind::Arg(vec![arg("a", None), arg("b", Some("1")), arg("c", Some(""))]));
    for (text, part) in [
        ("ENV a", "has no value"),
        ("ENV a=1 b", "no = in b"),
        ("ENV =1", "no name before ="),
        ("ARG =1", "a name before ="),
    ] {
        let error = error(text);
        assert!(error.message.contains(part), "{text}: {error}");
    }
    assert_eq!(error("ENV a=1 b").span.start, Position { line: 2, column: 9 });
}

#[test]
fn the_rest() {
    assert_eq!(one("EXPOSE 80 $P/udp"), Kind::Expose(strings(&["80", "$P/udp"])));
    assert_eq!(one("VOLUME /a /b"), Kind::Volume(strings(&["/a", "/b"])));
    assert_eq!(one("VOLUME [\"/a b\"]"), Kind::Volume(strings(&["/a b"])));
    assert_eq!(one("USER a:b"), Kind::User("a:b".into()));
    assert_eq!(one("WORKDIR /a b"), Kind::Workdir("/a b".into()));
    assert_eq!(one("STOPSIGNAL SIGTERM"), Kind::Stopsignal("SIGTERM".into()));
    assert_eq!(one("MAINTAINER Some Body <a@b>"), Kind::Maintainer("Some Body <a@b>".into()));
    assert_eq!(one("ONBUILD RUN a \\\n b"), Kind::Onbuild("RUN a  b".into()));
    assert_eq!(one("ONBUILD COPY <<E /x\nhi\nE"), Kind::Onbuild("COPY <<E /x\nhi\nE".into()));
    for (text, part) in [
        ("STOPSIGNAL a b", "exactly one"),
        ("VOLUME [\"\"]", "no empty path"),
        ("ONBUILD", "needs an instruction"),
        ("ONBUILD FROM x", "not allowed"),
        ("ONBUILD ONBUILD RUN x", "not allowed"),
        ("ONBUILD COPY a", "a source and a destination"),
        ("WORKDIR", "at least one argument"),
    ] {
        let error = error(text);
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn healthchecks() {
    let Kind::Healthcheck(check) =
        one("HEALTHCHECK --interval=1m30s --timeout=0.5s --start-period=2h --start-interval=5ms --retries=3 CMD a b")
    else {
        panic!()
    };
    assert_eq!(check.test, strings(&["CMD-SHELL", "a b"]));
    assert_eq!((check.interval, check.timeout), (90_000_000_000, 500_000_000));
    assert_eq!((check.start_period, check.start_interval, check.retries), (7_200_000_000_000, 5_000_000, 3));
    let Kind::Healthcheck(check) = one("HEALTHCHECK CMD [\"a\"]") else { panic!() };
    assert_eq!(check.test, strings(&["CMD", "a"]));
    let Kind::Healthcheck(check) = one("HEALTHCHECK none") else { panic!() };
    assert_eq!(check.test, strings(&["NONE"]));
    for (text, part) in [
        ("HEALTHCHECK --interval=5 CMD a", "a duration"),
        ("HEALTHCHECK --interval=1us CMD a", "a duration"),
        ("HEALTHCHECK --interval=-1s CMD a", "a duration"),
        ("HEALTHCHECK --retries=-1 CMD a", "number of tries"),
        ("HEALTHCHECK --retries=1 NONE", "no flags"),
        ("HEALTHCHECK a", "CMD or NONE"),
        ("HEALTHCHECK CMD", "needs a command"),
        ("HEALTHCHECK CMD []", "needs a command"),
    ] {
        let error = error(text);
        assert!(error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn unknown_instructions_are_guessed() {
    let error = error("COPI a b");
    assert_eq!(error.message, "unknown instruction COPI");
    assert_eq!(error.hint.as_deref(), Some("did you mean COPY?"));
    assert_eq!(
        error.to_string(),
        "Buildfile:2:1: unknown instruction COPI\n 2 | COPI a b\n   | ^^^^\nhint: did you mean COPY?"
    );
}

#[test]
fn errors_point_into_continued_lines() {
    let error = error("ENV a=1 \\\n    # why\n    bad \\\n    c=2");
    assert_eq!(error.span.start, Position { line: 4, column: 5 });
    assert_eq!(error.span.end, Position { line: 4, column: 8 });
}

#[test]
fn warnings_have_published_names() {
    assert_eq!(rules("FROM a AS B\n"), ["StageNameCasing"]);
    assert_eq!(rules("FROM a as b\n"), ["FromAsCasing"]);
    assert_eq!(rules("from a as b\nrun x\n"), [""; 0]);
    assert_eq!(rules("FROM a AS b\n"), [""; 0]);
    assert_eq!(rules("FROM a\nRUN x \\\n\n y\n"), ["NoEmptyContinuation"]);
    assert_eq!(rules("FROM a\nRUN x \\\n# c\n y\n"), [""; 0]);
    assert_eq!(rules("FROM a\nENV a b\n"), ["LegacyKeyValueFormat"]);
    assert_eq!(rules("FROM a\nENV a=b\nLABEL c=d\n"), [""; 0]);
    assert_eq!(rules("FROM a\nMAINTAINER x\n"), ["MaintainerDeprecated"]);
    assert_eq!(rules("# check=skip=MaintainerDeprecated\nFROM a\nMAINTAINER x\n"), [""; 0]);
}

#[test]
fn a_trigger_is_one_instruction() {
    assert!(matches!(Buildfile::parse_trigger("COPY . /app").unwrap().kind, Kind::Copy(_)));
    assert!(Buildfile::parse_trigger("RUN a\nRUN b").is_err());
    assert!(Buildfile::parse_trigger("FROM a").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the bytes, there is an answer, and a diagnostic can be drawn.
    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(error) = Buildfile::parse("f", &bytes) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    /// The same with text that looks like a Buildfile, which gets further in.
    #[test]
    fn never_panics_on_likely_text(parts in proptest::collection::vec(proptest::sample::select(vec![
        "FROM ", "RUN ", "COPY ", "ADD ", "ENV ", "ARG ", "LABEL ", "ONBUILD ", "HEALTHCHECK ", "SHELL ", "CMD ",
        "VOLUME ", "EXPOSE ", "--mount=", "type=cache,target=/x", "--from=", "--chown", "--", "<<EOF", "<<-'E'", "EOF",
        "E", "\n", "\n", "\\\n", "\\", "`", "# escape=`\n", "# c", " ", "\t", "a", "é", "\u{301}", "=", "\"", "'", "[",
        "]", ",", "$x", "${x:-", "}", "as", "AS b", "\r\n", "/", "1s", "NONE",
    ]), 0..60)) {
        let text = parts.concat();
        match Buildfile::parse("f", text.as_bytes()) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(file) => for stage in &file.stages {
                prop_assert!(stage.span.start <= stage.span.end);
                for instruction in &stage.instructions {
                    prop_assert!(instruction.span.start <= instruction.span.end, "{:?}", instruction);
                }
            },
        }
    }

    /// The expander ends and does not panic either.
    #[test]
    fn expansion_never_panics(text in "[$\\{\\}:#%/*?a-c'\"\\\\ +=-]{0,40}") {
        let lookup = |name: &str| (name == "a").then(|| "b/c".to_owned());
        let _ = crate::buildfile::Expander::new('\\').expand(&text, &lookup);
    }
}
