//! Which places may answer for a reference: mirrors in their order, then the registry itself.
//!
//! Pure: configuration and reference in, list out. A rule's key is a prefix of `registry/repository` that ends at a slash, or
//! `*.domain`; the longest one counts, and its mirrors and location replace that prefix.

use reqwest::Url;

use crate::config::{Config, RegistryRule};
use crate::error::{Error, Result};
use crate::reference::{self, DOCKER_HUB, Reference};

/// Where Docker Hub's registry really is.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// A place that may have an image: a host, and the repository's name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `host[:port]` as configured or as in the reference; the key of [`Config::hosts`] and of credentials.
    pub registry: String,
    /// The repository's name at this host.
    pub repository: String,
    /// Whether this is a mirror.
    pub mirror: bool,
}

impl Endpoint {
    /// The host to connect to.
    #[must_use]
    pub fn host(&self) -> &str {
        if self.registry == DOCKER_HUB { DOCKER_HUB_HOST } else { &self.registry }
    }

    /// The registry itself, without any repository.
    pub(crate) fn of_registry(registry: &str) -> Self {
        Self { registry: registry.to_owned(), repository: String::new(), mirror: false }
    }

    /// The URL of `path` (which starts with a slash) in the repository, over `scheme`.
    pub(crate) fn url(&self, scheme: &str, path: &str) -> Result<Url> {
        let repository = if self.repository.is_empty() { String::new() } else { format!("/{}", self.repository) };
        let text = format!("{scheme}://{}/v2{repository}{path}", self.host());
        Url::parse(&text)
            .map_err(|error| Error::Config { what: format!("endpoint {text}"), source: Some(error.into()) })
    }
}

/// The places to pull `reference` from, in order.
///
/// # Errors
/// [`Error::Blocked`] where the configuration says so, [`Error::Config`] for a rule that makes no legal name.
pub(crate) fn for_pull(config: &Config, reference: &Reference) -> Result<Vec<Endpoint>> {
    let (rule, rest) = find(config, reference)?;
    let Some(rule) = rule else { return Ok(vec![upstream(reference)]) };
    let mut endpoints = Vec::with_capacity(rule.mirrors.len() + 1);
    for mirror in rule
        .mirrors
        .iter()
        .filter(|mirror| if reference.digest().is_some() { !mirror.tag_only } else { !mirror.digest_only })
    {
        endpoints.push(place(&mirror.location, &rest, true)?);
    }
    endpoints.push(
        rule.location.as_ref().map_or_else(|| Ok(upstream(reference)), |location| place(location, &rest, false))?,
    );
    Ok(endpoints)
}

/// The one place to push `reference` to.
///
/// # Errors
/// As [`for_pull`].
pub(crate) fn for_push(config: &Config, reference: &Reference) -> Result<Endpoint> {
    match find(config, reference)? {
        (Some(RegistryRule { location: Some(location), .. }), rest) => place(location, &rest, false),
        _ => Ok(upstream(reference)),
    }
}

fn upstream(reference: &Reference) -> Endpoint {
    Endpoint { registry: reference.registry().to_owned(), repository: reference.repository().to_owned(), mirror: false }
}

/// The rule with the longest matching prefix, and what of the name is left after that prefix.
fn find<'a>(config: &'a Config, reference: &'a Reference) -> Result<(Option<&'a RegistryRule>, String)> {
    let name = reference.name();
    let rest = |prefix: &str| match prefix.strip_prefix('*') {
        // `*.example.org` stands for every host below; what was matched is the host.
        Some(domain) if domain.starts_with('.') => {
            name.split_once('/').filter(|(host, _)| host.ends_with(domain)).map(|(host, _)| &name[host.len()..])
        }
        _ => name.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')),
    };
    let best =
        config.registries.iter().filter(|(prefix, _)| rest(prefix).is_some()).max_by_key(|(prefix, _)| prefix.len());
    let Some((prefix, rule)) = best else { return Ok((None, String::new())) };
    if rule.blocked {
        return Err(Error::Blocked(name));
    }
    Ok((Some(rule), rest(prefix).unwrap_or_default().to_owned()))
}

/// `location` followed by `rest`, as an endpoint.
fn place(location: &str, rest: &str, mirror: bool) -> Result<Endpoint> {
    let whole = format!("{location}{rest}");
    let wrong = |why: &str| Error::Config { what: format!("location {location:?}: {why}"), source: None };
    let (registry, repository) = whole.split_once('/').ok_or_else(|| wrong("it leaves no repository name"))?;
    reference::check_registry(registry).map_err(wrong)?;
    reference::check_repository(repository).map_err(wrong)?;
    Ok(Endpoint { registry: registry.to_ascii_lowercase(), repository: repository.to_owned(), mirror })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        serde_json::from_str(&format!(r#"{{"registries":{json}}}"#)).unwrap()
    }

    fn pull(config: &Config, name: &str) -> Vec<String> {
        let endpoints = for_pull(config, &name.parse().unwrap()).unwrap();
        endpoints.iter().map(|e| e.url("https", "/tags/list").unwrap().to_string()).collect()
    }

    #[test]
    fn docker_hub_lives_elsewhere() {
        assert_eq!(pull(&Config::default(), "ubuntu"), ["https://registry-1.docker.io/v2/library/ubuntu/tags/list"]);
    }

    #[test]
    fn mirrors_come_first_and_the_longest_prefix_wins() {
        let config = config(
            r#"{"docker.io":{"mirrors":[{"location":"m.example/hub"},{"location":"d.example","digest_only":true}]},
                "docker.io/library":{"mirrors":[{"location":"lib.example:5000"}]},
                "reg.example/a":{"location":"moved.example/b"}}"#,
        );
        assert_eq!(
            pull(&config, "user/app"),
            ["https://m.example/v2/hub/user/app/tags/list", "https://registry-1.docker.io/v2/user/app/tags/list"]
        );
        assert_eq!(
            pull(&config, &format!("user/app@{}", crate::Digest::of(b"")))[1],
            "https://d.example/v2/user/app/tags/list"
        );
        assert_eq!(pull(&config, "ubuntu")[0], "https://lib.example:5000/v2/ubuntu/tags/list");
        assert_eq!(pull(&config, "reg.example/a/c"), ["https://moved.example/v2/b/c/tags/list"]);
        assert_eq!(pull(&config, "reg.example/ab"), ["https://reg.example/v2/ab/tags/list"]);
        assert_eq!(for_push(&config, &"user/app".parse().unwrap()).unwrap().host(), "registry-1.docker.io");
        assert_eq!(for_push(&config, &"reg.example/a/c".parse().unwrap()).unwrap().repository, "b/c");
    }

    #[test]
    fn blocked_and_nonsense() {
        let config = config(
            r#"{"bad.example":{"blocked":true},"bad.example/good":{},"odd.example":{"mirrors":[{"location":"https://x"}]}}"#,
        );
        assert!(matches!(for_pull(&config, &"bad.example/a".parse().unwrap()), Err(Error::Blocked(_))));
        assert!(matches!(for_push(&config, &"bad.example/a".parse().unwrap()), Err(Error::Blocked(_))));
        assert!(for_pull(&config, &"bad.example/good/a".parse().unwrap()).is_ok());
        assert!(matches!(for_pull(&config, &"odd.example/a".parse().unwrap()), Err(Error::Config { .. })));
    }
}
