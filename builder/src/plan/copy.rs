//! COPY and ADD with their variables replaced.

use super::dispatch::Dispatch;
use super::lint;
use super::stages::Planner;
use super::{CopyOp, Op, Source};
use crate::buildfile::{Copy, Expander, Instruction, Rule, Warning};
use crate::error::BuildError;
use crate::git::{self, GitSource};
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
            op.from = self.source(from, index, instruction.span)?;
            shown.push_str(&format!(" --from={from}"));
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
        op.unpack_remote = copy.unpack.unwrap_or(false);
        let mut remote = RemoteFlags { keep_git_dir: copy.keep_git_dir, checksum: None };
        if let Some(checksum) = &copy.checksum {
            let checksum = self.expand(stage, instruction, checksum)?;
            shown.push_str(&format!(" --checksum={checksum}"));
            remote.checksum = Some(checksum).filter(|checksum| !checksum.is_empty());
        }
        if remote.checksum.is_some() && copy.sources.len() + copy.documents.len() != 1 {
            return Err(self.wrong(instruction, "ADD --checksum is for one source"));
        }
        if let Some(unpack) = copy.unpack {
            shown.push_str(&format!(" --unpack={unpack}"));
        }
        if let Some(keep) = copy.keep_git_dir {
            shown.push_str(&format!(" --keep-git-dir={keep}"));
        }
        for source in &copy.sources {
            let source = self.expand(stage, instruction, source)?;
            if copy.from.is_none() {
                self.warnings.extend(lint::ignored_source(self.ignore, keyword, &source, instruction.span));
            }
            shown.push_str(&format!(" {source}"));
            op.sources.push(self.copy_source(instruction, keyword, source, &remote)?);
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

    /// What a source as written is.
    fn copy_source(
        &mut self,
        instruction: &Instruction,
        keyword: &str,
        source: String,
        flags: &RemoteFlags,
    ) -> Result<Source, BuildError> {
        if source.is_empty() {
            return Err(self.wrong(instruction, format!("a source of {keyword} is empty")));
        }
        let is_git = git::is_git(&source);
        if (is_git || is_http(&source)) && keyword != "ADD" {
            let problem = self.problem(instruction.span, format!("COPY takes no URL: {source}"));
            return Err(BuildError::Buildfile(Box::new(problem.hint("ADD fetches from the net"))));
        }
        if is_git {
            let mut parsed = GitSource::parse(&source).map_err(|message| self.wrong(instruction, message))?;
            parsed.keep_git_dir = flags.keep_git_dir.unwrap_or(parsed.keep_git_dir);
            if let Some(checksum) = &flags.checksum {
                parsed.commit = Some(checksum.clone());
                // Judged as one that is part of the address.
                parsed.check_commit().map_err(|message| self.wrong(instruction, message))?;
            }
            return Ok(Source::Git(parsed));
        }
        if is_http(&source) {
            let checksum = match &flags.checksum {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| {
                    let problem = self.problem(instruction.span, format!("{text} is no checksum of a file"));
                    BuildError::Buildfile(Box::new(problem.hint("--checksum=sha256: and 64 hexadecimal digits")))
                })?),
            };
            return Ok(Source::Http { url: source, checksum });
        }
        if flags.checksum.is_some() {
            let problem = self.problem(instruction.span, format!("--checksum is for sources on the net, not {source}"));
            return Err(BuildError::Buildfile(Box::new(problem.hint("files of the context are always checked"))));
        }
        if components(&source).1 {
            let message = format!("{source} leads out of its root, where it is cut off");
            self.warnings.push(Warning::new(Rule::Unused, instruction.span, message));
        }
        Ok(Source::Path(source))
    }
}

/// Flags of ADD that are about sources on the net.
struct RemoteFlags {
    checksum: Option<String>,
    keep_git_dir: Option<bool>,
}

fn is_http(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}
