//! `--filter` of `network ls` and `network prune`, by docker's words. Several values of one key are alternatives, several
//! keys must all fit; labels must all fit.

use std::str::FromStr;

use jiff::Timestamp;

use super::Network;
use crate::error::{CommandError, Result};

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkFilter {
    /// Part of the name.
    Name(String),
    /// Part of the id.
    Id(String),
    /// `label=KEY` or `label=KEY=VALUE`
    Label(String, Option<String>),
    /// The driver.
    Driver(String),
    /// `scope=local`
    Scope(String),
    /// `type=custom` or `type=builtin`
    Custom(bool),
    /// `dangling=true`: no container names it.
    Dangling(bool),
    /// Made before this time.
    Until(Timestamp),
}

impl NetworkFilter {
    /// Whether a network fits to all of them.
    pub fn all_fit(filters: &[Self], network: &Network) -> bool {
        filters.iter().all(|filter| match filter {
            Self::Label(..) => filter.fits(network),
            other => filters.iter().filter(|one| one.key() == other.key()).any(|one| one.fits(network)),
        })
    }

    fn key(&self) -> std::mem::Discriminant<Self> {
        std::mem::discriminant(self)
    }

    fn fits(&self, network: &Network) -> bool {
        match self {
            Self::Name(part) => network.name.contains(part.as_str()),
            Self::Id(part) => network.id.contains(part.as_str()),
            Self::Label(key, value) => {
                let mut labels = network.data.labels.iter();
                labels.any(|(k, v)| k == key && value.as_ref().is_none_or(|value| value == v))
            }
            Self::Driver(driver) => network.driver == *driver,
            Self::Scope(scope) => scope == "local",
            Self::Custom(custom) => network.is_built_in() != *custom,
            Self::Dangling(dangling) => network.used_by.is_empty() == *dangling,
            Self::Until(time) => network.created.is_none_or(|created| created < *time),
        }
    }
}

impl FromStr for NetworkFilter {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| CommandError::usage(format!("filter {text:?} is not KEY=VALUE")))?;
        let bad = |what: &str| CommandError::usage(format!("filter {key}={value}: {what}"));
        let text = value.to_owned();
        Ok(match key {
            "name" => Self::Name(text),
            "id" => Self::Id(text),
            "label" => match value.split_once('=') {
                Some((key, value)) => Self::Label(key.into(), Some(value.into())),
                None => Self::Label(text, None),
            },
            "driver" => Self::Driver(text),
            "scope" => Self::Scope(text),
            "type" if value == "custom" || value == "builtin" => Self::Custom(value == "custom"),
            "type" => return Err(bad("it is custom or builtin")),
            "dangling" => Self::Dangling(value.parse().map_err(|_| bad("it is true or false"))?),
            "until" => {
                let time = value.parse::<Timestamp>().ok().or_else(|| {
                    let ago = runner::spec::parse::duration("time", value).ok()?;
                    Timestamp::now().checked_sub(jiff::SignedDuration::try_from(ago).ok()?).ok()
                });
                Self::Until(time.ok_or_else(|| bad("it is a time, or a duration such as 24h"))?)
            }
            _ => {
                return Err(CommandError::usage(format!("filter {key:?} is not known"))
                    .hint("there are: name, id, label, driver, scope, type, dangling, until"));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_of_one_key_and_all_labels() {
        let network = Network {
            id: "ab".repeat(32),
            name: "lab".into(),
            driver: "bridge".into(),
            created: Some(Timestamp::UNIX_EPOCH),
            data: super::super::NetworkData {
                labels: vec![("a".into(), "1".into()), ("b".into(), String::new())],
                ..Default::default()
            },
            used_by: Vec::new(),
        };
        let fits = |texts: &[&str]| {
            let filters: Vec<NetworkFilter> = texts.iter().map(|text| text.parse().unwrap()).collect();
            NetworkFilter::all_fit(&filters, &network)
        };
        assert!(fits(&[]) && fits(&["name=x", "name=la"]) && fits(&["label=a=1", "label=b"]) && fits(&["until=1h"]));
        assert!(!fits(&["name=x"]) && !fits(&["label=a=1", "label=c"]) && !fits(&["name=lab", "driver=macvlan"]));
        assert!(fits(&["type=custom", "dangling=true", "scope=local", "id=ba"]) && !fits(&["type=builtin"]));
        for wrong in ["name", "nope=1", "type=x", "dangling=2", "until=x"] {
            assert!(wrong.parse::<NetworkFilter>().is_err(), "{wrong}");
        }
    }
}
