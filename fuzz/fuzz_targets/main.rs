//! One binary with every fuzz target, each a file beside this one; `FUZZ_TARGET` names the one to run.
//!
//! What takes long in building targets is not their few lines but what is linked to them, which is the same for all. A new
//! target is a file with `pub fn run(bytes: &[u8])`, its name in the list below and a few inputs in `fuzz/seeds`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// What runs one input.
type Run = fn(&[u8]);

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        /// Every target, by the name of its file.
        const TARGETS: &[(&str, Run)] = &[$((stringify!($name), $name::run)),*];
    };
}

targets![
    buildfile, challenge, detach_keys, dialogue, digest, docker_config, elf, erofs, expand, frame, ignore, image_config, inflate,
    layer_tar, layer_toc, manifest, names, plan, reference, registry_error, run_flags, seccomp, state,
];

static CHOSEN: OnceLock<Run> = OnceLock::new();

fuzz_target!(init: choose(), |bytes: &[u8]| {
    let run = CHOSEN.get().expect("chosen before the first input");
    run(bytes);
});

/// Takes the target that `FUZZ_TARGET` names; ends the process if there is none of that name.
fn choose() {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some((_, run)) = TARGETS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = TARGETS.iter().map(|(known, _)| *known).collect();
        eprintln!("error: FUZZ_TARGET names no fuzz target: '{name}'\nhint: there are {}", known.join(" "));
        std::process::exit(1);
    };
    CHOSEN.get_or_init(|| *run);
}

/// The text that `bytes` begin with.
fn text(bytes: &[u8]) -> &str {
    bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}
