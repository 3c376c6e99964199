//! From a reference to the manifest and config of one image: index, platform, manifest, config, each verified.
//!
//! Every document is bounded, hashed and compared with the digest it was asked by; mirrors are asked in order. What is not
//! a container image (artifacts, attestations, foreign layers) is refused with an explanation.

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::endpoint::{self, Endpoint};
use crate::error::{Error, Result};
use crate::exchange::{self, Call, Inner};
use crate::limit;
use crate::manifest::{self, Document, Index, Manifest};
use crate::media_type::MediaType;
use crate::platform::Platform;
use crate::reference::Reference;

/// A manifest or index as it came, its digest verified against the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// What it is.
    pub media_type: MediaType,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The bytes, never encoded anew.
    pub bytes: Vec<u8>,
    /// Who gave it to us.
    pub origin: Origin,
}

/// Where a document came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The mirror or registry.
    pub endpoint: Endpoint,
    /// What the registry says about our allowance, if it does (Docker Hub does).
    pub rate_limit: Option<RateLimit>,
}

/// How many manifests we may still pull, as told by the `RateLimit-…` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Pulls that are left in the window.
    pub remaining: u64,
    /// Pulls in a whole window.
    pub limit: Option<u64>,
    /// The length of the window in seconds.
    pub window: Option<u64>,
}

/// An image that has been found and may be pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The reference that was asked for.
    pub reference: Reference,
    /// The outermost index, if the reference led to one.
    pub index: Option<RawManifest>,
    /// The manifest of the chosen platform.
    pub manifest: RawManifest,
    /// The config, as the manifest names it.
    pub config: Descriptor,
    /// The config's bytes, size and digest verified.
    pub config_bytes: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// What the image runs on, by its index entry or else its config.
    pub platform: Platform,
}

impl RawManifest {
    /// The manifest of one image.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this is an index or anything else.
    pub fn manifest(&self) -> Result<Manifest> {
        Manifest::parse(self.media_type.as_str(), &self.bytes)
    }

    /// The index.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this is a manifest or anything else.
    pub fn index(&self) -> Result<Index> {
        Index::parse(self.media_type.as_str(), &self.bytes)
    }
}

/// Fetches the manifest that `reference` names, as one of the types in `accept` (all that we know, if empty).
pub(crate) async fn manifest(inner: &Inner, reference: &Reference, accept: &[&str]) -> Result<RawManifest> {
    let what = format!("manifest of {}", reference.canonical());
    let endpoints = endpoint::for_pull(inner.config(), reference)?;
    let accept = if accept.is_empty() { &MediaType::MANIFESTS[..] } else { accept };
    for (index, endpoint) in endpoints.iter().enumerate() {
        match manifest_at(inner, endpoint, reference, accept, &what).await {
            Ok(manifest) => return Ok(manifest),
            Err(error) => exchange::next_endpoint(inner, &what, endpoint, index + 1 == endpoints.len(), error)?,
        }
    }
    Err(Error::NotFound { what, said: Default::default() })
}

async fn manifest_at(
    inner: &Inner,
    endpoint: &Endpoint,
    reference: &Reference,
    accept: &[&str],
    what: &str,
) -> Result<RawManifest> {
    let path = format!("/manifests/{}", reference.selector());
    let mut call = Call::new(what, Method::GET, &path, "pull");
    call.headers.insert(ACCEPT, accept_header(what, accept)?);
    let (incoming, bytes) = exchange::fetch(inner, endpoint, &call, inner.config().manifest_size).await?;
    let headers = incoming.response.headers();
    let digest = Digest::of(&bytes);
    let stated = stated_digest(what, headers)?;
    for expected in reference.digest().copied().into_iter().chain(stated) {
        if expected != digest {
            return Err(Error::DigestMismatch { what: what.to_owned(), expected, actual: digest });
        }
    }
    let content_type = content_type(headers);
    let origin = Origin { endpoint: endpoint.clone(), rate_limit: rate_limit(headers) };
    // Documents of other types are given out as they are; those that we know must be in order.
    let media_type = if content_type.kind().is_some() || is_generic(&content_type) {
        manifest::parse(what, &content_type, &bytes)?.0
    } else {
        content_type
    };
    Ok(RawManifest { media_type, digest, bytes, origin })
}

/// What a HEAD request says about the manifest of `reference`; `None` if there is none. Costs no pull at Docker Hub.
pub(crate) async fn manifest_exists(inner: &Inner, reference: &Reference) -> Result<Option<Descriptor>> {
    let what = format!("manifest of {}", reference.canonical());
    let endpoints = endpoint::for_pull(inner.config(), reference)?;
    let path = format!("/manifests/{}", reference.selector());
    for (index, endpoint) in endpoints.iter().enumerate() {
        let mut call = Call::new(&what, Method::HEAD, &path, "pull");
        call.headers.insert(ACCEPT, accept_header(&what, &MediaType::MANIFESTS)?);
        match exchange::head(inner, endpoint, &call).await {
            Ok(incoming) => {
                let headers = incoming.response.headers();
                let digest = stated_digest(&what, headers)?.or(reference.digest().copied());
                let why = || Error::Protocol {
                    what: what.clone(),
                    why: "the registry did not name the manifest's digest".into(),
                };
                let size = incoming.response.headers().get(reqwest::header::CONTENT_LENGTH);
                let size = size.and_then(|size| size.to_str().ok()?.parse().ok()).unwrap_or(0);
                return Ok(Some(Descriptor::new(content_type(headers).as_str(), digest.ok_or_else(why)?, size)));
            }
            Err(error) if error.is_not_found() && index + 1 == endpoints.len() => return Ok(None),
            Err(error) => exchange::next_endpoint(inner, &what, endpoint, index + 1 == endpoints.len(), error)?,
        }
    }
    Ok(None)
}

/// Finds the image for `platform` behind `reference`.
pub(crate) async fn resolve(inner: &Inner, reference: &Reference, platform: &Platform) -> Result<ResolvedImage> {
    let what = format!("image {}", reference.canonical());
    let mut found = manifest(inner, reference, &[]).await?;
    let mut index = None;
    let mut chosen = None;
    for _ in 0..limit::INDEX_DEPTH {
        let image = match manifest::parse(&what, &found.media_type, &found.bytes)?.1 {
            Document::Manifest(image) => image,
            Document::Index(document) => {
                let entry = choose(&what, &document, platform)?;
                let pinned = reference.with_digest(entry.digest);
                chosen = entry.platform.or(chosen);
                let next = manifest(inner, &pinned, &[]).await?;
                check_size(&what, entry.size, next.bytes.len() as u64)?;
                if entry.media_type.kind() != next.media_type.kind() {
                    let why =
                        format!("its index calls {} {}, and it is {}", entry.digest, entry.media_type, next.media_type);
                    return Err(Error::Unsupported { what, why: crate::redact::text(&why) });
                }
                index = index.or(Some(found));
                found = next;
                continue;
            }
        };
        return finish(inner, reference, index, (found, *image), chosen).await;
    }
    Err(Error::Unsupported { what, why: format!("indexes are nested more than {} deep", limit::INDEX_DEPTH) })
}

/// The image whose manifest has been fetched already, as a part of `index`.
pub(crate) async fn image(
    inner: &Inner,
    reference: &Reference,
    index: &RawManifest,
    manifest: RawManifest,
    platform: Option<Platform>,
) -> Result<ResolvedImage> {
    let image = manifest.manifest()?;
    finish(inner, reference, Some(index.clone()), (manifest, image), platform).await
}

/// Fetches the config of the image that was found.
async fn finish(
    inner: &Inner,
    reference: &Reference,
    index: Option<RawManifest>,
    (manifest, image): (RawManifest, Manifest),
    platform: Option<Platform>,
) -> Result<ResolvedImage> {
    let what = format!("image {}", reference.canonical());
    image.check_image(&what, inner.config().foreign_layers)?;
    let config_bytes = config(inner, reference, &image.config).await?;
    let platform = match platform {
        Some(platform) => platform,
        None => config_platform(&what, &config_bytes)?,
    };
    let (reference, config, layers) = (reference.clone(), image.config, image.layers);
    Ok(ResolvedImage { reference, index, manifest, config, config_bytes, layers, platform })
}

/// The entry of an index that serves `platform` best; the first of equals.
fn choose(what: &str, index: &Index, platform: &Platform) -> Result<Descriptor> {
    let images = || {
        index.manifests.iter().filter(|entry| {
            let attestation = entry.platform.as_ref().is_some_and(Platform::is_attestation)
                || entry.annotations.as_ref().is_some_and(|a| a.contains_key("vnd.docker.reference.type"));
            !attestation && entry.media_type.kind().is_some()
        })
    };
    let ranked = images().filter_map(|entry| Some((platform.rank(entry.platform.as_ref()?)?, entry)));
    if let Some((_, entry)) = ranked.min_by_key(|(rank, _)| *rank) {
        return Ok(entry.clone());
    }
    // Tools that make images for one platform leave it out.
    let mut unnamed = images().filter(|entry| entry.platform.is_none());
    if let (Some(entry), None) = (unnamed.next(), unnamed.next()) {
        return Ok(entry.clone());
    }
    let mut offered: Vec<String> = images().filter_map(|entry| Some(entry.platform.as_ref()?.to_string())).collect();
    offered.dedup();
    let offered = if offered.is_empty() { "none".into() } else { crate::redact::text(&offered.join(", ")) };
    Err(Error::NoPlatform { what: what.to_owned(), wanted: platform.to_string(), offered })
}

/// A config's bytes, verified.
async fn config(inner: &Inner, reference: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let what = format!("config of {}", reference.canonical());
    if descriptor.size > inner.config().config_size {
        return Err(Error::TooLarge { what, limit: inner.config().config_size });
    }
    let endpoints = endpoint::for_pull(inner.config(), &reference.with_digest(descriptor.digest))?;
    let path = format!("/blobs/{}", descriptor.digest);
    for (index, endpoint) in endpoints.iter().enumerate() {
        let call = Call::new(&what, Method::GET, &path, "pull");
        let result = match exchange::fetch(inner, endpoint, &call, inner.config().config_size).await {
            Ok((_, bytes)) => check_content(&what, descriptor, &bytes).map(|()| bytes),
            Err(error) => Err(error),
        };
        match result {
            Ok(bytes) => return Ok(bytes),
            Err(error) => exchange::next_endpoint(inner, &what, endpoint, index + 1 == endpoints.len(), error)?,
        }
    }
    Err(Error::NotFound { what, said: Default::default() })
}

fn check_content(what: &str, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
    check_size(what, descriptor.size, bytes.len() as u64)?;
    let actual = Digest::of(bytes);
    if actual == descriptor.digest {
        return Ok(());
    }
    Err(Error::DigestMismatch { what: what.to_owned(), expected: descriptor.digest, actual })
}

fn check_size(what: &str, expected: u64, actual: u64) -> Result<()> {
    if expected == actual { Ok(()) } else { Err(Error::SizeMismatch { what: what.to_owned(), expected, actual }) }
}

fn config_platform(what: &str, config: &[u8]) -> Result<Platform> {
    let wrong =
        |error| Error::Protocol { what: what.to_owned(), why: format!("the config names no platform: {error}") };
    serde_json::from_slice(config).map_err(wrong)
}

fn accept_header(what: &str, accept: &[&str]) -> Result<HeaderValue> {
    let unfit = |_| Error::Protocol { what: what.to_owned(), why: "a media type does not fit into a header".into() };
    HeaderValue::from_str(&accept.join(", ")).map_err(unfit)
}

/// The digest in a `Docker-Content-Digest` header, if there is one of an algorithm that we know.
pub(crate) fn stated_digest(what: &str, headers: &HeaderMap) -> Result<Option<Digest>> {
    let Some(value) = headers.get("docker-content-digest").and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    if value.is_empty() || value.starts_with("sha512:") {
        return Ok(None);
    }
    let wrong = |error| Error::Protocol { what: what.to_owned(), why: format!("the digest header is wrong: {error}") };
    value.parse().map(Some).map_err(wrong)
}

fn content_type(headers: &HeaderMap) -> MediaType {
    MediaType::from_content_type(headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default())
}

/// Types that say nothing: some servers send manifests so.
fn is_generic(media_type: &MediaType) -> bool {
    let schema1 = media_type.as_str().starts_with("application/vnd.docker.distribution.manifest.v1");
    schema1 || matches!(media_type.as_str(), "" | "application/json" | "application/octet-stream" | "text/plain")
}

/// Reads headers such as `ratelimit-limit: 100;w=21600`.
fn rate_limit(headers: &HeaderMap) -> Option<RateLimit> {
    let read = |name: &str| {
        let (count, window) = headers.get(name)?.to_str().ok()?.split_once(";w=")?;
        Some((count.trim().parse::<u64>().ok()?, window.trim().parse::<u64>().ok()))
    };
    let (remaining, window) = read("ratelimit-remaining")?;
    Some(RateLimit { remaining, limit: read("ratelimit-limit").map(|(limit, _)| limit), window })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_of_docker_hub() {
        let mut headers = HeaderMap::new();
        assert_eq!(rate_limit(&headers), None);
        headers.insert("ratelimit-limit", HeaderValue::from_static("100;w=21600"));
        headers.insert("ratelimit-remaining", HeaderValue::from_static("76;w=21600"));
        assert_eq!(rate_limit(&headers), Some(RateLimit { remaining: 76, limit: Some(100), window: Some(21_600) }));
    }

    #[test]
    fn attestations_and_unknown_types_are_no_choice() {
        let entry = |media_type: &str, platform: Option<&str>| Descriptor {
            platform: platform.map(|text| text.parse().unwrap()),
            ..Descriptor::of(media_type, media_type.as_bytes())
        };
        let index =
            |manifests| Index { manifests, subject: None, artifact_type: None, annotations: Default::default() };
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let attestation = entry(MediaType::OCI_MANIFEST, Some("unknown/unknown"));
        let only_attestation = index(vec![attestation.clone(), entry("application/x", None)]);
        assert!(matches!(choose("t", &only_attestation, &amd64), Err(Error::NoPlatform { .. })));
        let unnamed = index(vec![attestation, entry(MediaType::DOCKER_MANIFEST, None)]);
        assert_eq!(choose("t", &unnamed, &amd64).unwrap().media_type.as_str(), MediaType::DOCKER_MANIFEST);
        let other = index(vec![entry(MediaType::OCI_MANIFEST, Some("linux/s390x"))]);
        let error = choose("t", &other, &amd64).unwrap_err();
        assert!(error.hint().unwrap().contains("linux/s390x"));
    }
}
