//! COPY and ADD with their variables replaced.

use super::dispatch::Dispatch;
use super::lint;
use super::stages::Planner;
use super::{CopyOp, Op};
use crate::buildfile::{Copy, Expander, Instruction, Rule, Warning};
use crate::error::BuildError;
use crate::op::chmod::Chmod;
use crate::op::select::components;

impl Planner<'_> {
    pub(super) fn copy(
        &mut self,
        index: usize,
        stage: &mut Dispatch,
        instruction: &Instruction,
        copy: &Copy,
    ) -> Result<(), BuildError> {
        let keyword = if copy.add { "ADD" } else { "COPY" };
        let mut op = CopyOp { parents: copy.parents, link: copy.link, ..CopyOp::default() };
        let mut shown = keyword.to_owned();
        if let Some(from) = &copy.from {
            op.from = Some(self.source(from, index, instruction.span)?);
            shown.push_str(&format!(" --from={from}"));
        }
        if copy.checksum.is_some() {
            return Err(
                self.wrong(instruction, "ADD --checksum is for sources on the net, which are not supported yet")
            );
        }
        if copy.keep_git_dir.is_some() {
            return Err(self.wrong(instruction, "ADD --keep-git-dir is for git sources, which are not supported yet"));
        }
        if let Some(chown) = &copy.chown {
            let chown = self.expand(stage, instruction, chown)?;
            shown.push_str(&format!(" --chown={chown}"));
            op.chown = Some(chown).filter(|chown| !chown.is_empty());
        }
        if let Some(chmod) = &copy.chmod {
            let chmod = self.expand(stage, instruction, chmod)?;
            shown.push_str(&format!(" --chmod={chmod}"));
            if !chmod.is_empty() {
                op.chmod = Some(Chmod::parse(&chmod).map_err(|message| self.wrong(instruction, message))?);
            }
        }
        for (flag, given) in [("--parents", copy.parents), ("--link", copy.link)] {
            if given {
                shown.push_str(&format!(" {flag}"));
            }
        }
        for pattern in &copy.exclude {
            let pattern = self.expand(stage, instruction, pattern)?;
            shown.push_str(&format!(" --exclude={pattern}"));
            op.exclude.push(pattern);
        }
        op.unpack = copy.unpack.unwrap_or(copy.add);
        for source in &copy.sources {
            let source = self.expand(stage, instruction, source)?;
            self.check_source(instruction, keyword, &source)?;
            if copy.from.is_none() {
                self.warnings.extend(lint::ignored_source(self.ignore, keyword, &source, instruction.span));
            }
            shown.push_str(&format!(" {source}"));
            op.sources.push(source);
        }
        for document in &copy.documents {
            let mut text = document.text();
            if document.expand {
                let how = Expander { ignore_quotes: true, ..Expander::new('\\') };
                text = self.expand_with(how, stage, instruction, &text)?.text;
            }
            let name = document.name.clone();
            if name.contains('/') || matches!(name.as_str(), "." | "..") {
                return Err(self.wrong(instruction, format!("the heredoc {name} cannot be the name of a file")));
            }
            shown.push_str(&format!(" <<{name}"));
            op.documents.push((name, text.into_bytes()));
        }
        let destination = self.expand(stage, instruction, &copy.destination)?;
        op.destination = stage.absolute(&destination);
        let several = op.sources.len() + op.documents.len() > 1;
        if several && !copy.parents && !op.destination.ends_with('/') {
            let message = format!("with several sources the destination of {keyword} is a directory");
            let problem = self.problem(instruction.span, message).hint(format!("write {destination}/"));
            return Err(BuildError::Buildfile(Box::new(problem)));
        }
        shown.push_str(&format!(" {destination}"));
        stage.step(instruction, shown.clone(), shown, Op::Copy(Box::new(op)));
        Ok(())
    }

    fn check_source(&mut self, instruction: &Instruction, keyword: &str, source: &str) -> Result<(), BuildError> {
        if source.is_empty() {
            return Err(self.wrong(instruction, format!("a source of {keyword} is empty")));
        }
        if is_remote(source) {
            return Err(match keyword {
                "ADD" => self.wrong(instruction, format!("ADD from the net is not supported yet: {source}")),
                _ => {
                    let problem = self.problem(instruction.span, format!("COPY takes no URL: {source}"));
                    BuildError::Buildfile(Box::new(problem.hint("ADD fetches from the net")))
                }
            });
        }
        if components(source).1 {
            let message = format!("{source} leads out of its root, where it is cut off");
            self.warnings.push(Warning::new(Rule::Unused, instruction.span, message));
        }
        Ok(())
    }
}

/// Whether a source is on the net: a URL, or git's own form for ssh.
fn is_remote(source: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://", "git@"];
    schemes.iter().any(|scheme| source.starts_with(scheme))
}
