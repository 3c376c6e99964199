//! Why steps of a build ran: one line for each step, and all that changed below it where it was asked for.

use builder::explain::{Difference, Explained, Outcome, Reason};

use super::{Escaped, outln};
use crate::error::Result;

/// Prints one line for each step.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(steps: &[Explained]) -> Result<()> {
    steps.iter().try_for_each(|step| outln(Escaped(&line(step))))
}

/// Prints each step with everything that is known of it.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_whole(steps: &[Explained]) -> Result<()> {
    for step in steps {
        outln(Escaped(&line(step)))?;
        let Some(Reason::Changed { differences }) = &step.reason else { continue };
        for difference in differences {
            match difference {
                Difference::Files { changes, .. } => {
                    changes.iter().try_for_each(|change| outln(Escaped(&format!("    {change}"))))?;
                }
                other => outln(Escaped(&format!("    {other}")))?,
            }
        }
    }
    Ok(())
}

fn line(step: &Explained) -> String {
    let text = step.instruction.lines().next().unwrap_or_default();
    let what = match (step.outcome, step.text.as_deref()) {
        (Outcome::Cached, _) | (Outcome::Ran, None) => "cached".to_owned(),
        (Outcome::Ran, Some(reason)) => format!("ran: {reason}"),
        (Outcome::Failed, reason) => format!("did not finish; it ran: {}", reason.unwrap_or("unknown")),
    };
    format!("#{} [{} {}/{}] line {}: {text}\n  {what}", step.number, step.stage, step.index, step.count, step.line)
}
