//! The tripwire, on whole builds: each way by which a secret gets into an image, with the line that did it.

use super::Bench;
use crate::error::BuildError;
use crate::event::Event;
use crate::tripwire::{Leak, Tripwire, Watched};

const SECRET: &str = "tok3n-Of-npm!";

fn bench() -> Bench {
    let mut bench = Bench::new(&[("src/.npmrc", "//r/:_authToken=tok3n-Of-npm!\n"), ("plain", "nothing here\n")]);
    let watched = |name: &str, text: &str| Watched { name: name.to_owned(), bytes: text.as_bytes().into() };
    bench.options.watched = vec![watched("secret \"npm\"", &format!("{SECRET}\n")), watched("secret \"pin\"", "1234")];
    bench
}

fn leaks(bench: &mut Bench, buildfile: &str) -> Vec<Leak> {
    match bench.fail(buildfile) {
        BuildError::Leak(leaks) => leaks,
        other => panic!("{other:?}"),
    }
}

#[test]
fn six_ways_of_leaking() {
    let mut bench = bench();
    for (buildfile, expected) in [
        ("FROM base\nCOPY src /app\n", "found in /app/.npmrc written by Buildfile:2"),
        ("FROM base\nWORKDIR /\nRUN write /log tok3n-Of-npm!\n", "found in /log written by Buildfile:3"),
        ("FROM base\nRUN write /b dG9rM24tT2YtbnBtIQ==\n", "found in /b (base64) written by Buildfile:2"),
        ("FROM base\nRUN write /b 746f6b336e2d4f662d6e706d21\n", "found in /b (hex) written by Buildfile:2"),
        ("FROM base\nRUN write /b t=tok3n-Of-npm%21\n", "found in /b (URL-encoded) written by Buildfile:2"),
        ("FROM base\nRUN write /tok3n-Of-npm! x\n", "found in /tok3n-Of-npm! written by Buildfile:2"),
    ] {
        let found = leaks(&mut bench, buildfile);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(told.contains(&format!("secret \"npm\" {expected}")), "{buildfile}: {told:?}");
        assert!(found.iter().all(|leak| leak.secret.contains("npm")), "four bytes are too few to look for");
    }
}

#[test]
fn history_variables_and_labels() {
    let mut bench = bench();
    bench.options.build_args = vec![("T".to_owned(), SECRET.to_owned())];
    let found = leaks(&mut bench, "FROM base\nARG T\nENV TOKEN=$T\nLABEL l=x$T\n");
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "secret \"npm\" found in the history written by Buildfile:3",
            "secret \"npm\" found in ENV TOKEN written by Buildfile:4",
            "secret \"npm\" found in Labels l of the config written by Buildfile:4",
        ]
    );
    assert!(bench.store.images().list().unwrap().is_empty(), "no image came of it");
}

#[test]
fn deleted_later_is_leaked_all_the_same_and_other_stages_do_not_count() {
    let mut bench = bench();
    let found = leaks(&mut bench, "FROM base\nRUN write /k tok3n-Of-npm!\nRUN remove /k\n");
    assert_eq!(found[0].line, Some(2));
    bench.build("FROM base AS one\nRUN write /k prefix\nCOPY src /app\nFROM base\nCOPY --from=one /k /k\nRUN write /x tok3n-Of\n");
}

#[test]
fn warn_and_off() {
    let mut bench = bench();
    let text = "FROM base\nCOPY src /app\n";
    bench.options.tripwire = Tripwire::Warn;
    let output = bench.build(text);
    assert_eq!(output.warnings.len(), 1);
    assert_eq!(output.warnings[0].message, "secret \"npm\" found in /app/.npmrc written by Buildfile:2");
    assert_eq!((output.warnings[0].rule.name(), output.warnings[0].span.start.line), ("SecretFound", 2));
    bench.options.tripwire = Tripwire::Off;
    assert!(bench.build(text).warnings.is_empty());
    let told = bench.events.lock().unwrap().iter().filter(|event| matches!(event, Event::Warning(_))).count();
    assert_eq!(told, 0);
}
