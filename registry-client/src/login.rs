//! Checks a user name and password with a registry, as `img login` does before it keeps them.

use reqwest::Method;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use crate::auth::challenge::{self, Challenge};
use crate::auth::credentials::Credential;
use crate::auth::{basic, token};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result, Said};
use crate::exchange::{self, Inner, Retry};
use crate::failure::Failure;
use crate::reference::{self, DOCKER_HUB};
use crate::transport::{Incoming, Outgoing, Payload};

/// What came of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginOutcome {
    /// The registry in the form that credentials are kept under.
    pub registry: String,
    /// Whether they went over plain HTTP, to which they are bound then ([`bound`](crate::auth::credentials::bound)).
    pub plain: bool,
    /// What to keep: an identity token where the registry gives one, or else the password.
    pub credential: Credential,
    /// Whether the registry has checked the password; one that asks nobody for a name cannot.
    pub checked: bool,
}

/// Logs in at `registry` (`host[:port]`).
pub(crate) async fn login(inner: &Inner, registry: &str, username: &str, password: &str) -> Result<LoginOutcome> {
    let registry = if matches!(registry, "index.docker.io" | "registry-1.docker.io") { DOCKER_HUB } else { registry };
    let registry = registry.to_ascii_lowercase();
    reference::check_registry(&registry)
        .map_err(|why| Error::InvalidReference { text: crate::redact::text(&registry), why })?;
    let what = format!("login at {registry}");
    let credential = Credential::Password { username: username.to_owned(), password: password.to_owned() };
    let header = basic(&registry, &credential)?;
    let endpoint = Endpoint::of_registry(&registry);
    let url = endpoint.url(inner.transport.scheme(&endpoint).await?, "/")?;
    let plain = url.scheme() == "http";
    let first = ask(inner, &what, &url, None).await?;
    if first.response.status().is_success() {
        return Ok(LoginOutcome { registry, plain, credential, checked: false });
    }
    let challenges = first.response.headers().get_all(WWW_AUTHENTICATE);
    let challenges: Vec<String> = challenges.iter().filter_map(|v| Some(v.to_str().ok()?.to_owned())).collect();
    let refused = |said| Error::Unauthorized { what: what.clone(), registry: registry.clone(), said };
    let kept = match challenge::choose(&challenges).filter(|_| !first.foreign) {
        None => return Err(refused(Said("the registry names no way to log in that we know".into()))),
        Some(Challenge::Basic) => {
            let mut second = ask(inner, &what, &url, Some(header)).await?;
            if !second.response.status().is_success() {
                return Err(refused(inner.transport.said(&mut second).await));
            }
            None
        }
        Some(Challenge::Bearer { realm, service, .. }) => {
            let grant = token::Grant { registry: &registry, from: &url, realm: &realm, service: service.as_deref() };
            token::login(&inner.transport, &grant, &credential).await?
        }
    };
    let credential = kept.map_or(credential, Credential::IdentityToken);
    Ok(LoginOutcome { registry, plain, credential, checked: true })
}

/// The answer to a ping: a success, or a 401.
async fn ask(
    inner: &Inner,
    what: &str,
    url: &reqwest::Url,
    authorization: Option<reqwest::header::HeaderValue>,
) -> Result<Incoming> {
    let mut retry = Retry::new(&inner.transport, what, inner.config().tries);
    loop {
        let (method, headers, payload) = (Method::GET, HeaderMap::new(), Payload::Empty);
        let authorization = authorization.clone();
        let sent =
            inner.transport.send(Outgoing { what, method, url: url.clone(), headers, authorization, payload }).await;
        let failure: Failure = match sent {
            Ok(incoming) if incoming.response.status().is_success() || incoming.response.status() == 401 => {
                return Ok(incoming);
            }
            Ok(mut incoming) => {
                exchange::failure(&inner.transport, what, url.host_str().unwrap_or_default(), &mut incoming).await
            }
            Err(failure) => failure,
        };
        retry.pause(failure).await?;
    }
}
