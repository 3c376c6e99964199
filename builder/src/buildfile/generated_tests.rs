//! Buildfiles made up from their meaning: instructions are generated as types, written down in one of the many ways that
//! mean the same, and must be read as the same types. `PROPTEST_CASES` says how many are tried; CI tries more.

use proptest::prelude::*;

use crate::buildfile::{Arg, Buildfile, Command, Copy, Heredoc, Kind, Pair};

/// How an instruction is written.
#[derive(Clone, Debug)]
struct Spelling {
    lower: bool,
    indent: usize,
    /// What stands between two words.
    gap: &'static str,
    /// What stands before the instruction.
    before: &'static str,
}

fn spelling() -> impl Strategy<Value = Spelling> {
    let gaps = prop::sample::select(vec![" ", "  ", "\t", " \\\n", " \\  \n  ", " \\\n# a comment\n", " \\\n\n "]);
    let before = prop::sample::select(vec!["", "\n", "# a comment\n", "  # indented\n\n"]);
    (any::<bool>(), 0..3usize, gaps, before).prop_map(|(lower, indent, gap, before)| Spelling {
        lower,
        indent,
        gap,
        before,
    })
}

fn word() -> impl Strategy<Value = String> {
    "[a-z/][a-z0-9_./é-]{0,8}"
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z_][A-Za-z0-9_]{0,6}"
}

/// A value as it stands in the file: plain, quoted with blanks, with a variable, with an escaped blank.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        word(),
        "\"[a-z ]{0,8}\"",
        "'[a-z $]{0,8}'",
        "\\$[a-z]{1,3}",
        "\\$\\{[a-z]{1,3}:-[a-z]{0,3}\\}",
        "[a-z]{1,3}\\\\ [a-z]{1,3}",
    ]
}

fn pairs() -> impl Strategy<Value = Vec<Pair>> {
    prop::collection::vec((name(), value()).prop_map(|(key, value)| Pair { key, value }), 1..4)
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        "[a-z][a-z0-9 ;&|$'\"-]{0,20}[a-z]".prop_map(Command::Shell),
        prop::collection::vec("[a-z \"\\\\é\t]{0,8}", 1..4).prop_map(Command::Exec),
    ]
}

fn documents() -> impl Strategy<Value = Vec<Heredoc>> {
    let document = ("[A-Z]{2,4}", "([a-z $#\t]{0,10}\n){0,3}", any::<bool>(), any::<bool>());
    let document =
        document.prop_map(|(name, content, expand, strip_tabs)| Heredoc { name, content, expand, strip_tabs });
    prop::collection::vec(document, 0..3)
}

fn copy() -> impl Strategy<Value = Copy> {
    let flags = (prop::option::of("[0-9]{1,4}"), prop::option::of("[0-7]{3,4}"), any::<bool>(), any::<bool>());
    let paths = (prop::collection::vec(word(), 1..3), word(), documents(), any::<bool>());
    (flags, paths).prop_map(|((chown, chmod, link, parents), (sources, destination, documents, add))| Copy {
        add,
        sources,
        documents,
        destination: format!("{destination}/"),
        chown,
        chmod,
        link,
        parents: parents && !add,
        ..Copy::default()
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        pairs().prop_map(Kind::Env),
        pairs().prop_map(Kind::Label),
        prop::collection::vec((name(), prop::option::of(value())), 1..3)
            .prop_map(|args| { Kind::Arg(args.into_iter().map(|(name, default)| Arg { name, default }).collect()) }),
        command().prop_map(Kind::Cmd),
        command().prop_map(Kind::Entrypoint),
        prop::collection::vec("[a-z -]{1,8}", 1..4).prop_map(Kind::Shell),
        prop::collection::vec("[0-9]{1,5}(/udp)?", 1..4).prop_map(Kind::Expose),
        prop::collection::vec("/[a-z ]{0,5}[a-z]", 1..3).prop_map(Kind::Volume),
        word().prop_map(Kind::Workdir),
        word().prop_map(Kind::User),
        "[A-Z]{1,6}".prop_map(Kind::Stopsignal),
        copy().prop_map(|copy| Kind::Copy(Box::new(copy))),
    ]
}

fn json(words: &[String]) -> String {
    serde_json::to_string(words).unwrap()
}

fn of_command(command: &Command) -> String {
    match command {
        Command::Shell(text) => text.clone(),
        Command::Exec(words) => json(words),
    }
}

fn announced(document: &Heredoc) -> String {
    let dash = if document.strip_tabs { "-" } else { "" };
    let quote = if document.expand { "" } else { "\"" };
    format!("<<{dash}{quote}{}{quote}", document.name)
}

/// The words of an instruction, and the documents behind it.
fn words(kind: &Kind) -> (Vec<String>, &[Heredoc]) {
    let pair = |pair: &Pair| format!("{}={}", pair.key, pair.value);
    let words = match kind {
        Kind::Env(pairs) | Kind::Label(pairs) => pairs.iter().map(pair).collect(),
        Kind::Arg(args) => {
            let arg =
                |arg: &Arg| arg.default.as_ref().map_or(arg.name.clone(), |value| format!("{}={value}", arg.name));
            args.iter().map(arg).collect()
        }
        Kind::Cmd(command) | Kind::Entrypoint(command) => vec![of_command(command)],
        Kind::Shell(words) | Kind::Volume(words) => vec![json(words)],
        Kind::Expose(ports) => ports.clone(),
        Kind::Workdir(text) | Kind::User(text) | Kind::Stopsignal(text) => vec![text.clone()],
        Kind::Copy(copy) => {
            let mut words: Vec<String> = Vec::new();
            words.extend(copy.chown.iter().map(|chown| format!("--chown={chown}")));
            words.extend(copy.chmod.iter().map(|chmod| format!("--chmod={chmod}")));
            words.extend(copy.link.then(|| "--link".to_owned()));
            words.extend(copy.parents.then(|| "--parents".to_owned()));
            words.extend(copy.sources.iter().cloned());
            words.extend(copy.documents.iter().map(announced));
            words.push(copy.destination.clone());
            return (words, &copy.documents);
        }
        other => unreachable!("not generated: {other:?}"),
    };
    (words, &[])
}

fn write(kind: &Kind, how: &Spelling) -> String {
    let keyword = kind.keyword();
    let keyword = if how.lower { keyword.to_lowercase() } else { keyword.to_owned() };
    let (words, documents) = words(kind);
    let mut text = format!("{}{}{keyword}", how.before, " ".repeat(how.indent));
    for word in words {
        text.push_str(how.gap);
        text.push_str(&word);
    }
    text.push('\n');
    for document in documents {
        text.push_str(&document.content);
        text.push_str(&document.name);
        text.push('\n');
    }
    text
}

proptest! {
    /// What is written in any spelling is read as what was meant.
    #[test]
    fn generated_buildfiles_are_read_as_they_were_meant(
        lines in prop::collection::vec((kind(), spelling()), 0..8)
    ) {
        let text: String = std::iter::once("FROM scratch\n".to_owned())
            .chain(lines.iter().map(|(kind, how)| write(kind, how)))
            .collect();
        let file = Buildfile::parse("f", text.as_bytes());
        let file = file.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        let read: Vec<&Kind> = file.stages[0].instructions.iter().map(|instruction| &instruction.kind).collect();
        let meant: Vec<&Kind> = lines.iter().map(|(kind, _)| kind).collect();
        prop_assert_eq!(read, meant, "{}", text);
    }

    /// The texts that instructions keep (for history and triggers) are themselves instructions of the same meaning.
    #[test]
    fn generated_texts_of_instructions_are_instructions(kind in kind(), how in spelling()) {
        // The text of an instruction is its line, without documents.
        let kind = match kind {
            Kind::Copy(copy) => Kind::Copy(Box::new(Copy { documents: Vec::new(), ..*copy })),
            other => other,
        };
        let file = Buildfile::parse("f", format!("FROM scratch\n{}", write(&kind, &how)).as_bytes()).unwrap();
        let again = Buildfile::parse_trigger(&file.stages[0].instructions[0].text).unwrap();
        prop_assert_eq!(again.kind, kind);
    }

    /// Ignore rules agree with the plainest reading of what they are.
    #[test]
    fn generated_ignore_rules_mean_what_they_say(
        rules in prop::collection::vec("!?(a|b|\\*|\\*\\*|a\\*|\\?)(/(a|b|\\*|\\*\\*|\\?b)){0,2}", 0..5),
        path in "(a|b|ab|aa)(/(a|b|ab)){0,3}",
    ) {
        let ignore = crate::context::Ignore::parse(rules.join("\n").as_bytes()).unwrap();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let prefixes: Vec<&str> = ends.map(|end| &path[..end]).collect();
        let mut ignored = false;
        for rule in &rules {
            let pattern: Vec<&str> = rule.trim_start_matches('!').split('/').collect();
            if prefixes.iter().any(|prefix| fits(&pattern, &prefix.split('/').collect::<Vec<_>>())) {
                ignored = !rule.starts_with('!');
            }
        }
        prop_assert_eq!(ignore.judge(path.as_bytes()).ignored, ignored, "{:?} {}", rules, path);
    }
}

/// Whether names fit a pattern: `**` is any number of names.
fn fits(pattern: &[&str], names: &[&str]) -> bool {
    match (pattern, names) {
        ([], names) => names.is_empty(),
        (["**"], names) => !names.is_empty(),
        (["**", rest @ ..], names) => (0..=names.len()).any(|skip| fits(rest, &names[skip..])),
        ([_, ..], []) => false,
        ([first, rest @ ..], [name, more @ ..]) => fits_name(first.as_bytes(), name.as_bytes()) && fits(rest, more),
    }
}

fn fits_name(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], name) => name.is_empty(),
        ([b'*', rest @ ..], name) => (0..=name.len()).any(|skip| fits_name(rest, &name[skip..])),
        ([b'?', rest @ ..], [_, more @ ..]) => fits_name(rest, more),
        ([a, rest @ ..], [b, more @ ..]) => a == b && fits_name(rest, more),
        ([_, ..], []) => false,
    }
}
