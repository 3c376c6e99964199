//! The phases of a start with their share of the whole.

use runner::timing::Phase;

use super::note;

/// Writes them to stderr, which is not the program's output.
pub fn show(phases: &[Phase], json: bool) {
    note(if json { as_json(phases) } else { as_table(phases) });
}

fn milliseconds(phase: &Phase) -> f64 {
    phase.took.as_secs_f64() * 1000.0
}

fn as_json(phases: &[Phase]) -> String {
    let total: f64 = phases.iter().map(milliseconds).sum();
    let phases: Vec<_> =
        phases.iter().map(|phase| serde_json::json!({"name": phase.name, "ms": milliseconds(phase)})).collect();
    serde_json::json!({"phases": phases, "total_ms": total}).to_string()
}

fn as_table(phases: &[Phase]) -> String {
    let total: f64 = phases.iter().map(milliseconds).sum();
    let line = |name: &str, took: f64| {
        let share = if total > 0.0 { took / total * 100.0 } else { 0.0 };
        format!("{name:<10}{took:>10.2} ms {share:>4.0} %")
    };
    let lines = phases.iter().map(|phase| line(phase.name, milliseconds(phase)));
    lines.chain([line("total", total)]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_parts_and_the_whole() {
        let phase = |name, micros| Phase { name, took: Duration::from_micros(micros) };
        let phases = [phase("layers", 2500), phase("exec", 7500)];
        assert_eq!(
            as_table(&phases),
            "layers          2.50 ms   25 %\nexec            7.50 ms   75 %\ntotal          10.00 ms  100 %"
        );
        let json: serde_json::Value = serde_json::from_str(&as_json(&phases)).unwrap();
        assert_eq!((json["total_ms"].as_f64(), json["phases"][1]["name"].as_str()), (Some(10.0), Some("exec")));
    }
}
