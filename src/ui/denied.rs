//! The refusals that a program met, a line each on stderr.

use runner::denied::Denial;

use super::{Escaped, note};

/// Writes them, or that there were none.
pub fn show(denials: &[Denial]) {
    if denials.is_empty() {
        note("denied: nothing");
    }
    for denial in denials {
        note(format_args!("denied: {}", Escaped(&denial.to_string())));
    }
}
