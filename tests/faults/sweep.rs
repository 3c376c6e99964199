//! Every scene at every call and at many times, or at a sample of them.
//!
//! `IMG_SWEEP=all` runs every point and a hundred times; otherwise `IMG_FAULT_POINTS` (default 3) points for each scene and kind of
//! fault are chosen by `IMG_FAULT_SEED` (printed; by default 1). `IMG_SWEEP_ONLY` names scenes, separated by commas.

use std::collections::BTreeMap;
use std::process::Command;

use crate::point::Stage;
use crate::random::Random;
use crate::scenes::scenes;
use crate::support::Sandbox;

/// What goes wrong: at a call, once or (with `+`) from then on; or at a time.
const PLANS: [&str; 8] =
    ["kill:*", "ENOSPC+:*", "ENOSPC:*", "EIO:*", "EDQUOT+:*", "EROFS+:*", "kill@time", "killgroup@time"];

/// At how many times each command is killed when every point is wanted.
const TIMES: usize = 100;

/// How many scenes are played side by side, each in namespaces of its own.
const SIDES: usize = 2;

/// The scenes to play, with their numbers.
fn chosen() -> Vec<(u64, crate::scenes::Scene)> {
    let only = std::env::var("IMG_SWEEP_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| one == name);
    (0..).zip(scenes()).filter(|(_, scene)| wanted(scene.name)).collect()
}

/// Whether every point is wanted.
fn all() -> bool {
    std::env::var("IMG_SWEEP").is_ok_and(|what| what == "all")
}

/// Plays in network and mount namespaces of its own, so that what is left there can be nobody else's: a few of this program at a
/// time, each with its share of the scenes.
fn inside() -> bool {
    if std::env::var_os("IMG_FAULT_INSIDE").is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip");
        assert!(up.success(), "the loopback interface");
        return true;
    }
    // A sample is part of the tests, of which some count what is on the machine.
    let _alone = (!all()).then(Sandbox::alone);
    let scenes = chosen();
    let shares = (0..SIDES.min(scenes.len())).map(|side| {
        let names: Vec<&str> = scenes.iter().skip(side).step_by(SIDES).map(|(_, scene)| scene.name).collect();
        let mut again = Command::new("unshare");
        again
            .args(["--net", "--mount", "--propagation", "private"])
            .arg(std::env::current_exe().expect("this program"));
        again.args(["--exact", "sweep::every_command_is_interrupted", "--nocapture"]);
        again.env("IMG_FAULT_INSIDE", "1").env("IMG_SWEEP_ONLY", names.join(",")).spawn().expect("unshare")
    });
    let shares: Vec<_> = shares.collect();
    let ends = shares.into_iter().map(|mut share| share.wait().expect("a child of ours can be waited for").success());
    // All are waited for, also when the first went wrong.
    let wrong = ends.filter(|well| !well).count();
    assert!(wrong == 0, "some points went wrong; see above");
    false
}

#[test]
fn every_command_is_interrupted() {
    if !inside() {
        return;
    }
    let plans = std::env::var("IMG_SWEEP_PLANS").unwrap_or_else(|_| PLANS.join(","));
    let points: usize = std::env::var("IMG_FAULT_POINTS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    // Without a name the same for all, so that a red run is the fault of what changed.
    let seed: u64 = std::env::var("IMG_FAULT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let (mut problems, mut ran) = (Vec::new(), BTreeMap::<String, u32>::new());
    for (number, scene) in chosen() {
        let name = scene.name;
        let stage = Stage::set(scene);
        // The same points, whatever else is played.
        let mut random = Random::of_worker(seed, number);
        for plan in plans.split(',') {
            let timed = plan.ends_with("@time");
            let run = |at| if timed { stage.run_for(plan, at) } else { stage.run(plan, at) };
            let most = if timed { 1000 } else { stage.run(plan, u32::MAX).most };
            let mut at: Vec<u32> = (1..=most).collect();
            if !all() || timed {
                random.shuffle(&mut at);
                at.truncate(if all() { TIMES } else { points });
            }
            let mut met = 0;
            for at in at {
                let point = run(at);
                met += u32::from(point.call.is_some());
                if !point.problems.is_empty() {
                    let call = point.call.unwrap_or_default();
                    problems.push(format!("=== {name}, {plan}:{at}, {call}\n{}", point.problems.join("\n")));
                    eprintln!("{}", problems[problems.len() - 1]);
                }
            }
            println!("{name:16} {plan:14} {most:5} calls, {met} points");
            *ran.entry(plan.to_owned()).or_default() += met;
        }
    }
    for (plan, met) in &ran {
        println!("all scenes, {plan}: {met} points");
    }
    assert!(ran.values().sum::<u32>() > 0, "no point was met");
    assert!(problems.is_empty(), "{} points went wrong", problems.len());
}
