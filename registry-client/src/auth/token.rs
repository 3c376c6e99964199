//! Fetches bearer tokens (Docker registry v2 token authentication; the OAuth2 form for identity tokens).
//!
//! A realm gets the user's password, so it must be reached over TLS unless the registry itself is plain, and a registry
//! elsewhere may not name a realm in this machine. Tokens and passwords are never part of an error.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};

use crate::auth::credentials::Credential;
use crate::auth::{Token, basic};
use crate::error::{Error, Result};
use crate::exchange::{self, Retry};
use crate::failure::Failure;
use crate::limit;
use crate::transport::{Outgoing, Payload, Transport};

/// How we name ourselves to OAuth2 servers.
const CLIENT_ID: &str = "img";
/// How long a token without a given life lives (token specification).
const SHORTEST_LIFE: u64 = 60;
/// A token is not used in the last seconds of its life.
const LEEWAY: Duration = Duration::from_secs(5);

/// Where a token comes from.
pub(crate) struct Grant<'a> {
    pub registry: &'a str,
    /// The registry's URL.
    pub from: &'a Url,
    pub realm: &'a str,
    pub service: Option<&'a str>,
}

#[derive(serde::Deserialize)]
struct Response {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<String>,
}

/// A token for `scopes`, anonymous without a credential.
pub(crate) async fn fetch(
    transport: &Transport,
    grant: &Grant<'_>,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<Token> {
    let response = match credential {
        Some(Credential::IdentityToken(token)) => {
            let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
            post(transport, grant, scopes, &form).await?
        }
        Some(Credential::RegistryToken(token)) => {
            return bearer(grant.registry, token, Some(24 * 3600));
        }
        other => get(transport, grant, scopes, other, false).await?,
    };
    let token = response.token.or(response.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Error::Protocol { what: what(grant), why: "the answer holds no token".into() })?;
    bearer(grant.registry, &token, response.expires_in)
}

/// Trades user name and password for a refresh token that can be kept in their place, if the realm gives one.
pub(crate) async fn login(transport: &Transport, grant: &Grant<'_>, credential: &Credential) -> Result<Option<String>> {
    if let Credential::Password { username, password } = credential {
        let form =
            [("grant_type", "password"), ("access_type", "offline"), ("username", username), ("password", password)];
        // Many realms know only GET, and refuse this in many ways; a wrong password is refused there once more.
        if let Ok(response) = post(transport, grant, &[], &form).await {
            return Ok(response.refresh_token.filter(|token| !token.is_empty()));
        }
    }
    Ok(get(transport, grant, &[], Some(credential), true).await?.refresh_token.filter(|token| !token.is_empty()))
}

async fn get(
    transport: &Transport,
    grant: &Grant<'_>,
    scopes: &[String],
    credential: Option<&Credential>,
    offline: bool,
) -> Result<Response> {
    let mut url = realm(transport, grant)?;
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(grant.service.map(|service| ("service", service)));
        query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        if let Some(Credential::Password { username, .. }) = credential {
            query.append_pair("account", username);
        }
        if offline {
            query.append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
        }
    }
    let authorization = credential.map(|credential| basic(grant.registry, credential)).transpose()?;
    request(transport, grant, Method::GET, url, authorization, None).await
}

async fn post(transport: &Transport, grant: &Grant<'_>, scopes: &[String], form: &[(&str, &str)]) -> Result<Response> {
    let url = realm(transport, grant)?;
    // The URL type's form encoder is the only public one in the tree.
    let mut encoder = url.clone();
    encoder.set_query(None);
    {
        let mut pairs = encoder.query_pairs_mut();
        pairs.extend_pairs(form).append_pair("client_id", CLIENT_ID);
        pairs.extend_pairs(grant.service.map(|service| ("service", service)));
        if !scopes.is_empty() {
            pairs.append_pair("scope", &scopes.join(" "));
        }
    }
    let body = Bytes::from(encoder.query().unwrap_or_default().to_owned());
    request(transport, grant, Method::POST, url, None, Some(body)).await
}

async fn request(
    transport: &Transport,
    grant: &Grant<'_>,
    method: Method,
    url: Url,
    authorization: Option<HeaderValue>,
    form: Option<Bytes>,
) -> Result<Response> {
    let what = what(grant);
    let mut retry = Retry::new(transport, &what, transport.config.tries);
    let body = loop {
        match attempt(transport, grant, &what, (&method, &url), authorization.clone(), form.as_ref()).await {
            Ok(body) => break body,
            Err(failure) => retry.pause(failure).await?,
        }
    };
    // The cause stays out of the error: serde_json quotes what it read, and that is a token.
    serde_json::from_slice(&body).map_err(|_| Error::Protocol { what, why: "the answer is no token document".into() })
}

async fn attempt(
    transport: &Transport,
    grant: &Grant<'_>,
    what: &str,
    (method, url): (&Method, &Url),
    authorization: Option<HeaderValue>,
    form: Option<&Bytes>,
) -> Result<Vec<u8>, Failure> {
    let mut headers = HeaderMap::new();
    let mut payload = Payload::Empty;
    if let Some(form) = form {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        payload = Payload::Bytes(form.clone());
    }
    let (method, url) = (method.clone(), url.clone());
    let mut incoming = transport.send(Outgoing { what, method, url, headers, authorization, payload }).await?;
    if !incoming.response.status().is_success() {
        return Err(exchange::failure(transport, what, grant.registry, &mut incoming).await);
    }
    transport.body(what, &mut incoming, limit::TOKEN).await
}

fn realm(transport: &Transport, grant: &Grant<'_>) -> Result<Url> {
    let what = what(grant);
    let realm = Url::parse(grant.realm)
        .map_err(|_| Error::Protocol { what: what.clone(), why: "the realm is no URL".into() })?;
    transport.check_jump(&what, grant.from, &realm)?;
    Ok(realm)
}

fn bearer(registry: &str, token: &str, life: Option<u64>) -> Result<Token> {
    let unfit = |_| Error::Protocol {
        what: format!("token for {registry}"),
        why: "the token does not fit into a header".into(),
    };
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(unfit)?;
    header.set_sensitive(true);
    let life = Duration::from_secs(life.unwrap_or(SHORTEST_LIFE).clamp(SHORTEST_LIFE, 24 * 3600));
    Ok(Token { header, expires: Instant::now() + life - LEEWAY })
}

fn what(grant: &Grant<'_>) -> String {
    format!("token for {}", grant.registry)
}
