//! Hostile inputs: layers, archives, build contexts and registries made to break out, to lie or to exhaust, each a row of
//! a table with its rule and what must come of it. The real binary takes them, with both storage drivers where that
//! matters; `ground` says what must hold after each. docs/hostile-inputs.md lists the classes.

// Assertions of helpers are a test's output; clippy's exception for tests stops at `#[test]` functions.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros)]
mod support;

mod archive;
mod archives_docker;
mod archives_oci;
mod case;
mod compression;
mod contexts;
mod copies;
mod forms;
mod ground;
mod numbers;
mod paths;
mod pax;
mod registry;
mod sparse;
#[allow(dead_code)]
mod tar;
mod tars;
mod whiteouts;

use std::collections::BTreeSet;

use case::Case;
use ground::Ground;

type Table = (&'static str, fn(&str) -> Vec<Case>);

/// Tables of layers, which both drivers take.
const LAYERS: [Table; 6] = [
    ("paths", paths::cases),
    ("whiteouts", whiteouts::cases),
    ("pax", pax::cases),
    ("sparse", sparse::cases),
    ("numbers", numbers::cases),
    ("forms", forms::cases),
];

/// The rows of tables, or those that `HOSTILE` in the environment names a part of.
fn rows(tables: &[Table], ground: &Ground) -> Vec<Case> {
    let part = std::env::var("HOSTILE").unwrap_or_default();
    let named = tables.iter().flat_map(|(table, cases)| {
        let of_table = cases(&ground.canary()).into_iter();
        of_table.map(move |case| Case { name: format!("{table}/{}", case.name), ..case })
    });
    named.filter(|case| case.name.contains(&part)).collect()
}

fn try_layers(driver: &str) {
    let ground = Ground::new(driver);
    ground.try_all(&rows(&LAYERS, &ground));
}

#[test]
fn layers_as_erofs() {
    try_layers("erofs");
}

#[test]
fn layers_as_directories() {
    try_layers("dir");
}

/// Tables of archives, which have nothing to do with the driver.
const ARCHIVES: [Table; 3] = [
    ("compression", compression::cases),
    ("docker-archive", archives_docker::cases),
    ("oci-archive", archives_oci::cases),
];

#[test]
fn archives() {
    let ground = Ground::new("erofs");
    ground.try_all(&rows(&ARCHIVES, &ground));
}

#[test]
fn contexts() {
    let ground = Ground::new("erofs");
    ground.try_all(&rows(&[("context", contexts::cases)], &ground));
}

#[test]
fn copies() {
    let ground = Ground::new("erofs");
    ground.try_all(&rows(&[("copy", copies::cases)], &ground));
}

#[test]
fn registry_contents() {
    registry::try_all(&registry::pulls()[0], &["pull", "--quiet"]);
}

#[test]
fn registry_documents() {
    registry::try_all(&registry::pulls()[1], &["pull", "--quiet"]);
}

#[test]
fn registry_transport() {
    registry::try_all(&registry::pulls()[2], &["pull", "--quiet"]);
}

#[test]
fn registry_authorization() {
    registry::try_all(&registry::pulls()[3], &["pull", "--quiet"]);
}

#[test]
fn registry_pushes() {
    registry::try_all(&registry::pushes(), &["push"]);
}

#[test]
fn tars_are_what_gnu_tar_makes_of_them() {
    tars::try_all();
}

/// As many rules as the documentation says, rows that prove the same one counted once.
#[test]
fn rules_are_counted_once() {
    let all = [&LAYERS[..], &ARCHIVES, &[("context", contexts::cases), ("copy", copies::cases)]].concat();
    let mut rules = BTreeSet::new();
    for (table, cases) in all {
        let cases = cases("/canary");
        eprintln!("{table}: {} rows", cases.len());
        rules.extend(cases.iter().map(|case| case.rule));
    }
    eprintln!("{} rules of layers, archives and contexts", rules.len());
    assert!(rules.len() >= 300);
    let mut rules = BTreeSet::new();
    for (table, rows) in ["contents", "documents", "transport", "authorization"].iter().zip(registry::pulls()) {
        eprintln!("registry {table}: {} rows", rows.len());
        rules.extend(rows.iter().map(|row| row.rule));
    }
    let pushes = registry::pushes();
    eprintln!("registry pushes: {} rows", pushes.len());
    rules.extend(pushes.iter().map(|row| row.rule));
    eprintln!("{} misbehaviours of registries", rules.len());
    assert!(rules.len() >= 150);
}
