//! The cases: Buildfiles of our own in `cases/*.txt`, each under the rule of the language that it proves.
//!
//! ```text
//! ### name | the rule, in words
//! % args --build-arg A=1         more words for both builders
//! % ignore *.o                   a line of the ignore file (a case with one has a context of its own)
//! % crlf, % no-line-end          how the file's lines end
//! FROM scratch
//! --- twin                       optional: what the peer builds instead, where it is too old for the spelling
//! FROM scratch
//! ```

use std::path::Path;

/// One case.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Its name, which is also the tag.
    pub name: String,
    /// What it proves.
    pub rule: String,
    /// The file it stands in, without its ending.
    pub topic: String,
    /// Words for both builders.
    pub args: Vec<String>,
    /// The ignore file.
    pub ignore: String,
    /// Lines end in CR LF.
    pub crlf: bool,
    /// The last line has no end.
    pub no_line_end: bool,
    /// What `img` builds.
    pub text: String,
    /// What the peer builds, if it is something else.
    pub twin: Option<String>,
}

/// All cases, in the order of the files and of their lines.
pub fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/cases");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("the cases").map(|e| e.expect("a file").path()).collect();
    files.sort();
    let mut found: Vec<Case> = Vec::new();
    for file in files {
        let topic = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("a text");
        let mut in_twin = false;
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("### ") {
                let (name, rule) = head.split_once(" | ").unwrap_or_else(|| panic!("no rule: {line}"));
                found.push(Case {
                    name: name.trim().to_owned(),
                    rule: rule.trim().to_owned(),
                    topic: topic.clone(),
                    ..Case::default()
                });
                in_twin = false;
                continue;
            }
            // What stands before the first case is about the file.
            let Some(case) = found.last_mut().filter(|case| case.topic == topic) else { continue };
            if let Some(words) = line.strip_prefix("% args ") {
                case.args.extend(words.split_whitespace().map(str::to_owned));
            } else if let Some(pattern) = line.strip_prefix("% ignore ") {
                case.ignore.push_str(&format!("{pattern}\n"));
            } else if line == "% crlf" {
                case.crlf = true;
            } else if line == "% no-line-end" {
                case.no_line_end = true;
            } else if line == "--- twin" {
                in_twin = true;
                case.twin = Some(String::new());
            } else {
                let text = if in_twin { case.twin.as_mut().expect("begun") } else { &mut case.text };
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    for case in &mut found {
        let (crlf, no_line_end) = (case.crlf, case.no_line_end);
        // Blank lines between cases belong to none.
        for text in [Some(&mut case.text), case.twin.as_mut()].into_iter().flatten() {
            *text = text.trim_end().replace('\n', if crlf { "\r\n" } else { "\n" });
            text.push_str(if no_line_end { "" } else { "\n" });
        }
    }
    found
}
