//! Arguments: flags by a table, then words.
//!
//! Long flags take one or two dashes and their value after `=` or as the next argument, as engines write them. Flags may
//! also follow words, except where the words are a program with flags of its own.

use std::collections::BTreeMap;

use crate::help_table::Flag;

/// Flags and words of one command.
#[derive(Debug, Default)]
pub struct Args {
    flags: BTreeMap<&'static str, Vec<String>>,
    /// What is no flag.
    pub words: Vec<String>,
}

impl Args {
    /// Reads arguments. With `stop` the first word ends the flags.
    pub fn parse(known: &'static [Flag], arguments: &[String], stop: bool) -> Result<Self, String> {
        let mut args = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            let Some(name) = name.filter(|_| argument != "-") else {
                args.words.push(argument.clone());
                if stop {
                    break;
                }
                continue;
            };
            if name.is_empty() {
                break;
            }
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let flag = known.iter().find(|flag| flag.long == name || (!flag.short.is_empty() && flag.short == name));
            let flag = flag.ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
            let value = match (flag.takes_value(), value) {
                (true, None) => rest.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?.clone(),
                (false, None) => "true".to_owned(),
                (false, Some(value)) if !matches!(value.as_str(), "true" | "false") => {
                    return Err(format!("invalid boolean value {value:?} for -{name}"));
                }
                (_, Some(value)) => value,
            };
            args.flags.entry(flag.long).or_default().push(value);
        }
        args.words.extend(rest.cloned());
        Ok(args)
    }

    /// Whether a switch is on.
    pub fn has(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// The last value of a flag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.flags.get(name).and_then(|values| values.last()).map(String::as_str)
    }

    /// All values of a flag.
    pub fn all(&self, name: &str) -> &[String] {
        self.flags.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The value of a flag as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let parse = |text: &str| text.parse().map_err(|_| format!("invalid value {text:?} for flag -{name}"));
        self.get(name).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag { long: "bundle", short: "b", value: "DIR", about: "" },
        Flag { long: "force", short: "f", value: "", about: "" },
        Flag { long: "env", short: "e", value: "X", about: "" },
    ];

    fn parse(text: &str, stop: bool) -> Result<Args, String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        Args::parse(FLAGS, &words, stop)
    }

    #[test]
    fn flags_take_all_their_forms() {
        for text in ["--bundle /b x", "-b /b x", "--bundle=/b x", "-bundle /b x", "x --bundle /b"] {
            let args = parse(text, false).unwrap();
            assert_eq!((args.get("bundle"), args.words.as_slice()), (Some("/b"), &["x".to_owned()][..]), "{text}");
        }
        let args = parse("-f -e A=1 --env B=2 x", false).unwrap();
        assert!(args.has("force"));
        assert_eq!(args.all("env"), ["A=1", "B=2"]);
        assert!(!parse("--force=false x", false).unwrap().has("force"));
    }

    #[test]
    fn a_program_keeps_its_own_flags() {
        assert_eq!(parse("-f id ls -f --bundle", true).unwrap().words, ["id", "ls", "-f", "--bundle"]);
        assert_eq!(parse("-f -- -x", true).unwrap().words, ["-x"]);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("--nope", false).unwrap_err().contains("-nope"));
        assert!(parse("--bundle", false).unwrap_err().contains("needs an argument"));
        assert!(parse("--force=maybe", false).unwrap_err().contains("maybe"));
    }
}
