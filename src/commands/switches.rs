//! Switches and short flags with a value, as docker's and podman's command lines take them: `-i=false`, `-it=false`, `--rm=0`,
//! `-m64m`, `-e=A=1`.
//!
//! The parser below knows neither a value behind short switches nor all words for true and false, and where a container's
//! command may follow it takes short flags with a value behind them for that. So a command line is read once before, by
//! the parser's own rules, and such flags are written as `--long=value`. Everything else stays as it was written: behind `--`, as
//! the value of a flag, and from the first word on where a container's command follows.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, ArgAction, Command};

use crate::error::{CommandError, Result};

/// Rewrites switches with values, and values behind short flags, in the argument vector of a command of this tree.
///
/// # Errors
/// A value of a switch that is neither true nor false.
pub fn spell_out(tree: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>> {
    let mut command = tree;
    let mut rest = arguments.into_iter();
    let mut written: Vec<OsString> = rest.next().into_iter().collect();
    while let Some(word) = rest.next() {
        let read = match word.as_bytes() {
            b"--" => Read::End,
            [b'-', b'-', ..] => long(command, &word)?,
            [b'-', _, ..] => short(command, &word)?,
            _ => match command.find_subcommand(&word) {
                Some(inner) => {
                    command = inner;
                    Read::AsItIs
                }
                None if command.get_positionals().any(Arg::is_trailing_var_arg_set) => Read::End,
                None => Read::AsItIs,
            },
        };
        match read {
            Read::Spelled(words) => written.extend(words),
            Read::AsItIs => written.push(word),
            Read::WithNext => written.extend([Some(word), rest.next()].into_iter().flatten()),
            Read::End => {
                written.push(word);
                break;
            }
        }
    }
    written.extend(rest);
    Ok(written)
}

/// What a word of the command line is.
enum Read {
    /// Something that was rewritten.
    Spelled(Vec<OsString>),
    /// A word or flag on its own.
    AsItIs,
    /// A flag whose value is the next word.
    WithNext,
    /// From here on no flags are looked for.
    End,
}

/// `--name` or `--name=value`.
fn long(command: &Command, word: &OsStr) -> Result<Read> {
    let bytes = &word.as_bytes()[2..];
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let is_it = |arg: &&Arg| {
        let aliases = arg.get_all_aliases().into_iter().flatten();
        arg.get_long().into_iter().chain(aliases).any(|own| own.as_bytes() == name)
    };
    let Some(arg) = command.get_arguments().find(is_it) else { return Ok(Read::AsItIs) };
    Ok(match value {
        Some(value) if is_switch(arg) => Read::Spelled(vec![with_value(&[b"--", name].concat(), value)?]),
        None if takes_next(arg) => Read::WithNext,
        _ => Read::AsItIs,
    })
}

/// `-abc`, the last with a value or not.
fn short(command: &Command, word: &OsStr) -> Result<Read> {
    let letters = &word.as_bytes()[1..];
    for (at, letter) in letters.iter().enumerate() {
        let is_it = |arg: &&Arg| {
            let aliases = arg.get_all_short_aliases().into_iter().flatten();
            arg.get_short().into_iter().chain(aliases).any(|own| own == char::from(*letter))
        };
        let Some(arg) = command.get_arguments().find(is_it) else { return Ok(Read::AsItIs) };
        let behind = &letters[at + 1..];
        let spelled = |last: OsString| {
            let before = (at > 0).then(|| OsString::from_vec([b"-", &letters[..at]].concat()));
            Ok(Read::Spelled(before.into_iter().chain([last]).collect()))
        };
        let name = arg.get_long().map(|long| [b"--", long.as_bytes()].concat());
        match (is_switch(arg), behind, name) {
            (true, [b'=', value @ ..], Some(name)) => return spelled(with_value(&name, value)?),
            (true, ..) => {}
            (false, [], _) if takes_next(arg) => return Ok(Read::WithNext),
            // What is behind its letter is its value.
            (false, [b'=', value @ ..] | value @ [_, ..], Some(name)) if takes_next(arg) => {
                return spelled(OsString::from_vec([&name, b"=".as_slice(), value].concat()));
            }
            (false, ..) => return Ok(Read::AsItIs),
        }
    }
    Ok(Read::AsItIs)
}

/// Whether a flag is on or off, and nothing else.
fn is_switch(arg: &Arg) -> bool {
    let of_bool = || arg.get_value_parser().type_id() == TypeId::of::<bool>();
    match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => true,
        ArgAction::Set => of_bool(),
        _ => false,
    }
}

/// Whether a flag's value is the next word if none is attached.
fn takes_next(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

fn with_value(flag: &[u8], value: &[u8]) -> Result<OsString> {
    let word: &[u8] = match value {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => b"=true",
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => b"=false",
        _ => {
            let (flag, value) = (String::from_utf8_lossy(flag), String::from_utf8_lossy(value));
            return Err(CommandError::usage(format!("{flag} is on or off, it cannot be {value:?}"))
                .hint(format!("{flag}=true or {flag}=false, or {flag} alone")));
        }
    };
    Ok(OsString::from_vec([flag, word].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(words: &str) -> String {
        let command = Command::new("img").subcommand(
            Command::new("run")
                .arg(Arg::new("interactive").long("interactive").short('i').action(ArgAction::SetTrue))
                .arg(Arg::new("tty").long("tty").short('t').visible_alias("terminal").action(ArgAction::SetTrue))
                .arg(Arg::new("env").long("env").short('e').action(ArgAction::Append))
                .arg(
                    Arg::new("proxy")
                        .long("proxy")
                        .value_parser(clap::value_parser!(bool))
                        .num_args(0..=1)
                        .require_equals(true),
                )
                .arg(Arg::new("words").trailing_var_arg(true).num_args(1..).allow_hyphen_values(true)),
        );
        let arguments = words.split(' ').map(OsString::from).collect();
        match spell_out(&command, arguments) {
            Ok(words) => words.join(OsStr::new(" ")).into_string().unwrap(),
            Err(error) => error.text(),
        }
    }

    #[test]
    fn switches_with_values_are_written_out_and_nothing_else() {
        for (given, expected) in [
            ("img run -i=false x", "img run --interactive=false x"),
            ("img run -it=0 x", "img run -i --tty=false x"),
            ("img run -i=T -t=F x", "img run --interactive=true --tty=false x"),
            ("img run --terminal=True --proxy=1 x", "img run --terminal=true --proxy=true x"),
            ("img run --proxy -i=1 x", "img run --proxy --interactive=true x"),
            ("img run -e -i=0 -t x", "img run -e -i=0 -t x"),
            ("img run -e=i=0 --env -t=0 x", "img run --env=i=0 --env -t=0 x"),
            ("img run -te=-i=0 -eA x", "img run -t --env=-i=0 --env=A x"),
            ("img run x -i=0 -- -t=0", "img run x -i=0 -- -t=0"),
            ("img run -- -i=0", "img run -- -i=0"),
            ("img run -q=0 --none=0 -iq=0", "img run -q=0 --none=0 -iq=0"),
        ] {
            assert_eq!(spelled(given), expected);
        }
        for bad in ["img run -i= x", "img run --tty=maybe x", "img run -ti=yes x"] {
            assert!(spelled(bad).contains("on or off"), "{bad}: {}", spelled(bad));
        }
    }
}
