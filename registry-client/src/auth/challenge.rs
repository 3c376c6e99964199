//! Reads `WWW-Authenticate` headers (RFC 9110, section 11.6.1): which scheme, which realm.
//!
//! Pure. A header may hold several challenges, and values may be quoted with commas inside. Bearer is preferred to Basic;
//! other schemes are ignored.

/// What a registry wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password (RFC 7617).
    Basic,
    /// A token, to be had at `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The best challenge of all header values.
pub(crate) fn choose(headers: &[String]) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.iter().flat_map(|header| parse(header)).collect();
    all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. })).or(all.first()).cloned()
}

/// All challenges of one header value that we understand.
fn parse(header: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = vec![];
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let name_end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c))).unwrap_or(rest.len());
        if name_end == 0 {
            // Not the grammar: nothing after this can be trusted.
            break;
        }
        let (name, after) = rest.split_at(name_end);
        let after_spaces = after.trim_start_matches([' ', '\t']);
        if let (Some(value), Some((_, parameters))) = (after_spaces.strip_prefix('='), schemes.last_mut())
            && !value.starts_with('=')
        {
            let Some((value, after)) = parameter_value(value.trim_start_matches([' ', '\t'])) else {
                // A quote that is never closed: nobody knows where a challenge ends that it is in.
                schemes.pop();
                break;
            };
            parameters.push((name.to_ascii_lowercase(), value));
            rest = after;
        } else {
            schemes.push((name.to_ascii_lowercase(), vec![]));
            rest = after.trim_start_matches('=');
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    schemes.into_iter().filter_map(|(scheme, parameters)| understand(&scheme, parameters)).collect()
}

fn understand(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    let take = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer { realm: take("realm")?, service: take("service"), scope: take("scope") }),
        _ => None,
    }
}

/// A token or quoted string at the start of `text`, and what follows it; `None` for a quote that is never closed.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[index + 1..])),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into), scope: scope.map(Into::into) }
    }

    #[test]
    fn registries_of_this_world() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/ubuntu:pull,push""#;
        assert_eq!(
            parse(hub),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/ubuntu:pull,push")
            )]
        );
        assert_eq!(parse(r#"Basic realm="Registry, Realm""#), [Challenge::Basic]);
        assert_eq!(parse("Basic"), [Challenge::Basic]);
        assert_eq!(parse(r#"bearer Realm = "https://a/t" , service=x"#), [bearer("https://a/t", Some("x"), None)]);
        assert_eq!(parse(r#"Bearer realm="a\"b""#), [bearer("a\"b", None, None)]);
        assert_eq!(parse(r#"Basic, Bearer realm="https://a/t"#), [Challenge::Basic]);
    }

    #[test]
    fn several_challenges() {
        let both = r#"Negotiate abc==, Basic realm="r", Bearer realm="https://a/t""#;
        assert_eq!(parse(both), [Challenge::Basic, bearer("https://a/t", None, None)]);
        assert_eq!(choose(&[both.to_owned()]), Some(bearer("https://a/t", None, None)));
        assert_eq!(choose(&["Basic".into(), "Bearer realm=x".into()]), Some(bearer("x", None, None)));
        assert_eq!(choose(&["Digest realm=x".into(), "Bearer service=x".into(), String::new()]), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in r#"[ -~é\t"\\=,]{0,60}"#) {
            let _ = parse(&text);
        }
    }
}
