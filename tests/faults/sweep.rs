//! Every scene at every call, or at a sample of them.
//!
//! `IMG_SWEEP=all` runs every point; otherwise `IMG_FAULT_POINTS` (default 3) points for each scene and kind of fault are chosen
//! by `IMG_FAULT_SEED` (printed; by default 1). `IMG_SWEEP_ONLY` names scenes, separated by commas.

use std::collections::BTreeMap;
use std::process::Command;

use crate::point::Stage;
use crate::random::Random;
use crate::scenes::scenes;

/// What goes wrong: once, or (with `+`) from then on.
const PLANS: [&str; 6] = ["kill:*", "ENOSPC+:*", "ENOSPC:*", "EIO:*", "EDQUOT+:*", "EROFS+:*"];

fn chosen() -> Vec<crate::scenes::Scene> {
    let only = std::env::var("IMG_SWEEP_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| one == name);
    scenes().into_iter().filter(|scene| wanted(scene.name)).collect()
}

/// Plays in network and mount namespaces of its own, so that what is left there can be nobody else's.
fn inside() -> bool {
    if std::env::var_os("IMG_FAULT_INSIDE").is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip");
        assert!(up.success(), "the loopback interface");
        return true;
    }
    let mut again = Command::new("unshare");
    again.args(["--net", "--mount", "--propagation", "private"]).arg(std::env::current_exe().expect("this program"));
    again.args(["--exact", "sweep::every_command_is_interrupted", "--nocapture"]).env("IMG_FAULT_INSIDE", "1");
    assert!(again.status().expect("unshare").success(), "some points went wrong; see above");
    false
}

#[test]
fn every_command_is_interrupted() {
    if !inside() {
        return;
    }
    let all = std::env::var("IMG_SWEEP").is_ok_and(|what| what == "all");
    let plans = std::env::var("IMG_SWEEP_PLANS").unwrap_or_else(|_| PLANS.join(","));
    let points: u32 = std::env::var("IMG_FAULT_POINTS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    // Without a name the same for all, so that a red run is the fault of what changed.
    let seed = std::env::var("IMG_FAULT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    println!("seed {seed}");
    let (mut problems, mut ran) = (Vec::new(), BTreeMap::<String, u32>::new());
    for scene in chosen() {
        let name = scene.name;
        let stage = Stage::set(scene);
        for plan in plans.split(',') {
            let whole = stage.run(plan, u32::MAX);
            let most = whole.most;
            let mut at: Vec<u32> = (1..=most).collect();
            if !all {
                random.shuffle(&mut at);
                at.truncate(points as usize);
            }
            let mut met = 0;
            for at in at {
                let point = stage.run(plan, at);
                met += u32::from(point.call.is_some());
                if !point.problems.is_empty() {
                    let call = point.call.unwrap_or_default();
                    problems.push(format!("=== {name}, {plan}:{at}, {call}\n{}", point.problems.join("\n")));
                    eprintln!("{}", problems[problems.len() - 1]);
                }
            }
            println!("{name:16} {plan:10} {most:5} calls, {met} points");
            *ran.entry(plan.to_owned()).or_default() += met;
        }
    }
    for (plan, met) in &ran {
        println!("all scenes, {plan}: {met} points");
    }
    assert!(ran.values().sum::<u32>() > 0, "no point was met");
    assert!(problems.is_empty(), "{} points went wrong", problems.len());
}
