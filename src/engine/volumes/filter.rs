//! `--filter` of `volume ls` and `volume prune`, in docker's words.

use std::str::FromStr;

use super::Volume;
use crate::error::CommandError;

/// One wish; of several with the same key one must fit, of different keys all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeFilter {
    /// No container uses it.
    Dangling(bool),
    /// It was made for one container.
    Anonymous(bool),
    /// Its driver.
    Driver(String),
    /// Part of its name.
    Name(String),
    /// It has this label, with this value if one is given.
    Label(String, Option<String>),
    /// It has no such label.
    NoLabel(String, Option<String>),
}

impl VolumeFilter {
    /// Whether a volume fits.
    pub fn all_fit(filters: &[Self], volume: &Volume) -> bool {
        let has = |key: &String, value: &Option<String>| {
            volume.labels.iter().any(|(own, text)| own == key && value.as_ref().is_none_or(|value| value == text))
        };
        let fits = |filter: &Self| match filter {
            Self::Dangling(wanted) => volume.used_by.is_empty() == *wanted,
            Self::Anonymous(wanted) => volume.anonymous == *wanted,
            Self::Driver(driver) => driver == "local",
            Self::Name(part) => volume.name.contains(part.as_str()),
            Self::Label(key, value) => has(key, value),
            Self::NoLabel(key, value) => !has(key, value),
        };
        // Names and drivers are alternatives, labels add up.
        let alternatives = |of: fn(&Self) -> bool| {
            let mut asked = filters.iter().filter(|filter| of(filter)).peekable();
            asked.peek().is_none() || asked.any(fits)
        };
        alternatives(|filter| matches!(filter, Self::Name(_)))
            && alternatives(|filter| matches!(filter, Self::Driver(_)))
            && filters.iter().filter(|filter| !matches!(filter, Self::Name(_) | Self::Driver(_))).all(fits)
    }
}

impl FromStr for VolumeFilter {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let bad = || {
            CommandError::usage(format!("{text:?} is no filter for volumes"))
                .hint("known are dangling=, anonymous=, driver=, name=, label= and label!=")
        };
        let (key, value) = text.split_once('=').ok_or_else(bad)?;
        let yes = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(bad()),
        };
        let label = || match value.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (value.to_owned(), None),
        };
        Ok(match key {
            "dangling" => Self::Dangling(yes()?),
            "anonymous" => Self::Anonymous(yes()?),
            "driver" => Self::Driver(value.to_owned()),
            "name" => Self::Name(value.to_owned()),
            "label" => Self::Label(label().0, label().1),
            "label!" => Self::NoLabel(label().0, label().1),
            _ => return Err(bad()),
        })
    }
}
