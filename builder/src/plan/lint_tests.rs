//! Each rule that needs values: a file that breaks it, and one that does not.

use super::may_be_image;
use crate::buildfile::Buildfile;
use crate::context::Ignore;
use crate::options::BuildOptions;
use crate::plan::{Call, check};
use crate::ports::{BaseImage, ImageSource, PortError};

/// Any name is an image with the variable `BASE` and the working directory `/srv`; `shelled` has a shell too.
struct Images;

impl ImageSource for Images {
    fn resolve(&self, reference: &str, _: Option<&str>, _: bool) -> Result<BaseImage, PortError> {
        let shell = if reference == "shelled" { r#","Shell":["/bin/bash","-c"]"# } else { "" };
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{"Env":["BASE=1"],"WorkingDir":"/srv"{shell}}},
               "rootfs":{{"type":"layers","diff_ids":[]}}}}"#
        );
        Ok(BaseImage { id: "sha256:0".to_owned(), config: config.into_bytes(), layers: Vec::new() })
    }
}

fn check_with(text: &str, args: &[(&str, &str)], target: Option<&str>, ignore: &str) -> Vec<String> {
    let file = Buildfile::parse("f", text.as_bytes()).unwrap();
    let build_args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let target = target.map(str::to_owned);
    let options = BuildOptions { build_args, target, ..BuildOptions::default() };
    let ignore = Ignore::parse(ignore.as_bytes()).unwrap();
    let (warnings, error) = check(&Call { file: &file, options: &options, ignore: Some(&ignore) }, &Images);
    assert!(error.is_none(), "{error:?}");
    warnings
        .iter()
        .filter(|warning| warning.rule.is_published())
        .map(|warning| format!("{} {}: {}", warning.span.start.line, warning.rule.name(), warning.message))
        .collect()
}

/// The one warning of `text`, or none.
#[track_caller]
fn one(text: &str) -> Option<String> {
    let mut found = check_with(text, &[], None, "");
    assert!(found.len() <= 1, "{found:?}");
    found.pop()
}

#[track_caller]
fn breaks(text: &str, warning: &str) {
    assert_eq!(one(text).as_deref(), Some(warning), "{text}");
}

#[track_caller]
fn keeps(text: &str) {
    assert_eq!(one(text), None, "{text}");
}

#[test]
fn undefined_variables() {
    breaks(
        "FROM a\nARG version\nWORKDIR /x\nENV y=$vresion\n",
        "4 UndefinedVar: Usage of undefined variable '$vresion'",
    );
    breaks(
        "FROM a\nENV DIR=/x\nCOPY $DRI/x /y\n",
        "3 UndefinedVar: Usage of undefined variable '$DRI' (did you mean $DIR?)",
    );
    keeps("FROM a\nARG v\nENV w=$v x=$BASE y=$http_proxy\nRUN echo $shell\n");
    breaks("FROM a AS x\nARG v\nFROM b\nENV w=$v\n", "4 UndefinedVar: Usage of undefined variable '$v'");
}

#[test]
fn arguments_of_from() {
    breaks("ARG tag=1\nFROM a$tga\n", "2 UndefinedArgInFrom: FROM argument 'tga' is not declared (did you mean tag?)");
    keeps("ARG tag=1\nFROM a:$tag\n");
    keeps("ARG tag\nFROM a${tag:-1}\n");
    breaks(
        "ARG tag\nFROM a:$tag\n",
        "2 InvalidDefaultArgInFrom: Default value for ARG a:$tag results in empty or invalid base image name",
    );
    // A value given now does not help whoever builds without.
    let found = check_with("ARG base\nFROM $base\n", &[("base", "b")], None, "");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn platforms() {
    breaks(
        "FROM --platform=$TARGETPLATFORM a\n",
        "1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the \
         default behavior",
    );
    breaks(
        "FROM --platform=linux/arm64 a\n",
        "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/arm64\"",
    );
    keeps("FROM --platform=$BUILDPLATFORM a\n");
    keeps("FROM --platform=linux/arm64 a AS build_arm64\n");
}

#[test]
fn names_of_secrets() {
    breaks(
        "FROM a\nARG NPM_TOKEN\n",
        "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"NPM_TOKEN\")",
    );
    breaks(
        "FROM a\nENV password=x\n",
        "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"password\")",
    );
    keeps("FROM a\nENV MONKEY=1 PUBLIC_KEY=2 TOKEN_FILE=3 KEYS=4\nARG author\n");
}

#[test]
fn working_directories() {
    breaks(
        "FROM a\nWORKDIR app\n",
        "2 WorkdirRelativePath: Relative workdir \"app\" can have unexpected results if the base image changes",
    );
    keeps("FROM a\nWORKDIR /app\nWORKDIR src\n");
    keeps("FROM a AS x\nWORKDIR /app\nFROM x\nWORKDIR src\n");
}

#[test]
fn shell_forms() {
    breaks(
        "FROM a\nCMD x\n",
        "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
    );
    keeps("FROM a\nCMD [\"x\"]\nENTRYPOINT [\"y\"]\n");
    keeps("FROM a\nSHELL [\"/bin/bash\", \"-c\"]\nENTRYPOINT x\n");
    keeps("FROM shelled\nENTRYPOINT x\n");
}

#[test]
fn ports() {
    breaks(
        "FROM a\nEXPOSE 80/TCP\n",
        "2 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
    );
    breaks(
        "FROM a\nEXPOSE 127.0.0.1:80:80\n",
        "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found \
         '127.0.0.1:80:80'",
    );
    keeps("FROM a\nEXPOSE 80/tcp 90 100-102/udp\n");
}

#[test]
fn ignored_sources() {
    let copy = "FROM a AS x\nCOPY ./logs/one /x\nADD logs /x\nCOPY src /y\nFROM a\nCOPY --from=x logs /z\n";
    let found = check_with(copy, &[], None, "logs\n");
    assert_eq!(
        found,
        [
            "2 CopyIgnoredFile: Attempting to Copy file \"logs/one\" that is excluded by .dockerignore",
            "3 CopyIgnoredFile: Attempting to Add file \"logs\" that is excluded by .dockerignore",
        ]
    );
    assert_eq!(check_with(copy, &[], None, "logs\n!logs/one\n"), [""; 0], "exceptions make it undecidable");
}

#[test]
fn all_stages_unless_there_is_a_target() {
    let text = "FROM a AS x\nWORKDIR w\nFROM a AS y\nCMD z\nFROM y\n";
    assert_eq!(check_with(text, &[], None, "").len(), 2);
    assert_eq!(check_with(text, &[], Some("x"), "").len(), 1);
}

#[test]
fn rules_can_be_skipped() {
    keeps("# check=skip=WorkdirRelativePath,undefinedvar\nFROM a\nWORKDIR $x/w\n");
    keeps("# check=skip=all\nFROM a\nCMD x\nMAINTAINER y\n");
}

#[test]
fn what_may_be_an_image() {
    for good in ["a", "a:1", "a/b:x_Y.z", "host.io:5000/a/b", "localhost/a", "a@sha256:abc", "a__b", "a:1@sha256:ab"] {
        assert!(may_be_image(good), "{good}");
    }
    for bad in ["", ":", "a:", ":1", "A", "a//b", "/a", "a/", "a b", "a:-1", "a@", "-a", "a:b/c:"] {
        assert!(!may_be_image(bad), "{bad}");
    }
}
