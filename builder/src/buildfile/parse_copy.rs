//! COPY and ADD: flags, sources, inline documents and destination.

use super::diagnostic::Diagnostic;
use super::instruction::{Copy, Heredoc};
use super::parser::Parser;
use super::words::{self, Json, Word};

/// Parses the arguments of COPY or ADD.
pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Copy, Box<Diagnostic>> {
    let add = parser.keyword == "ADD";
    let mut copy = Copy { add, ..Copy::default() };
    copy.chown = parser.take_value("chown")?.map(|(value, _)| value);
    copy.chmod = parser.take_value("chmod")?.map(|(value, _)| value);
    copy.link = parser.take_switch("link")?.unwrap_or(false);
    for flag in parser.take_flags("exclude") {
        let pattern = flag.value.filter(|pattern| !pattern.is_empty());
        copy.exclude.push(pattern.ok_or_else(|| parser.at(flag.start, flag.end, "--exclude needs a pattern"))?);
    }
    if add {
        copy.checksum = parser.take_value("checksum")?.map(|(value, _)| value);
        copy.keep_git_dir = parser.take_switch("keep-git-dir")?;
        copy.unpack = parser.take_switch("unpack")?;
        parser.no_more_flags(&["chown", "chmod", "link", "exclude", "checksum", "keep-git-dir", "unpack"])?;
    } else {
        copy.from = parser.take_value("from")?.map(|(value, _)| value);
        copy.parents = parser.take_switch("parents")?.unwrap_or(false);
        parser.no_more_flags(&["from", "chown", "chmod", "link", "exclude", "parents"])?;
    }
    let mut words = match words::json_array(parser.rest()) {
        Json::Strings(texts) => {
            let (start, end) = (parser.arguments, parser.line.text.len());
            texts.into_iter().map(|text| Word { text, start, end }).collect()
        }
        Json::Others => return Err(parser.about_arguments("the JSON array must hold strings only")),
        Json::No | Json::Broken => words::fields(&parser.line.text, parser.arguments),
    };
    let destination = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        let problem = parser.about_arguments(format!("{} needs a source and a destination", parser.keyword));
        Box::new(problem.hint(format!("{} SOURCE… DESTINATION", parser.keyword)))
    })?;
    if Heredoc::announced_by(&destination.text).is_some() && !parser.line.heredocs.is_empty() {
        return Err(parser.at(destination.start, destination.end, "a heredoc cannot be the destination"));
    }
    let sources = sources(parser, &words, &mut copy)?;
    if words.len() > 1 && !copy.parents && !destination.text.ends_with('/') && !is_dot(&destination.text) {
        // Variables in it may still end in a slash: that case is judged again once they are known.
        if !destination.text.contains('$') {
            let message = format!("with several sources the destination of {} is a directory", parser.keyword);
            let problem = parser.at(destination.start, destination.end, message);
            return Err(Box::new(problem.hint(format!("write {}/", destination.text))));
        }
    }
    copy.sources = sources;
    copy.destination = destination.text;
    Ok(copy)
}

/// Whether a destination is a directory without a trailing slash saying so.
fn is_dot(path: &str) -> bool {
    matches!(path, "." | "..") || path.ends_with("/.") || path.ends_with("/..")
}

/// Parts the words into inline documents and ordinary sources.
fn sources(parser: &Parser<'_>, words: &[Word], copy: &mut Copy) -> Result<Vec<String>, Box<Diagnostic>> {
    let mut plain = Vec::new();
    let mut documents = parser.line.heredocs.iter();
    for word in words {
        let announced = Heredoc::announced_by(&word.text).filter(|_| !parser.line.heredocs.is_empty());
        match announced {
            None if word.text.is_empty() => {
                return Err(parser.at(word.start, word.end, "a source cannot be empty"));
            }
            None => plain.push(word.text.clone()),
            Some(_) => match documents.next() {
                Some(document) => copy.documents.push(document.clone()),
                None => return Err(parser.at(word.start, word.end, "this heredoc has no content")),
            },
        }
    }
    let from = copy.from.as_deref().filter(|_| !copy.documents.is_empty());
    if let Some(from) = from {
        return Err(parser.whole(format!("a heredoc cannot be copied from {from}")));
    }
    Ok(plain)
}
