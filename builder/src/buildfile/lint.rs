//! Rules about the file as it is written: casing, names, descriptions, and instructions that hide earlier ones. Rules
//! that need values (variables, base images, the ignore file) are the planner's, in `plan::lint`.

use super::instruction::{Instruction, Kind, Stage};
use super::lexer::Line;
use super::rule::Rule;
use super::warning::Warning;
use super::words;

/// All instructions in the case that most of them have; upper case if neither has the majority.
pub(super) fn casing(lines: &[Line], warnings: &mut Vec<Warning>) {
    let keywords = || lines.iter().map(|line| (words::keyword(&line.text).0, line));
    let lower = keywords().filter(|(word, _)| *word == word.to_ascii_lowercase()).count();
    let upper = keywords().filter(|(word, _)| *word == word.to_ascii_uppercase()).count();
    for (word, line) in keywords() {
        let (right, case) = if lower > upper {
            (word.to_ascii_lowercase(), "lowercase")
        } else {
            (word.to_ascii_uppercase(), "uppercase")
        };
        if word != right {
            let message = format!("Command '{word}' should match the case of the command majority ({case})");
            warnings.push(Warning::new(Rule::ConsistentInstructionCasing, line.span(0, word.len()), message));
        }
    }
}

/// Names that are reserved or used before. `stages` are the ones before `stage`.
pub(super) fn stage_name(stages: &[Stage], stage: &Stage, warnings: &mut Vec<Warning>) {
    let Some(name) = &stage.name else { return };
    if matches!(name.as_str(), "scratch" | "context") {
        let message = format!("Stage name should not use the same name as reserved stage \"{name}\"");
        warnings.push(Warning::new(Rule::ReservedStageName, stage.span, message));
    }
    if stages.iter().any(|other| other.name.as_ref() == Some(name)) {
        let message = format!("Duplicate stage name \"{name}\", stage names should be unique");
        warnings.push(Warning::new(Rule::DuplicateStageName, stage.span, message));
    }
    description("FROM", &[name], &stage.comments, stage.span, warnings);
}

/// The comments right above the definition of `names`: the last one begins with one of them.
pub(super) fn description(
    keyword: &str,
    names: &[&str],
    comments: &[String],
    span: super::Span,
    warnings: &mut Vec<Warning>,
) {
    let (Some(comment), Some(first)) = (comments.last(), names.first()) else { return };
    let word = comment.split(' ').next().unwrap_or_default();
    if names.contains(&word) {
        return;
    }
    let name = if names.len() > 1 { "<arg_key>" } else { first };
    let message = format!("Comment for {keyword} should follow the format: `# {name} <description>`");
    warnings.push(Warning::new(Rule::InvalidDefinitionDescription, span, message));
}

/// The instruction that `instruction` makes one before it of no effect; `stage` is what stands above it.
pub(super) fn repeated(stage: &Stage, instruction: &Instruction, warnings: &mut Vec<Warning>) {
    let keyword = instruction.kind.keyword();
    if !matches!(instruction.kind, Kind::Cmd(_) | Kind::Entrypoint(_) | Kind::Healthcheck(_)) {
        return;
    }
    if let Some(hidden) = stage.instructions.iter().rfind(|other| other.kind.keyword() == keyword) {
        let message = format!(
            "Multiple {keyword} instructions should not be used in the same stage because only the last one will be \
             used"
        );
        warnings.push(Warning::new(Rule::MultipleInstructionsDisallowed, hidden.span, message));
    }
}

#[cfg(test)]
mod tests {
    use crate::buildfile::Buildfile;

    /// Rules and lines that `text` breaks.
    fn found(text: &str) -> Vec<(&'static str, u32)> {
        let file = Buildfile::parse("f", text.as_bytes()).unwrap();
        file.warnings.iter().map(|warning| (warning.rule.name(), warning.span.start.line)).collect()
    }

    #[test]
    fn the_majority_decides_about_casing() {
        let rule = "ConsistentInstructionCasing";
        assert_eq!(found("FROM a\nrun x\n"), [(rule, 2)], "a tie is upper case");
        assert_eq!(found("FROM a\nrun x\nrun y\n"), [(rule, 1)]);
        assert_eq!(found("FROM a\nRun x\n"), [(rule, 2)]);
        assert_eq!(found("from a\nrun x\n"), []);
    }

    #[test]
    fn names_of_stages() {
        assert_eq!(found("FROM a AS x\nFROM b AS x\n"), [("DuplicateStageName", 2)]);
        assert_eq!(found("FROM a AS context\n"), [("ReservedStageName", 1)]);
        assert_eq!(found("FROM a AS x\nFROM b AS y\nFROM c\nFROM d\n"), []);
    }

    #[test]
    fn each_hidden_instruction_once() {
        let rule = "MultipleInstructionsDisallowed";
        assert_eq!(found("FROM a\nCMD [\"x\"]\nCMD [\"y\"]\nCMD [\"z\"]\n"), [(rule, 2), (rule, 3)]);
        assert_eq!(found("FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n"), [(rule, 2)]);
        assert_eq!(found("FROM a\nCMD [\"x\"]\nENTRYPOINT [\"y\"]\nFROM b\nCMD [\"z\"]\n"), []);
    }

    #[test]
    fn descriptions_are_looked_at_when_asked() {
        let check = "# check=experimental=all\n";
        let rule = "InvalidDefinitionDescription";
        assert_eq!(found(&format!("{check}# the base\nFROM a AS x\n")), [(rule, 3)]);
        assert_eq!(found(&format!("{check}# x is the base\nFROM a AS x\n# y is\nARG y\n")), []);
        assert_eq!(found(&format!("{check}FROM a\n# other\nARG y=1 z=2\n")), [(rule, 4)]);
        assert_eq!(found(&format!("{check}# the base\n\nFROM a AS x\n# plain\nFROM b\n# w\nRUN x\n")), []);
        assert_eq!(found("# the base\nFROM a AS x\n"), [], "it is experimental");
    }
}
