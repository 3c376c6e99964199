//! The distribution spec as the test registry speaks it: manifests, blobs, uploads, tags, referrers.

use super::http::{Reply, Request};
use super::{Shared, State, auth};
use crate::digest::Digest;

/// Answers a request.
pub(super) fn serve(shared: &Shared, request: &Request) -> Reply {
    if request.path == "/token" {
        return auth::token(shared, request);
    }
    if let Some(refusal) = auth::check(shared, request) {
        return refusal;
    }
    let path = request.path.trim_start_matches("/v2");
    let mut state = shared.state();
    if path == "/" || path.is_empty() {
        return Reply::new(200);
    }
    let route = |part: &str| path.rfind(part).map(|at| (path[1..at].to_owned(), path[at + part.len()..].to_owned()));
    if let Some((repository, session)) = route("/blobs/uploads/") {
        return upload(&mut state, request, &repository, &session);
    }
    if let Some((repository, digest)) = route("/blobs/") {
        return blob(&state, request, &repository, &digest);
    }
    if let Some((repository, name)) = route("/manifests/") {
        return manifest(&mut state, request, repository, &name);
    }
    if let Some((repository, _)) = route("/tags/list") {
        return tags(&state, request, &repository);
    }
    Reply::error(404, "NOT_FOUND")
}

fn blob(state: &State, request: &Request, repository: &str, digest: &str) -> Reply {
    let Ok(digest) = digest.parse::<Digest>() else { return Reply::error(400, "DIGEST_INVALID") };
    if !state.members.contains(&(repository.to_owned(), digest)) {
        return Reply::error(404, "BLOB_UNKNOWN");
    }
    let bytes = &state.blobs[&digest];
    let reply = Reply::new(200)
        .with("Content-Type", "application/octet-stream")
        .with("Accept-Ranges", "bytes")
        .with("Docker-Content-Digest", &digest.to_string());
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let range = range.and_then(|(first, last)| Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok())));
    match range {
        None => reply.body(bytes.clone()),
        Some((start, last)) if start < bytes.len() => {
            let end = last.map_or(bytes.len(), |last| bytes.len().min(last + 1));
            let range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
            Reply { status: 206, ..reply }.with("Content-Range", &range).body(bytes[start..end].to_owned())
        }
        Some(_) => Reply::error(416, "RANGE_INVALID"),
    }
}

fn manifest(state: &mut State, request: &Request, repository: String, name: &str) -> Reply {
    let key = (repository, name.to_owned());
    match request.method.as_str() {
        "PUT" => {
            let media_type = request.header("content-type").unwrap_or_default().to_owned();
            let digest = Digest::of(&request.body);
            if name.contains(':') && name != digest.to_string() {
                return Reply::error(400, "DIGEST_INVALID");
            }
            for name in [name.to_owned(), digest.to_string()] {
                state.manifests.insert((key.0.clone(), name), (media_type.clone(), request.body.clone()));
            }
            Reply::new(201).with("Docker-Content-Digest", &digest.to_string())
        }
        "DELETE" => {
            let Some((_, gone)) = state.manifests.remove(&key) else { return Reply::error(404, "MANIFEST_UNKNOWN") };
            state.manifests.retain(|(repository, _), (_, bytes)| *repository != key.0 || *bytes != gone);
            Reply::new(202)
        }
        _ => {
            let Some((media_type, bytes)) = state.manifests.get(&key) else {
                return Reply::error(404, "MANIFEST_UNKNOWN");
            };
            let digest = Digest::of(bytes).to_string();
            Reply::new(200).with("Content-Type", media_type).with("Docker-Content-Digest", &digest).body(bytes.clone())
        }
    }
}

fn tags(state: &State, request: &Request, repository: &str) -> Reply {
    let last = request.query("last").unwrap_or_default();
    let all = state.manifests.keys().filter(|(r, name)| r == repository && !name.contains(':') && name.as_str() > last);
    let page: Vec<&String> = all.map(|(_, name)| name).take(state.page.saturating_add(1)).collect();
    let shown = &page[..page.len().min(state.page)];
    let body = serde_json::json!({ "name": repository, "tags": shown });
    let reply = Reply::new(200).with("Content-Type", "application/json").body(body.to_string().into_bytes());
    match shown.last() {
        Some(last) if page.len() > shown.len() => {
            reply.with("Link", &format!(r#"</v2/{repository}/tags/list?last={last}&n={}>; rel="next""#, state.page))
        }
        _ => reply,
    }
}

fn upload(state: &mut State, request: &Request, repository: &str, session: &str) -> Reply {
    let accepted = |status: u16, session: &str, size: usize| {
        Reply::new(status)
            .with("Location", &format!("/v2/{repository}/blobs/uploads/{session}?state=s"))
            .with("Range", &format!("0-{}", size.saturating_sub(1)))
    };
    if request.method == "POST" {
        let mounted = request.query("mount").zip(request.query("from")).and_then(|(digest, from)| {
            let digest = digest.parse::<Digest>().ok()?;
            state.members.contains(&(from.to_owned(), digest)).then_some(digest)
        });
        if let Some(digest) = mounted {
            state.members.insert((repository.to_owned(), digest));
            return Reply::new(201).with("Docker-Content-Digest", &digest.to_string());
        }
        let session = format!("session-{}", state.next());
        state.uploads.insert(session.clone(), vec![]);
        return accepted(202, &session, 0);
    }
    let Some(bytes) = state.uploads.get_mut(session) else { return Reply::error(404, "BLOB_UPLOAD_UNKNOWN") };
    if request.method == "GET" {
        return accepted(204, session, bytes.len());
    }
    if let Some(range) = request.header("content-range") {
        let start = range.split('-').next().and_then(|start| start.parse::<usize>().ok());
        if start != Some(bytes.len()) {
            return accepted(416, session, bytes.len());
        }
    }
    bytes.extend_from_slice(&request.body);
    if request.method == "PATCH" {
        let size = bytes.len();
        return accepted(202, session, size);
    }
    let bytes = state.uploads.remove(session).unwrap_or_default();
    let digest = Digest::of(&bytes);
    if request.query("digest") != Some(&digest.to_string()) {
        return Reply::error(400, "DIGEST_INVALID");
    }
    state.blobs.insert(digest, bytes);
    state.members.insert((repository.to_owned(), digest));
    Reply::new(201).with("Docker-Content-Digest", &digest.to_string())
}

/// Keeps what came of an upload whose connection broke.
pub(super) fn keep_part(shared: &Shared, request: &Request) {
    let session = request.path.rsplit('/').next().unwrap_or_default();
    if let Some(bytes) = shared.state().uploads.get_mut(session) {
        bytes.extend_from_slice(&request.body);
    }
}
