//! What is done to the variables of an image beside setting some, as it was said.

use serde::{Deserialize, Serialize};

use crate::error::{CommandError, Result};

/// Variables that are left out, or made from others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// `--env-merge`
    pub env_merge: Vec<String>,
    /// `--unsetenv`
    pub unset_env: Vec<String>,
    /// `--unsetenv-all`
    pub unset_env_all: bool,
}

impl Environment {
    /// Whether all of it makes sense.
    ///
    /// # Errors
    /// A text without a name.
    pub fn check(&self) -> Result<()> {
        match self.env_merge.iter().find(|text| text.split_once('=').is_none_or(|(name, _)| name.is_empty())) {
            Some(text) => Err(CommandError::usage(format!("--env-merge {text}: it is not NAME=TEXT"))
                .hint("as --env-merge 'PATH=/opt/bin:${PATH}'")),
            None => Ok(()),
        }
    }

    /// Sets the variables that are made from others; `${NAME}` stands for the value that a variable has by then.
    pub fn merge(&self, env: &mut Vec<String>) {
        for text in &self.env_merge {
            let Some((name, value)) = text.split_once('=') else { continue };
            let value = filled(value, env);
            let line = format!("{name}={value}");
            match env.iter_mut().find(|known| known.split_once('=').is_some_and(|(known, _)| known == name)) {
                Some(known) => *known = line,
                None => env.push(line),
            }
        }
    }
}

/// The text with the values of variables in place of their names; of one that is not set, with nothing.
fn filled(text: &str, env: &[String]) -> String {
    let mut parts = text.split("${");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((name, rest)) = part.split_once('}') else {
            all.push_str("${");
            all.push_str(part);
            continue;
        };
        let value = env.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        all.push_str(value.unwrap_or_default());
        all.push_str(rest);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_made_from_others() {
        let merge = |texts: &[&str]| {
            let mut env = vec!["PATH=/bin".to_owned(), "A=1".to_owned()];
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            Environment { env_merge: texts, ..Environment::default() }.merge(&mut env);
            env.join(" ")
        };
        assert_eq!(merge(&["PATH=/opt:${PATH}"]), "PATH=/opt:/bin A=1");
        assert_eq!(merge(&["B=${A}${A}", "C=${B}-${NONE}."]), "PATH=/bin A=1 B=11 C=11-.");
        assert_eq!(merge(&["B=$A ${A"]), "PATH=/bin A=1 B=$A ${A");
        assert!(Environment { env_merge: vec!["=x".into()], ..Environment::default() }.check().is_err());
    }
}
