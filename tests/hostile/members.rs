//! Layers of very many members. What the program remembers of a member is what bounds them, not their bytes: 120,000 empty
//! files are taken within the memory that every row is held to. docs/limits.md has what more of them take.

use crate::archive;
use crate::case::{Case, Input, Outcome};
use crate::tar::{Head, Tar};

/// Members of the large layer.
const MANY: u32 = 120_000;

/// The rows.
pub fn cases(_canary: &str) -> Vec<Case> {
    let make = |at: &std::path::Path| {
        let mut tar = Tar::new();
        for n in 0..MANY {
            tar = tar.put(Head::new(b'0', format!("d{:04}/f{n:07}", n / 1000)), "");
        }
        let tar = tar.end();
        std::fs::write(at, archive::image(&Tar::new().file("x", "x").end(), &tar, &tar)).unwrap();
    };
    vec![Case {
        name: "files".to_owned(),
        rule: "a layer of 120,000 files is taken within the memory of any other",
        input: Input::Made(Box::new(make)),
        outcome: Outcome::Taken(vec!["f 644 0:0 0 d0000/f0000000".to_owned(), "f 644 0:0 0 d0119/f0119999".to_owned()]),
    }]
}
