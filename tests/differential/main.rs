//! Two builders, one language: Buildfiles built by `img` and by docker's BuildKit, the images compared in everything
//! that means something. `cases/` is the table of rules; `compare` says what is left out of the comparison, and why.
//! Needs root, dockerd with BuildKit and skopeo. `DIFFERENTIAL=name,name` picks cases.

// Assertions and skip lines of helpers are a test's output; clippy's exception for tests stops at `#[test]` functions.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod support;

mod case;
mod compare;
mod context;
mod docker;
mod image;
mod suite;

use std::collections::BTreeSet;

use docker::Docker;
use suite::Suite;
use support::skip;

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
    let ours = suite.ours(&cases, &[], &[]);
    let found = suite::differences(&cases, &ours, &theirs);
    for (name, lines) in &found {
        let case = cases.iter().find(|case| case.name == *name).expect("a case");
        eprintln!("=== {name} ({})\n{}", case.rule, case.text);
        lines.iter().for_each(|line| eprintln!("    {line}"));
    }
    assert!(found.is_empty(), "{} of {} cases differ: {:?}", found.len(), cases.len(), found.keys());
}
