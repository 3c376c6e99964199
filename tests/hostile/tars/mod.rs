//! Differential: tars made at random are layers, and what `img` mounts of them is what GNU tar unpacks as root: types,
//! modes, owners, times, attributes, links, devices and content. Both drivers, and so each other's. A hundred tars are
//! tried at once, each a layer of one image with a directory of its own; five of each hundred are cut, and refused.
//!
//! `TARS=10000` tries so many (`scripts/tars`), `TARS_SEED` others than usual.

mod generate;

use std::path::PathBuf;

use crate::archive::{Layout, config, manifest};
use crate::support::{Sandbox, tools, tree};
use generate::Chance;

/// Tars of one round: layers, and those that are cut.
const LAYERS: usize = 95;
const CUT: usize = 5;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Tries as many tars as are wanted.
pub fn try_all() {
    let (wanted, seed) = (number("TARS", 400), number("TARS_SEED", 1));
    let stores = ["erofs", "dir"].map(|driver| {
        let sandbox = Sandbox::new();
        let usual = std::fs::read_to_string(sandbox.path("config.toml")).unwrap();
        sandbox.write("config.toml", format!("storage-driver = \"{driver}\"\n\n{usual}"));
        sandbox
    });
    let mut members = 0;
    for round in 0..wanted.div_ceil((LAYERS + CUT) as u64) {
        let mut chance = Chance::new(seed.wrapping_mul(1_000_003).wrapping_add(round));
        let tars: Vec<Vec<u8>> = (0..LAYERS).map(|n| generate::tar(&mut chance, &format!("t{n}"))).collect();
        members += compare(&stores, &tars, round);
        for sandbox in &stores {
            for _ in 0..CUT {
                let tar = &tars[chance.below(tars.len())];
                let at = chance.below(tar.len().min(4096)) | 1;
                let cut = sandbox.write("cut.tar", &tar[..at]);
                sandbox.img(&["import", &cut, "cut"]).refuses(1, &["cut short"]);
            }
        }
    }
    assert!(members > 1000, "only {members} files were compared");
    eprintln!("{members} files of {wanted} tars compared");
}

/// Compares one round; how many files there were.
fn compare(stores: &[Sandbox; 2], tars: &[Vec<u8>], round: u64) -> usize {
    let expected = stores[0].path("expected");
    std::fs::create_dir(&expected).unwrap();
    for tar in tars {
        let tar = stores[0].write("one.tar", tar);
        tools::untar(tar.as_ref(), &expected);
    }
    let layers: Vec<&[u8]> = tars.iter().map(Vec::as_slice).collect();
    let config = config(&layers);
    let mut layout = Layout::new().blob(config.to_string());
    for layer in &layers {
        layout = layout.blob(layer);
    }
    let archive = layout.image(&manifest(&config, &layers));
    for (driver, sandbox) in ["erofs", "dir"].iter().zip(stores) {
        let given = sandbox.write("given", &archive);
        sandbox.img(&["load", "--quiet", "--input", &given]).ok();
        let root = PathBuf::from(sandbox.ok(&["image", "mount", "hostile"]));
        let lines = tree::differences(&root, &expected, &[]);
        assert!(lines.is_empty(), "round {round}, {driver} on the left, GNU tar on the right:\n{}", lines.join("\n"));
        sandbox.img(&["image", "unmount", "hostile"]).ok();
        sandbox.ok(&["rmi", "--force", "hostile"]);
        sandbox.img(&["system", "prune", "--all", "--force"]).ok();
    }
    let found = tools::run("find", [expected.as_os_str()]).stdout().lines().count();
    std::fs::remove_dir_all(&expected).unwrap();
    found
}
