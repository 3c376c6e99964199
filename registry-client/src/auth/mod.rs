//! Authorization: which header a request to a registry carries.
//!
//! Everything is kept per origin (scheme, host, port) of a registry endpoint: its challenge, its credentials, its tokens. Only
//! that endpoint itself can challenge us; what a redirect leads to cannot. One caller at a time asks for a token of an
//! origin, the others wait and share it.

pub(crate) mod challenge;
pub mod credentials;
pub mod helper;
pub mod keyring;
pub mod store;
pub(crate) mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::auth::challenge::Challenge;
use crate::auth::credentials::{Credential, CredentialSource};
use crate::error::{Error, Result};
use crate::transport::{Transport, origin};

/// What one endpoint is known to want, and what we have for it.
#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    credential: Option<Option<Credential>>,
    tokens: HashMap<String, Token>,
}

/// Scheme, host and port of an endpoint, and the registry or namespace whose credentials count.
type Place = (String, String, u16, String);

/// A header value with the time after which it is not used any more.
#[derive(Clone)]
pub(crate) struct Token {
    pub header: HeaderValue,
    pub expires: Instant,
}

/// Who a request is for.
pub(crate) struct Asking<'a> {
    /// The registry's name, for which credentials are looked up.
    pub registry: &'a str,
    /// The repository, for credentials of a namespace; may be empty.
    pub repository: &'a str,
    /// The endpoint's URL, whose origin the answer is bound to.
    pub url: &'a Url,
    /// What the request needs, such as `repository:library/ubuntu:pull`.
    pub scopes: &'a [String],
}

/// Finds authorization for requests.
#[derive(Default)]
pub(crate) struct Authorizer {
    states: Mutex<HashMap<Place, Arc<tokio::sync::Mutex<State>>>>,
}

impl Authorizer {
    /// The header to send at once, if this origin has challenged us before.
    pub(crate) async fn known(&self, transport: &Transport, asking: &Asking<'_>) -> Result<Option<HeaderValue>> {
        let state = self.state(transport, asking);
        let mut state = state.lock().await;
        if state.challenge.is_none() {
            return Ok(None);
        }
        answer(transport, asking, &mut state).await
    }

    /// The header to send after a 401 with these `WWW-Authenticate` values; `refused` is the header that the 401 was
    /// for. `None` if there is nothing else to try.
    pub(crate) async fn challenged(
        &self,
        transport: &Transport,
        asking: &Asking<'_>,
        challenges: &[String],
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>> {
        let state = self.state(transport, asking);
        let mut state = state.lock().await;
        if let Some(challenge) = challenge::choose(challenges) {
            state.challenge = Some(challenge);
        }
        if let Some(refused) = refused {
            // The token may have expired early; another caller may already have a new one.
            state.tokens.retain(|_, token| token.header != *refused);
        }
        let header = answer(transport, asking, &mut state).await?;
        Ok(header.filter(|header| Some(header) != refused))
    }

    fn state(&self, transport: &Transport, asking: &Asking<'_>) -> Arc<tokio::sync::Mutex<State>> {
        let (scheme, host, port) = origin(asking.url);
        // Credentials of a namespace are a state of their own, or one namespace would be served with another's.
        let sources = &transport.config.credentials;
        let place = CredentialSource::place(sources, asking.registry, asking.repository, scheme == "http");
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(states.entry((scheme, host, port, place)).or_default())
    }
}

/// The header that meets the challenge of `state`.
async fn answer(transport: &Transport, asking: &Asking<'_>, state: &mut State) -> Result<Option<HeaderValue>> {
    let Some(challenge) = state.challenge.clone() else { return Ok(None) };
    let mut scopes = asking.scopes.to_vec();
    if let Challenge::Bearer { scope: Some(scope), .. } = &challenge
        && scopes.is_empty()
    {
        scopes.push(scope.clone());
    }
    let key = scopes.join(" ");
    if let Some(token) = state.tokens.get(&key).filter(|token| token.expires > Instant::now()) {
        return Ok(Some(token.header.clone()));
    }
    let credential = match &state.credential {
        Some(credential) => credential.clone(),
        None => {
            let sources = transport.config.credentials.clone();
            let (registry, repository) = (asking.registry.to_owned(), asking.repository.to_owned());
            let plain = asking.url.scheme() == "http";
            // Helpers are programs, and files may be slow: not on the threads that move bytes.
            let find = move || CredentialSource::find(&sources, &registry, &repository, plain);
            let found = tokio::task::spawn_blocking(find).await;
            let found = found.map_err(|_| Error::Closed(format!("credentials for {}", asking.registry)))??;
            state.credential.insert(found).clone()
        }
    };
    match challenge {
        Challenge::Basic => credential.map(|credential| basic(asking.registry, &credential)).transpose(),
        Challenge::Bearer { realm, service, .. } => {
            let grant = token::Grant {
                registry: asking.registry,
                from: asking.url,
                realm: &realm,
                service: service.as_deref(),
            };
            let token = token::fetch(transport, &grant, &scopes, credential.as_ref()).await?;
            let header = token.header.clone();
            state.tokens.retain(|_, token| token.expires > Instant::now());
            state.tokens.insert(key, token);
            Ok(Some(header))
        }
    }
}

/// The header of RFC 7617.
pub(crate) fn basic(registry: &str, credential: &Credential) -> Result<HeaderValue> {
    let wrong = |why: &str| Error::Credentials { registry: registry.to_owned(), why: why.to_owned(), source: None };
    let Credential::Password { username, password } = credential else {
        return Err(wrong("it takes a user name and password, not an identity token"));
    };
    if username.contains(':') {
        return Err(wrong("a user name may not have a colon"));
    }
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    let mut header = HeaderValue::from_str(&format!("Basic {text}")).map_err(|_| wrong("not fit for a header"))?;
    header.set_sensitive(true);
    Ok(header)
}
