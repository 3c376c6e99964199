//! Listings: the tags of a repository, and what refers to a manifest. Paged, bounded, and checked entry by entry.

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue, LINK};

use crate::descriptor::Descriptor;
use crate::endpoint;
use crate::error::{Error, Result};
use crate::exchange::{self, Call, Inner};
use crate::limit;
use crate::manifest::{self, Document};
use crate::media_type::MediaType;
use crate::reference::{self, Reference};
use crate::resolve;
use crate::transport::{Incoming, origin};

#[derive(serde::Deserialize)]
struct Page {
    /// Some registries say null for none.
    tags: Option<Vec<String>>,
}

/// All tags of the reference's repository, in the registry's order.
pub(crate) async fn tags(inner: &Inner, reference: &Reference) -> Result<Vec<String>> {
    let what = format!("tags of {}", reference.name());
    let endpoint = endpoint::for_push(inner.config(), reference)?;
    let protocol = |why: String| Error::Protocol { what: what.clone(), why };
    let mut call = Call::new(&what, Method::GET, "/tags/list?n=1000", "pull");
    let mut tags = vec![];
    for _ in 0..limit::TAG_PAGES {
        let (incoming, body) = exchange::fetch(inner, &endpoint, &call, limit::TAG_PAGE).await?;
        let page: Page =
            serde_json::from_slice(&body).map_err(|error| protocol(format!("not a list of tags: {error}")))?;
        for tag in page.tags.unwrap_or_default() {
            reference::check_tag(&tag)
                .map_err(|why| protocol(format!("illegal tag {:?}: {why}", crate::redact::text(&tag))))?;
            tags.push(tag);
        }
        if tags.len() > limit::TAGS {
            return Err(protocol(format!("more than {} tags", limit::TAGS)));
        }
        let Some(link) = next_link(incoming.response.headers()) else { return Ok(tags) };
        let next = follow(inner, &what, &incoming, &link)?;
        if Some(&next) == call.url.as_ref() {
            return Err(protocol("the list of tags never ends".into()));
        }
        call.url = Some(next);
    }
    Err(protocol(format!("more than {} pages", limit::TAG_PAGES)))
}

/// The manifests that say they are about the one with the reference's digest, of one artifact type or of all.
pub(crate) async fn referrers(
    inner: &Inner,
    reference: &Reference,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>> {
    let what = format!("referrers of {}", reference.canonical());
    let Some(digest) = reference.digest() else {
        return Err(Error::Unsupported { what, why: "only a digest has referrers, not a tag".into() });
    };
    let endpoint = endpoint::for_push(inner.config(), reference)?;
    let path = format!("/referrers/{digest}");
    let call = Call::new(&what, Method::GET, &path, "pull");
    let found = match exchange::fetch(inner, &endpoint, &call, inner.config().manifest_size).await {
        Ok((_, body)) => match manifest::parse(&what, &MediaType::OCI_INDEX.into(), &body)?.1 {
            Document::Index(index) => index.manifests,
            Document::Manifest(_) => vec![],
        },
        // A registry without this API keeps them under a tag (distribution spec, "Referrers Tag Schema").
        Err(Error::NotFound { .. }) => {
            let tagged = reference.with_tag(&format!("sha256-{}", digest.hex()))?;
            match resolve::manifest(inner, &tagged, &[MediaType::OCI_INDEX]).await {
                Ok(manifest) => manifest.index()?.manifests,
                Err(Error::NotFound { .. }) => vec![],
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    let wanted = |entry: &Descriptor| artifact_type.is_none() || entry.artifact_type.as_deref() == artifact_type;
    Ok(found.into_iter().filter(wanted).collect())
}

/// The target of a header such as `<…>; rel="next"` (RFC 8288).
fn next_link(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|text| {
        let (target, parameters) = text.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|p| p.trim().replace('"', "").eq_ignore_ascii_case("rel=next"));
        if next { HeaderValue::from_str(target).ok() } else { None }
    })
}

/// The URL of the next page, which must be at the same place.
fn follow(inner: &Inner, what: &str, incoming: &Incoming, link: &HeaderValue) -> Result<reqwest::Url> {
    let next = inner.transport.follow(what, &incoming.url, link)?;
    if origin(&next) == origin(&incoming.url) {
        return Ok(next);
    }
    Err(Error::Protocol { what: what.to_owned(), why: "the next page is at another host".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let link = |text: &'static str| next_link(&HeaderMap::from_iter([(LINK, HeaderValue::from_static(text))]));
        assert_eq!(link(r#"</v2/a/tags/list?last=x&n=2>; rel="next""#).unwrap(), "/v2/a/tags/list?last=x&n=2");
        assert_eq!(link("<https://h/x>;rel=next").unwrap(), "https://h/x");
        assert_eq!(link(r#"</x>; rel="prev""#), None);
        assert_eq!(link("nonsense"), None);
    }
}
