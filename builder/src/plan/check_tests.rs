//! Outlines, and checks of files that cannot be built.

use super::*;
use crate::ports::{BaseImage, PortError};

/// No image is ever found.
struct Nothing;

impl ImageSource for Nothing {
    fn resolve(&self, _: &str, _: Option<&str>, _: bool) -> Result<BaseImage, PortError> {
        Err("not found".into())
    }
}

fn outline_of(text: &str, args: &[(&str, &str)], target: Option<&str>) -> Outline {
    let file = Buildfile::parse("f", text.as_bytes()).unwrap();
    let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = BuildOptions { build_args, target: target.map(str::to_owned), ..BuildOptions::default() };
    outline(&Call { file: &file, options: &options, ignore: None }, &Nothing).unwrap()
}

#[test]
fn arguments_that_matter() {
    let text = "# used picks the base\nARG used=scratch\nARG other\n# base is where it begins\nFROM $used AS base\n\
                ARG here=1\nFROM scratch AS aside\nARG aside\nFROM base\nARG other=$here-2\n# last is described\nARG last\n";
    let found = outline_of(text, &[("here", "9")], None);
    let brief: Vec<_> = found.args.iter().map(|arg| (arg.name.as_str(), arg.value.as_deref())).collect();
    assert_eq!(brief, [("used", Some("scratch")), ("here", Some("9")), ("other", Some("9-2")), ("last", None)]);
    assert_eq!(found.args[0].description, "picks the base");
    assert_eq!(found.args[3].description, "is described");
    assert_eq!(found.name, None);
    let base = outline_of(text, &[], Some("base"));
    assert_eq!((base.name.as_deref(), base.description.as_str()), (Some("base"), "is where it begins"));
    assert_eq!(base.args.len(), 2);
}

#[test]
fn caches() {
    let text = "FROM scratch\nRUN --mount=type=cache,target=/a --mount=type=cache,id=b,target=/x y\n\
                RUN --mount=type=cache,target=/a z\n";
    let found = outline_of(text, &[], None);
    let ids: Vec<&str> = found.caches.iter().map(|cache| cache.id.as_str()).collect();
    assert_eq!(ids, ["/a", "b"]);
    assert!(found.secrets.is_empty() && found.ssh.is_empty());
}

#[test]
fn mounts_of_secrets_and_agents() {
    let mut found = Outline::default();
    for text in
        ["type=secret,id=a", "type=secret,target=/run/secrets/b,required", "type=ssh", "type=secret,id=a,required=true"]
    {
        found.add_mount(text, Span::line(1));
    }
    let brief: Vec<_> = found.secrets.iter().map(|secret| (secret.id.as_str(), secret.required)).collect();
    assert_eq!(brief, [("a", true), ("b", true)]);
    assert_eq!(found.ssh[0].id, "default");
}

#[test]
fn warnings_come_also_without_the_base_image() {
    let file = Buildfile::parse("f", b"FROM a as b\n").unwrap();
    let (warnings, error) = check(&Call { file: &file, options: &BuildOptions::default(), ignore: None }, &Nothing);
    assert_eq!(warnings.len(), 1);
    assert!(matches!(error, Some(BuildError::BaseImage { .. })));
}
