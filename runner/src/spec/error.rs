//! What is wrong with what a user asked for.

use crate::security;

/// A refusal, with the reason in the user's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One value cannot be understood or is out of range.
    #[error("invalid {what} `{value}`: {reason}")]
    Invalid {
        /// What kind of value, as `memory size` or `port mapping`.
        what: &'static str,
        /// The value as it was written.
        value: String,
        /// What is wrong with it.
        reason: String,
        /// What to write instead, if there is something to say.
        hint: Option<String>,
    },
    /// Two wishes that cannot both be had, or one that this machine cannot fulfil.
    #[error("{reason}")]
    Conflict {
        /// What cannot be done, and why.
        reason: String,
        /// A way out.
        hint: Option<String>,
    },
    /// Something is wrong with capabilities, seccomp or labels.
    #[error(transparent)]
    Security(#[from] security::Error),
}

impl Error {
    pub(crate) fn invalid(what: &'static str, value: &str, reason: impl Into<String>) -> Self {
        Error::Invalid { what, value: value.to_owned(), reason: reason.into(), hint: None }
    }

    pub(crate) fn conflict(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::Conflict { reason: reason.into(), hint: Some(hint.into()) }
    }

    /// Gives the hint, in the place of a more general one.
    pub(crate) fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Error::Invalid { hint, .. } | Error::Conflict { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// What the user could do about it, if there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Invalid { hint, .. } | Error::Conflict { hint, .. } => hint.clone(),
            Error::Security(error) => error.hint(),
        }
    }
}
