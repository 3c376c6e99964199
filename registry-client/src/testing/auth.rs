//! The authorization of the test registry: basic, or bearer tokens of a token server at `/token`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::http::{Reply, Request, pairs};
use super::{Shared, State};

/// What authorization a registry wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// None.
    #[default]
    Open,
    /// This user name and password with each request.
    Basic(String, String),
    /// A token with the right scope.
    Bearer {
        /// The user name and password that the token server knows.
        user: (String, String),
        /// Whether anybody may pull.
        anonymous_pull: bool,
    },
}

/// The 401 for a request that may not be served, or `None` if it may.
pub(super) fn check(shared: &Shared, request: &Request) -> Option<Reply> {
    let state = shared.state();
    let given = request.header("authorization");
    let refusal = Reply::error(401, "UNAUTHORIZED");
    match &state.auth {
        Auth::Open => None,
        Auth::Basic(user, password) => {
            let right = given == Some(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
            (!right).then(|| refusal.with("WWW-Authenticate", r#"Basic realm="test, registry""#))
        }
        Auth::Bearer { .. } => {
            let needed = needed(request);
            let granted = given.and_then(|header| state.tokens.get(header.strip_prefix("Bearer ")?));
            let right = granted.is_some_and(|granted| needed.iter().all(|need| granted.contains(need)));
            let scope = scope(&needed).map_or_else(String::new, |scope| format!(r#",scope="{scope}""#));
            let challenge = format!(r#"Bearer realm="http://{}/token",service="test registry"{scope}"#, shared.host);
            (!right).then(|| refusal.with("WWW-Authenticate", &challenge))
        }
    }
}

/// What a request needs, as `repository action`.
fn needed(request: &Request) -> Vec<String> {
    let path = request.path.trim_start_matches("/v2/");
    let end = ["/manifests/", "/blobs/", "/tags/", "/referrers/"].iter().filter_map(|part| path.rfind(part)).min();
    let Some(repository) = end.map(|end| &path[..end]) else { return vec![] };
    let actions: &[&str] = match request.method.as_str() {
        "GET" | "HEAD" if path.contains("/uploads/") => &["push"],
        "GET" | "HEAD" => &["pull"],
        "DELETE" => &["delete"],
        _ => &["pull", "push"],
    };
    actions.iter().map(|action| format!("{repository} {action}")).collect()
}

fn scope(needed: &[String]) -> Option<String> {
    let (repository, _) = needed.first()?.split_once(' ')?;
    let actions: Vec<&str> = needed.iter().filter_map(|need| Some(need.split_once(' ')?.1)).collect();
    Some(format!("repository:{repository}:{}", actions.join(",")))
}

/// The token server.
pub(super) fn token(shared: &Shared, request: &Request) -> Reply {
    let mut state = shared.state();
    let Auth::Bearer { user, anonymous_pull } = state.auth.clone() else { return Reply::error(404, "NOT_FOUND") };
    let form = pairs(&String::from_utf8_lossy(&request.body));
    let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", user.0, user.1)));
    let known = match (request.method.as_str(), field("grant_type")) {
        ("POST", Some("password")) => field("username") == Some(&user.0) && field("password") == Some(&user.1),
        ("POST", Some("refresh_token")) => {
            field("refresh_token").is_some_and(|token| state.refresh_tokens.contains(token))
        }
        ("POST", _) => return Reply::error(400, "BAD_REQUEST"),
        _ => request.header("authorization") == Some(&basic),
    };
    if !known && (request.method == "POST" || request.header("authorization").is_some()) {
        return Reply::error(401, "INCORRECT_USERNAME_OR_PASSWORD");
    }
    let scopes = request.query.iter().chain(&form).filter(|(name, _)| name == "scope");
    let granted: Vec<String> = scopes
        .flat_map(|(_, scopes)| scopes.split(' '))
        .flat_map(|scope| grants(scope, known, anonymous_pull))
        .collect();
    let token = format!("token-{}", state.next());
    state.tokens.insert(token.clone(), granted);
    let mut answer = serde_json::json!({ "token": token, "expires_in": 300 });
    if field("access_type") == Some("offline") || request.query("offline_token") == Some("true") {
        answer["refresh_token"] = refresh(&mut state).into();
    }
    Reply::new(200).with("Content-Type", "application/json").body(answer.to_string().into_bytes())
}

fn refresh(state: &mut State) -> String {
    let token = format!("refresh-{}", state.next());
    state.refresh_tokens.insert(token.clone());
    token
}

/// What a scope such as `repository:a/b:pull,push` grants.
fn grants(scope: &str, known: bool, anonymous_pull: bool) -> Vec<String> {
    let parts: Vec<&str> = scope.splitn(3, ':').collect();
    let ["repository", repository, actions] = parts[..] else { return vec![] };
    let allowed = |action: &&str| known || (anonymous_pull && *action == "pull");
    actions.split(',').filter(allowed).map(|action| format!("{repository} {action}")).collect()
}
