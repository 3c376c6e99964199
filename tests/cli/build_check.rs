//! `img build --check` and `--call`: what is said of a Buildfile without building it, in words and in the JSON of
//! `docker buildx build --call`.

use crate::support::Sandbox;

const DOUBTFUL: &str = "# check=experimental=all\n# the base\nFROM busybox as Base\nMAINTAINER me\nENV a b\nWORKDIR rel\n\
                        ARG TOKEN\nCOPY hidden /x\nCMD echo $nope\nCMD true\nEXPOSE 1:2/TCP\nENV c=$nope\nFROM base AS base\n\
                        FROM --platform=linux/amd64 busybox AS context\nrun true \\\n\n true\n";

fn sandbox(buildfile: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("context/Buildfile", buildfile);
    sandbox.write("context/.dockerignore", "hidden\n");
    sandbox.write("context/hidden", "x");
    sandbox
}

/// Rules and lines of a JSON answer.
fn rules(json: &serde_json::Value) -> Vec<(String, u64)> {
    let list = json["warnings"].as_array().expect("a list of warnings");
    let one = |w: &serde_json::Value| {
        let place = w["location"]["ranges"][0]["start"]["line"].as_u64().expect("a line");
        (w["ruleName"].as_str().expect("a name").to_owned(), place)
    };
    list.iter().map(one).collect()
}

#[test]
fn every_doubtful_thing_with_its_line() {
    let sandbox = sandbox(DOUBTFUL);
    let at = sandbox.text("context");
    let out = sandbox.img(&["build", "--call=check,format=json", &at]);
    out.exits(1);
    let mut found = rules(&out.json());
    found.sort();
    let wanted = [
        ("ConsistentInstructionCasing", 15),
        ("CopyIgnoredFile", 8),
        ("DuplicateStageName", 13),
        ("ExposeInvalidFormat", 11),
        ("ExposeProtoCasing", 11),
        ("FromAsCasing", 3),
        ("FromPlatformFlagConstDisallowed", 14),
        ("InvalidDefinitionDescription", 3),
        ("JSONArgsRecommended", 9),
        ("JSONArgsRecommended", 10),
        ("LegacyKeyValueFormat", 5),
        ("MaintainerDeprecated", 4),
        ("MultipleInstructionsDisallowed", 9),
        ("NoEmptyContinuation", 16),
        ("ReservedStageName", 14),
        ("SecretsUsedInArgOrEnv", 7),
        ("StageNameCasing", 3),
        ("UndefinedVar", 12),
        ("WorkdirRelativePath", 6),
    ];
    assert_eq!(found, wanted.map(|(name, line)| (name.to_owned(), line)));
    let json = out.json();
    assert_eq!(json["sources"][0]["filename"], "Buildfile");
    let first = &json["warnings"][0];
    assert!(first["url"].as_str().expect("a page").starts_with("https://docs.docker.com/go/dockerfile/rule/"));
    assert!(first["description"].is_string() && first["detail"].is_string(), "{first}");
    // Nothing was built, and no layer fetched.
    assert_eq!(sandbox.ok(&["images", "-aq"]), "");
    assert!(!sandbox.root().join("layers/sha256").read_dir().is_ok_and(|mut entries| entries.next().is_some()));

    let text = sandbox.img(&["build", "--check", &at]);
    text.exits(1).prints(&[
        "Buildfile:3:17: StageNameCasing: Stage name 'Base' should be lowercase\n 3 | FROM busybox as Base\n   |                 ^^^^\n\
         see https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n",
        "Check complete, 19 warnings have been found!",
    ]);
}

#[test]
fn the_rest_of_the_rules_and_a_clean_file() {
    let sandbox = sandbox("ARG tag\nFROM busybox:$tag AS a\nFROM --platform=$TARGETPLATFORM busybox$nope AS b\n");
    let at = sandbox.text("context");
    let out = sandbox.img(&["build", "--check", "--format", "json", "--build-arg", "tag=latest", &at]);
    out.exits(1);
    let wanted = [("InvalidDefaultArgInFrom", 2), ("RedundantTargetPlatform", 3), ("UndefinedArgInFrom", 3)];
    let mut found = rules(&out.json());
    found.sort();
    assert_eq!(found, wanted.map(|(name, line)| (name.to_owned(), line)));

    sandbox.write("context/Buildfile", "FROM busybox\nCMD [\"true\"]\n");
    sandbox.img(&["build", "--check", &at]).ok().prints_exactly("Check complete, no warnings found.\n");
    let json = sandbox.img(&["build", "--call", "check", "--format=json", &at]).ok().json();
    assert_eq!(json["warnings"], serde_json::json!([]));
}

#[test]
fn rules_are_chosen_by_directive_or_argument() {
    let sandbox = sandbox("# check=skip=JSONArgsRecommended;error=true\nFROM busybox\nCMD true\nWORKDIR x\n");
    let at = sandbox.text("context");
    let check = |words: &[&str]| sandbox.img(&[&["build"], words, &[at.as_str()]].concat());
    assert_eq!(rules(&check(&["--check", "--format=json"]).json()), [("WorkdirRelativePath".to_owned(), 4)]);
    check(&[]).refuses(1, &["1 warning", "check directive"]);
    let argument = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=WorkdirRelativePath"];
    let found = check(&[&argument[..], &["--check", "--format=json"]].concat());
    assert_eq!(rules(&found.json()), [("JSONArgsRecommended".to_owned(), 3)], "it stands for the directive");
    check(&argument).ok().says(&["1 warning found"]);
    let all = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"];
    let quiet = check(&all);
    assert!(!quiet.ok().stderr().contains("warning"), "{quiet}");
    check(&["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=nonsense"])
        .refuses(1, &["BUILDKIT_DOCKERFILE_CHECK", "nonsense"]);
}

#[test]
fn a_file_that_cannot_be_built() {
    let sandbox = sandbox("FROM busybox as a\nCOPI x y\n");
    let at = sandbox.text("context");
    sandbox.img(&["build", "--check", &at]).exits(1).says(&["Buildfile:2:1", "unknown instruction COPI", "^^^^"]);
    let json = sandbox.img(&["build", "--call=check,format=json", &at]).exits(1).json();
    assert_eq!(json["buildError"]["message"], "unknown instruction COPI");
    assert_eq!(json["buildError"]["location"]["ranges"][0]["start"]["line"], 2);
    // What can be said is said even if a base image is nowhere.
    sandbox.write("context/Buildfile", "FROM no-such-image-here as a\n");
    let json = sandbox.img(&["build", "--call=check,format=json", &at]).exits(1).json();
    assert_eq!(rules(&json), [("FromAsCasing".to_owned(), 1)]);
    sandbox.img(&["build", "--call=nonsense", &at]).says(&["nonsense", "outline"]);
}

#[test]
fn outline_and_targets() {
    let text = "# which base\nARG BASE=busybox\n# builder compiles\nFROM $BASE AS builder\n# VERSION is what to call it\n\
                ARG VERSION=1\nRUN --mount=type=cache,target=/cache true\nFROM scratch AS aside\nARG NEVER\n\
                # release ships\nFROM builder AS release\nARG LATER=$VERSION\n";
    let sandbox = sandbox(text);
    let at = sandbox.text("context");
    let out = sandbox.img(&["build", "--call=outline", "--build-arg", "VERSION=2", &at]);
    out.ok().prints_exactly(
        "TARGET:      release\nDESCRIPTION: ships\n\n\
         BUILD ARG   VALUE     DESCRIPTION\nBASE        busybox\nVERSION     2         is what to call it\nLATER       2\n\n\
         CACHE\n/cache\n",
    );
    let json = sandbox.img(&["build", "--call=outline,format=json", "--target", "builder", &at]).ok().json();
    assert_eq!(json["name"], "builder");
    assert_eq!(json["args"][1]["description"], "is what to call it");
    assert_eq!(json["args"][1]["location"]["ranges"][0]["start"]["line"], 6);
    assert_eq!(json["args"].as_array().map(Vec::len), Some(2));

    sandbox.img(&["build", "--call=targets", &at]).ok().prints_exactly(
        "TARGET              DESCRIPTION\nbuilder             compiles\naside\nrelease (default)   ships\n",
    );
    let json = sandbox.img(&["build", "--call=targets,format=json", &at]).ok().json();
    let targets = json["targets"].as_array().expect("a list");
    assert_eq!((&targets[2]["name"], &targets[2]["default"]), (&"release".into(), &true.into()));
    assert_eq!(targets[0]["base"], "$BASE");
}
