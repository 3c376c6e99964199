//! `img image tree` and `img image diff`: images beside one another.

use std::process::ExitCode;

use clap::Args;

use super::Run;
use crate::config::Context;
use crate::engine::compare::{Difference, TreeNode};
use crate::error::Result;
use crate::ui::{self, human};

/// Longest instruction shown, in characters.
const INSTRUCTION_MAX: usize = 60;

/// Show the layers of images as a tree
///
/// Every layer stands below the one it lies on, with the names of the images that end there. A layer that several images
/// have is kept once; those that share it at another place of the tree are counted too. Without an image, all are shown.
#[derive(Args)]
pub struct ImageTree {
    /// The image, by name or id
    image: Option<String>,
    /// Also show the images that stand on it
    #[arg(long, requires = "image")]
    whatrequires: bool,
    /// Print as `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["json"], hide_possible_values = true)]
    format: Option<String>,
}

impl Run for ImageTree {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let roots = context.engine()?.layer_tree(self.image.as_deref(), self.whatrequires)?;
        if self.format.is_some() {
            ui::outln(serde_json::to_string(&roots)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        for root in &roots {
            print(root, "", "")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a layer and what stands on it.
fn print(node: &TreeNode, first: &str, rest: &str) -> Result<()> {
    let words: String = node.created_by.chars().take(INSTRUCTION_MAX).collect();
    let shared = if node.shared_by > 1 { format!("  shared by {} images", node.shared_by) } else { String::new() };
    let images = if node.images.is_empty() { String::new() } else { format!("  [{}]", node.images.join(", ")) };
    let line = format!("{}  {}{shared}{images}  {words}", node.layer.short(), human::size(node.size));
    ui::outln(format_args!("{first}{}", ui::Escaped(line.trim_end())))?;
    for (at, child) in node.children.iter().enumerate() {
        let last = at + 1 == node.children.len();
        let (branch, trunk) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        print(child, &format!("{rest}{branch}"), &format!("{rest}{trunk}"))?;
    }
    Ok(())
}

/// List what one image has other than another one
///
/// A is only in the second image, D only in the first, C in both but not alike: of another type, content, mode, owner or with
/// other attributes. Files of equal size are compared by their bytes. With one image, what its uppermost layer changed. What was
/// found before a file could not be read is printed, as a whole array with `--format json`; the exit code is 1 then.
#[derive(Args)]
pub struct ImageDiff {
    /// The image that is compared with
    first: String,
    /// The image that is looked at
    second: Option<String>,
    /// Files that differ in nothing but their time count too
    #[arg(long)]
    times: bool,
    /// Print as `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["json"], hide_possible_values = true)]
    format: Option<String>,
}

impl Run for ImageDiff {
    fn run(self, context: &Context) -> Result<ExitCode> {
        runner::return_large_blocks();
        let engine = context.engine()?;
        let compare = |found: &mut dyn FnMut(Difference) -> Result<()>| {
            engine.compare_images(&self.first, self.second.as_deref(), self.times, found)
        };
        // Printed as they are found: there may be a million of them.
        if self.format.is_none() {
            compare(&mut |difference| {
                let line = format_args!("{} {}", difference.kind, ui::Escaped(&difference.path)).to_string();
                ui::outln(format_args!("{line}{}", remark(&difference)))
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        print_array(compare, &mut |text| ui::out(text))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints differences as a JSON array while they come. A failure half way leaves a whole array, one before the first nothing.
fn print_array(
    compare: impl FnOnce(&mut dyn FnMut(Difference) -> Result<()>) -> Result<()>,
    out: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    let mut before = "[";
    let compared = compare(&mut |difference| {
        let before = std::mem::replace(&mut before, ",");
        out(&format!("{before}{}", serde_json::to_string(&difference)?))
    });
    let closed = match (&compared, before) {
        (Err(_), "[") => Ok(()),
        (Ok(()), "[") => out("[]\n"),
        _ => out("]\n"),
    };
    compared.and(closed)
}

/// What stands behind the path.
fn remark(difference: &Difference) -> String {
    let size = match (difference.size_before, difference.size) {
        (Some(before), Some(now)) if before != now => format!("{} → {}", human::size(before), human::size(now)),
        (Some(size), None) if difference.kind == 'D' => human::size(size),
        (None, Some(size)) if difference.kind == 'A' => human::size(size),
        _ => String::new(),
    };
    let words = [size, difference.what.join(", ")].into_iter().filter(|word| !word.is_empty());
    let words: Vec<String> = words.collect();
    if words.is_empty() { String::new() } else { format!("  ({})", words.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CommandError;

    /// What is printed when so many differences are found before the end or a failure.
    fn printed(found: u64, fails: bool) -> (String, bool) {
        let mut text = String::new();
        let result = print_array(
            |take| {
                for size in 0..found {
                    let (size, path) = (Some(size), "/a".to_owned());
                    take(Difference { kind: 'A', path, size_before: None, size, what: Vec::new() })?;
                }
                if fails { Err(CommandError::new("cannot read")) } else { Ok(()) }
            },
            &mut |piece| {
                text += piece;
                Ok(())
            },
        );
        (text, result.is_err())
    }

    #[test]
    fn an_array_is_whole_whatever_happens() {
        assert_eq!(printed(0, false), ("[]\n".to_owned(), false));
        assert_eq!(printed(0, true), (String::new(), true));
        for fails in [false, true] {
            let (text, failed) = printed(2, fails);
            assert_eq!(failed, fails);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()[1]["Size"], 1);
            assert!(text.ends_with("]\n"));
        }
    }
}
