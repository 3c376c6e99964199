//! Stages, base images, triggers, and the config at the end.

use super::*;

#[test]
fn only_needed_stages_are_built() {
    let mut bench = Bench::new(&[]);
    let text = "FROM missing AS unused\nRUN exit 1\nFROM base AS one\nRUN write /1 1\nFROM one AS two\nRUN write /2 2\n\
                FROM base AS last\nRUN write /3 3\n";
    assert_eq!(bench.build(text).stage, "last");
    assert_eq!(bench.scripts(), ["write /3 3"]);
    bench.options.target = Some("TWO".into());
    let output = bench.build(text);
    assert_eq!(bench.scripts(), ["write /1 1", "write /2 2"]);
    assert_eq!((bench.look(&output, "1"), bench.look(&output, "2")), ("1".into(), "2".into()));
    bench.options.target = Some("1".into());
    assert_eq!(bench.build(text).stage, "one");
    bench.options.target = Some("too".into());
    let error = bench.fail(text);
    assert_eq!(error.diagnostic().unwrap().hint.as_deref(), Some("did you mean two?"));
    bench.options.target = Some("unused".into());
    let error = bench.fail(text);
    assert!(matches!(&error, BuildError::BaseImage { source, .. } if source.to_string() == "no such image"), "{error}");
    assert_eq!(error.diagnostic().unwrap().span.start.line, 1);
}

#[test]
fn global_arguments_and_platforms() {
    let mut bench = Bench::new(&[]);
    let text = "ARG NAME=ba\nARG FULL=${NAME}se\nFROM --platform=$BUILDPLATFORM $FULL\nARG NAME\nARG TARGETARCH\n\
                ARG FULL=own\nRUN write /x $NAME\n";
    bench.options.platform = Some("linux/arm64/v8".into());
    bench.build(text);
    let host = crate::platform::Platform::host();
    assert_eq!(*bench.resolved.lock().unwrap(), [format!("base {host} false")]);
    let env = bench.ran.lock().unwrap()[0].env.clone();
    for expected in ["NAME=ba", "TARGETARCH=arm64", "FULL=own"] {
        assert!(env.contains(&expected.to_owned()), "{expected}: {env:?}");
    }
    bench.options.pull = true;
    bench.options.build_args = vec![("FULL".into(), "base".into()), ("NAME".into(), "given".into())];
    bench.build("ARG NAME=x\nARG FULL=nope\nFROM $FULL\nARG NAME=own\nRUN write /x 1\n");
    assert_eq!(bench.resolved.lock().unwrap()[1], "base linux/arm64 true");
    assert!(bench.ran.lock().unwrap()[0].env.contains(&"NAME=given".to_owned()));
    let error = bench.fail("ARG X\nFROM $X\n");
    assert!(error.to_string().contains("is empty"), "{error}");
    bench.options.platform = Some("what/is/this/thing".into());
    assert!(matches!(bench.fail("FROM base\n"), BuildError::Options(_)));
}

#[test]
fn arguments_end_with_their_stage_but_pass_to_stages_based_on_it() {
    let mut bench = Bench::new(&[]);
    bench.build(
        "FROM base AS one\nARG A=1\nENV B=2\nRUN write /1 1\nFROM one AS two\nRUN write /2 2\nFROM base AS three\n\
         RUN write /3 3\nFROM scratch\nCOPY --from=two /2 /2\nCOPY --from=three /3 /3\n",
    );
    for ran in bench.ran.lock().unwrap().iter() {
        let has = ran.env.contains(&"A=1".to_owned());
        assert_eq!(has, !ran.args[2].contains("/3"), "{ran:?}");
    }
}

#[test]
fn the_config_says_what_the_file_says() {
    let mut bench = Bench::new(&[]);
    bench.options.labels = vec![("from".into(), "outside".into())];
    let output = bench.build(
        "FROM base\nMAINTAINER me\nENV A=\"x y\" PATH=$PATH:/opt\nENV OLD form here\nLABEL a=b \"c d\"=\"e $A\"\n\
         EXPOSE 80 53/udp 8000-8001\nVOLUME /data [\"/x\"]\nVOLUME [\"/y z\"]\nUSER web\nWORKDIR /etc\nSTOPSIGNAL SIGTERM\n\
         HEALTHCHECK --interval=5s --retries=2 CMD true\nONBUILD RUN x\nENTRYPOINT [\"/entry\"]\nSHELL [\"/bin/bash\",\"-c\"]\n",
    );
    let config = config(&output);
    assert_eq!(config["author"], json!("me"));
    assert_eq!(config["os"], json!("linux"));
    assert_eq!(
        config["config"],
        json!({
            "Env": ["PATH=/bin:/opt", "FROM_BASE=1", "A=x y", "OLD=form here"],
            "Labels": { "a": "b", "base": "yes", "c d": "e x y", "from": "outside" },
            "ExposedPorts": { "53/udp": {}, "80/tcp": {}, "8000/tcp": {}, "8001/tcp": {} },
            "Volumes": { "/data": {}, "/y z": {}, "[/x]": {} },
            "User": "web",
            "WorkingDir": "/etc",
            "StopSignal": "SIGTERM",
            "Healthcheck": { "Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000_i64, "Retries": 2 },
            "OnBuild": ["RUN x"],
            "Entrypoint": ["/entry"],
            "Shell": ["/bin/bash", "-c"],
        })
    );
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
}

#[test]
fn commands_and_entry_points() {
    let mut bench = Bench::new(&[]);
    let mut both = |text: &str| {
        let output = bench.build(&format!("FROM base\n{text}\n"));
        let inner = config(&output)["config"].clone();
        (inner["Entrypoint"].clone(), inner["Cmd"].clone())
    };
    assert_eq!(both(""), (Value::Null, json!(["sh"])));
    assert_eq!(both("CMD a b"), (Value::Null, json!(["/bin/sh", "-c", "a b"])));
    assert_eq!(both("CMD []"), (Value::Null, Value::Null));
    assert_eq!(both("ENTRYPOINT [\"e\"]"), (json!(["e"]), Value::Null), "the base's command goes");
    assert_eq!(both("CMD [\"c\"]\nENTRYPOINT [\"e\"]"), (json!(["e"]), json!(["c"])));
    assert_eq!(both("ENTRYPOINT e\nCMD [\"c\"]"), (json!(["/bin/sh", "-c", "e"]), json!(["c"])));
    assert_eq!(both("CMD [\"$A\"]"), (Value::Null, json!(["$A"])), "nothing is replaced");
}

#[test]
fn history_has_every_instruction_and_its_line() {
    let mut bench = Bench::new(&[("a", "1")]);
    let output = bench.build(
        "FROM base AS one\nENV A=1\nRUN write /x 1\nFROM one\nARG SECRET=s\nCOPY a /a\nRUN <<EOF\nwrite /y 1\nEOF\nCMD [\"x\"]\n",
    );
    let config = config(&output);
    let history: Vec<(String, bool)> = config["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["created_by"].as_str().unwrap().to_owned(), entry["empty_layer"] == json!(true)))
        .collect();
    let line = |text: &str, empty| (text.to_owned(), empty);
    assert_eq!(
        history,
        [
            line("base layer", false),
            line("ENV A=1", true),
            line("RUN write /x 1", false),
            line("ARG SECRET=s", true),
            line("COPY a /a", false),
            line("RUN <<EOF\nwrite /y 1\nEOF", false),
            line("CMD [\"x\"]", true),
        ]
    );
    assert!(config["history"].as_array().unwrap().iter().all(|entry| entry["created"].is_string()));
    let record = bench.store.images().record(&output.image).unwrap();
    let lines: Vec<Option<u32>> = record.provenance.iter().map(|layer| layer.line).collect();
    assert_eq!(lines, [None, Some(3), Some(6), Some(7)]);
    assert_eq!(record.provenance[0].source.as_deref(), Some("id-of-base"));
    assert_eq!(record.provenance[2].source.as_deref(), Some("Buildfile"));
    assert_eq!(record.provenance[2].step.as_deref(), Some("stage-1 1/2"));
    assert!(record.provenance[2].duration_ms.is_some());
}

#[test]
fn triggers_of_the_base_image_come_first() {
    let mut bench = Bench::new(&[("app", "1")]);
    let layer = bench.layer(&[("etc/passwd", "")]);
    bench.image(
        "parent",
        vec![layer],
        &json!({
            "os": "linux", "architecture": "amd64",
            "config": { "OnBuild": ["ARG X=1", "COPY --from=side /made /made", "RUN write /on $X", "ENV ON=1"] },
        }),
    );
    let text = "FROM base AS side\nRUN write /made side\nFROM parent\nRUN write /own 1\n";
    let output = bench.build(text);
    assert_eq!(bench.look(&output, "made"), "side");
    assert_eq!((bench.look(&output, "on"), bench.look(&output, "own")), ("$X".into(), "1".into()));
    let inner = config(&output)["config"].clone();
    assert!(inner.get("OnBuild").is_none(), "done, and not passed on");
    assert!(inner["Env"].as_array().unwrap().contains(&json!("ON=1")));
    assert_eq!(output.layers.len(), 4);
    bench.image("bad", Vec::new(), &json!({ "config": { "OnBuild": ["FETCH x"] } }));
    let error = bench.fail("FROM bad\n");
    assert!(error.to_string().contains("ONBUILD trigger") && error.diagnostic().unwrap().span.start.line == 1);
    // A stage of the same file sets off triggers as any other base does.
    let output = bench.build("FROM base AS a\nONBUILD RUN write /t 1\nFROM a\nRUN write /x 1\n");
    assert_eq!(bench.look(&output, "t"), "1");
    assert!(config(&output)["config"].get("OnBuild").is_none());
}

#[test]
fn damaged_base_images_are_refused() {
    let mut bench = Bench::new(&[]);
    bench.image("odd", Vec::new(), &json!([1]));
    assert!(bench.fail("FROM odd\n").to_string().contains("is damaged"));
    let mut deep = Bench::new(&[]);
    let layer = deep.layer(&[("x", "1")]);
    deep.image("mute", vec![layer], &json!({ "config": {} }));
    let output = deep.build("FROM mute\nRUN write /y 1\n");
    let config = config(&output);
    let history = config["history"].as_array().unwrap();
    assert_eq!(history.len(), 2, "each layer has its entry, so that they can be told apart");
    assert!(history.iter().all(|entry| entry.get("empty_layer").is_none()));
}
