//! What is run again and what is not.

use super::*;

const TWO: &str = "FROM base\nCOPY a /a\nRUN write /made 1\n";

#[test]
fn the_second_build_runs_nothing_and_gives_the_same_image() {
    let mut bench = Bench::new(&[("a", "1")]);
    let first = bench.build(TWO);
    assert_eq!((first.executed, first.cached, first.layers.len()), (2, 0, 3));
    let second = bench.build(TWO);
    assert_eq!((second.executed, second.cached), (0, 2));
    assert_eq!(first.image, second.image);
    assert!(bench.ran.lock().unwrap().is_empty());
    let cached = bench.events.lock().unwrap().iter().filter(|event| matches!(event, Event::Cached(_))).count();
    assert_eq!(cached, 2);
    assert_eq!(bench.store.images().get(&first.image).unwrap().layers(), first.layers);
}

#[test]
fn only_what_changed_and_what_follows_runs() {
    let mut bench = Bench::new(&[("a", "1"), ("b", "1")]);
    let text = "FROM base\nCOPY a /a\nRUN write /one 1\nCOPY b /b\nRUN write /two 2\n";
    bench.build(text);
    bench.context_file("b", "2");
    let output = bench.build(text);
    assert_eq!(bench.scripts(), ["write /two 2"]);
    assert_eq!(bench.look(&output, "b"), "2");
    // The same content again, whatever its time: found.
    bench.context_file("b", "1");
    assert_eq!(bench.build(text).executed, 0);
}

#[test]
fn equal_results_end_a_rebuild_early() {
    let mut bench = Bench::new(&[("a", "1")]);
    let text = |comment: &str| format!("FROM base\nCOPY --chmod=6{comment}4 a /a\nRUN write /made 1\n");
    bench.build(&text("4"));
    // Another instruction text, but the same layer: what follows need not run.
    let output = bench.build("FROM base\nCOPY --chmod=u=rw,go=r a /a\nRUN write /made 1\n");
    assert_eq!((output.executed, output.cached), (1, 1));
    assert!(bench.scripts().is_empty());
}

#[test]
fn environment_and_arguments_are_part_of_the_key() {
    let mut bench = Bench::new(&[]);
    let text = "FROM base\nARG A=1\nENV B=2\nRUN write /made $A$B\n";
    bench.build(text);
    assert_eq!(bench.build(text).executed, 0);
    bench.options.build_args = vec![("A".into(), "9".into())];
    assert_eq!(bench.build(text).executed, 1);
    assert!(bench.ran.lock().unwrap()[0].env.contains(&"A=9".to_owned()));
    // Proxy settings reach the command, but nothing is run again for them and nothing tells of them.
    bench.options.build_args.push(("http_proxy".into(), "http://secret@proxy".into()));
    assert_eq!(bench.build(text).executed, 0);
    bench.options.no_cache = true;
    let output = bench.build(text);
    assert!(bench.ran.lock().unwrap()[0].env.contains(&"http_proxy=http://secret@proxy".to_owned()));
    assert!(!String::from_utf8_lossy(&output.config).contains("secret"));
    // A label, a command or a port change no file.
    bench.options.no_cache = false;
    assert_eq!(bench.build(&text.replace("ARG", "LABEL x=y\nEXPOSE 80\nARG")).executed, 0);
    assert_eq!(bench.build(&text.replace("ARG", "USER web\nARG")).executed, 1);
}

#[test]
fn no_cache_runs_everything_or_one_stage() {
    let mut bench = Bench::new(&[]);
    let text = "FROM base AS one\nRUN write /1 1\nFROM base AS two\nRUN write /2 2\nCOPY --from=one /1 /1\n";
    bench.build(text);
    bench.options.no_cache = true;
    assert_eq!(bench.build(text).executed, 3);
    bench.options.no_cache = false;
    bench.options.no_cache_stages = vec!["two".into()];
    assert_eq!(bench.build(text).executed, 2);
    assert_eq!(bench.scripts(), ["write /2 2"]);
    bench.options.no_cache_stages = vec!["0".into()];
    bench.build(text);
    assert_eq!(bench.scripts(), ["write /1 1"]);
}

#[test]
fn a_collected_layer_is_made_again() {
    let mut bench = Bench::new(&[]);
    let text = "FROM base\nRUN write /made 1\n";
    let output = bench.build(text);
    fs::remove_dir_all(bench.store.layers().path(&output.layers[1])).unwrap();
    let again = bench.build(text);
    assert_eq!(again.executed, 1);
    assert_eq!(bench.look(&again, "made"), "1");
}

#[test]
fn files_copied_from_a_stage_count_and_not_the_stage() {
    let mut bench = Bench::new(&[("flag", "1")]);
    let text = |comment: &str| {
        format!(
            "FROM base AS build\nRUN write /out same; write /log {comment}\nFROM base\nCOPY --from=build /out /out\n\
             RUN write /end 1\n"
        )
    };
    bench.build(&text("first"));
    let output = bench.build(&text("second"));
    assert_eq!(bench.scripts(), ["write /out same; write /log second"]);
    assert_eq!((output.executed, output.cached), (1, 2));
    assert_eq!(bench.look(&output, "out"), "same");
}

#[test]
fn steps_without_changes_make_no_layer_but_run_once_each() {
    let mut bench = Bench::new(&[]);
    let output = bench.build("FROM base\nRUN true\nRUN true\nWORKDIR /etc\n");
    assert_eq!((output.layers.len(), output.executed), (1, 3));
    let history = config(&output)["history"].clone();
    assert!(history.as_array().unwrap()[1..].iter().all(|entry| entry["empty_layer"] == json!(true)));
}

#[test]
fn epoch_makes_images_reproducible_anywhere() {
    let text = "FROM base\nCOPY a /new/a\nWORKDIR /work\nRUN write /made 1\nCMD [\"x\"]\n";
    let build = || {
        let mut bench = Bench::new(&[("a", "1")]);
        bench.options.source_date_epoch = Some(1_000_000_000);
        bench.build(text)
    };
    let (one, two) = (build(), build());
    assert_eq!(one.image, two.image);
    let config = config(&one);
    assert_eq!(config["created"], json!("2001-09-09T01:46:40Z"));
    assert_eq!(config["history"][1]["created"], json!("2001-09-09T01:46:40Z"));
    assert_eq!(config["history"][0]["created"], json!("2020-01-01T00:00:00Z"), "the base image stays as it is");
}

#[test]
fn images_without_steps_are_the_same_again() {
    let mut bench = Bench::new(&[]);
    let text = "FROM scratch\nCMD [\"x\"]\n";
    let one = bench.build(text);
    assert!(config(&one)["created"].as_str().unwrap() > "2024");
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(one.image, bench.build(text).image);
}
