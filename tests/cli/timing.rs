//! `--timing`: the phases follow one another and are the whole, and the program's output is left alone.

use std::time::Instant;

use crate::support::{Out, Sandbox};

fn phases(out: &Out) -> (Vec<(String, f64)>, f64) {
    let text = out.stderr();
    let json: serde_json::Value =
        serde_json::from_str(text.lines().last().unwrap()).unwrap_or_else(|_| panic!("{out}"));
    let phase = |value: &serde_json::Value| (value["name"].as_str().unwrap().to_owned(), value["ms"].as_f64().unwrap());
    (json["phases"].as_array().unwrap().iter().map(phase).collect(), json["total_ms"].as_f64().unwrap())
}

#[test]
fn the_phases_are_the_whole() {
    let sandbox = Sandbox::new();
    sandbox.pull("busybox");
    let words = ["run", "--rm", "--timing=json", "--network", "none", "busybox", "sh", "-c", "echo hi; sleep 0.3"];
    // On a busy machine a process may wait long before it begins and after it has ended, which only the outside sees: of
    // several tries one must agree.
    let mut tries = (0..10).map(|_| {
        let began = Instant::now();
        let out = sandbox.img(&words);
        let wall = began.elapsed().as_secs_f64() * 1000.0;
        out.ok().prints_exactly("hi\n");
        let (parts, total) = phases(&out);
        assert!(total <= wall, "{total} measured inside, {wall} outside\n{out}");
        (parts, total, wall)
    });
    let agrees = |(_, total, wall): &(Vec<(String, f64)>, f64, f64)| *total > wall * 0.9;
    let (parts, total, _) = tries.find(agrees).expect("what is measured inside is what passes outside");
    let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
    let all = "load img, resolve, record, specify, monitor, layers, open, cgroup, clone, mounts, network, sandbox, exec, \
               program, tear-down, finish";
    assert_eq!(names.join(", "), all);
    let sum: f64 = parts.iter().map(|(_, took)| took).sum();
    assert!((sum - total).abs() < total * 0.02, "{sum} of {total}");
    let program = parts.iter().find(|(name, _)| name == "program").unwrap().1;
    assert!((300.0..=total).contains(&program), "the program sleeps 300 ms: {program}");
}

#[test]
fn every_way_to_start_can_be_measured() {
    let sandbox = Sandbox::new();
    let out = sandbox.img(&["run", "-d", "--timing=json", "--network", "none", "busybox", "sleep", "600"]);
    let id = out.ok().word();
    let (parts, _) = phases(&out);
    assert_eq!(parts.last().unwrap().0, "finish");
    assert!(parts.iter().any(|(name, _)| name == "exec") && parts.iter().all(|(name, _)| name != "program"));
    let (parts, total) = phases(sandbox.img(&["exec", "--timing=json", &id, "true"]).ok());
    assert!(parts.iter().any(|(name, took)| name == "exec" && *took > 0.0 && *took < total), "{parts:?}");
    sandbox.ok(&["kill", &id]);
    sandbox.ok(&["wait", &id]);
    let (parts, _) = phases(sandbox.img(&["start", "--timing=json", &id]).ok());
    assert!(parts.iter().any(|(name, _)| name == "layers"));
    // With standard input a monitor leads the dialogue, in a process of its own.
    let out = sandbox.img(&["run", "--rm", "-i", "--timing=json", "--network", "none", "busybox", "cat"]);
    assert!(phases(out.ok()).0.iter().any(|(name, _)| name == "program"), "{out}");
    let table = sandbox.img(&["run", "--rm", "--timing", "--network", "none", "busybox", "true"]);
    table.ok().says(&["layers", "total", "100 %"]);
    sandbox
        .img(&["run", "--rm", "--timing", "--network", "none", "busybox", "none"])
        .exits(127)
        .says(&["clone", "total"]);
    let plain = sandbox.img(&["run", "--rm", "--network", "none", "busybox", "true"]);
    assert_eq!(plain.ok().stderr(), "", "nothing is measured unasked");
    sandbox.ok(&["rm", "-f", &id]);
}
