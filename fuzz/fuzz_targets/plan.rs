//! An OCI `config.json` and the plan of it: every path that the child is to touch is absolute and leads nowhere above the root.

pub fn run(bytes: &[u8]) {
    let Some((staged, json)) = bytes.split_first() else { return };
    let Some(plan) = runner::fuzzing::plan(json, staged & 1 == 1) else { return };
    assert!(plan.contains("execute the program"));
}
