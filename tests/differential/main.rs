//! Two builders, one language: Buildfiles built by `img` and by docker's BuildKit, the images compared in everything
//! that means something. `cases/` is the table of rules; `compare` says what is left out of the comparison, and why.
//! Needs root, dockerd with BuildKit and skopeo. `DIFFERENTIAL=name,name` picks cases.

// Assertions and skip lines of helpers are a test's output; clippy's exception for tests stops at `#[test]` functions.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod support;

mod case;
mod commandline;
mod compare;
mod context;
mod docker;
mod image;
mod suite;

use std::collections::BTreeSet;

use docker::Docker;
use suite::Suite;
use support::skip;

/// Layer by layer, as BuildKit has it.
const UNFOLDED: &[&str] = &["--no-fold"];

/// Fewest rules that the table must have.
const RULES: usize = 150;

#[test]
fn the_table_has_a_rule_for_each_case() {
    let cases = case::all();
    let rules: BTreeSet<&str> = cases.iter().map(|case| case.rule.as_str()).collect();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases of one name");
    assert!(rules.len() >= RULES, "{} rules", rules.len());
}

/// A suite that cannot fail proves nothing: each rule that `builder` can break on purpose (in debug builds) must show in
/// the case that is said to notice it, and in that case alone nothing else must show.
#[test]
fn a_broken_rule_is_noticed() {
    if !Docker::is_there() {
        skip!("no dockerd here");
    }
    if std::env::var_os("IMG_TEST_BINARY").is_some() {
        skip!("the binary under test may be a release, which breaks nothing");
    }
    let mut cases = case::all();
    cases.retain(|case| builder::mutation::ALL.iter().any(|(_, noticed_by)| case.name == *noticed_by));
    let suite = Suite::new(&cases);
    let theirs = suite.theirs(&cases);
    let whole = suite::differences(&cases, &suite.ours(&cases, &[], UNFOLDED), &theirs, compare::differences);
    assert!(whole.is_empty(), "{whole:?}");
    let mut unnoticed = Vec::new();
    for (rule, noticed_by) in builder::mutation::ALL {
        let one: Vec<_> = cases.iter().filter(|case| case.name == noticed_by).cloned().collect();
        assert_eq!(one.len(), 1, "there is no case {noticed_by}");
        let ours = suite.ours(&one, &[("IMG_TEST_BREAK", rule)], &["--no-cache", "--no-fold"]);
        if suite::differences(&one, &ours, &theirs, compare::differences).is_empty() {
            unnoticed.push(rule);
        }
    }
    assert!(unnoticed.is_empty(), "broken, and not noticed: {unnoticed:?}");
}

#[test]
fn both_builders_make_the_same_images() {
    if !Docker::is_there() {
        skip!("no dockerd here");
    }
    let mut cases = case::all();
    if let Ok(only) = std::env::var("DIFFERENTIAL") {
        let only: Vec<&str> = only.split(',').collect();
        cases.retain(|case| only.iter().any(|name| case.name == *name || case.topic == *name));
    }
    let suite = Suite::new(&cases);
    let theirs = suite.theirs(&cases);
    let ours = suite.ours(&cases, &[], UNFOLDED);
    let mut found = suite::differences(&cases, &ours, &theirs, compare::differences);
    // Folding has other layers and another history, and the very same files.
    let folded = suite.ours(&cases, &[], &[]);
    for (name, lines) in suite::differences(&cases, &folded, &theirs, compare::tree_differences) {
        found.entry(name).or_default().extend(lines.into_iter().map(|line| format!("folded: {line}")));
    }
    for (name, lines) in &found {
        let case = cases.iter().find(|case| case.name == *name).expect("a case");
        eprintln!("=== {name} ({})\n{}", case.rule, case.text);
        lines.iter().for_each(|line| eprintln!("    {line}"));
    }
    assert!(found.is_empty(), "{} of {} cases differ: {:?}", found.len(), cases.len(), found.keys());
}

/// Fewest rules of the command line that the table must have.
const COMMAND_RULES: usize = 100;

#[test]
fn both_command_lines_do_the_same() {
    let mut cases = commandline::all();
    let rules: BTreeSet<&str> = cases.iter().map(|case| case.rule.as_str()).collect();
    assert!(rules.len() >= COMMAND_RULES, "{} rules", rules.len());
    if !Docker::is_there() {
        skip!("no dockerd here");
    }
    if let Ok(only) = std::env::var("DIFFERENTIAL") {
        cases.retain(|case| only.split(',').any(|name| case.name == name));
    }
    let ours = commandline::Ours::new().transcripts(&cases, None);
    let mut theirs = commandline::theirs(&cases, Docker::shared());
    // docker 20.10 loses the last lines of `logs` for a moment on a busy machine. What `img` printed stays as it is.
    for _ in 0..2 {
        let again = commandline::differing(&cases, &ours, &theirs);
        again.iter().for_each(|case| eprintln!("docker is asked again: {}", case.name));
        theirs.extend(commandline::theirs(&again, Docker::shared()));
    }
    let found = commandline::differences(&cases, &ours, &theirs);
    found.iter().for_each(|text| eprintln!("{text}"));
    assert!(found.is_empty(), "{} of {} cases differ", found.len(), cases.len());
}

/// Each rule that a wrapper around `img` breaks must show in the case that is said to notice it.
#[test]
fn a_broken_command_line_is_noticed() {
    let all = commandline::all();
    let ours = commandline::Ours::new();
    let mut unnoticed = Vec::new();
    for (broken, noticed_by) in commandline::BROKEN {
        let one: Vec<_> = all.iter().filter(|case| case.name == *noticed_by).cloned().collect();
        assert_eq!(one.len(), 1, "there is no case {noticed_by}");
        // What is right is what `img` prints unbroken: that this is docker's too, the other test says.
        if ours.transcripts(&one, None) == ours.transcripts(&one, Some(&broken.wrapper())) {
            unnoticed.push(noticed_by);
        }
    }
    assert!(unnoticed.is_empty(), "broken, and not noticed: {unnoticed:?}");
}
