//! What the black-box tests share: a store of one's own, a real registry, base images, a terminal, and the eyes to see
//! what was left behind. Nothing here knows how `img` works inside; it is run as a user would run it, and looked at
//! from outside with the kernel's files and with tools that others wrote. A helper panics with the command line, the
//! exit status and both outputs, so that a failed test explains itself.

pub mod disk;
pub mod images;
pub mod leaks;
pub mod output;
pub mod places;
pub mod pty;
pub mod registry;
pub mod relay;
pub mod sandbox;
pub mod tools;
pub mod tree;

pub use disk::Disk;
pub use output::Out;
pub use registry::Registry;
pub use relay::Relay;
pub use sandbox::Sandbox;

/// Leaves the test when something it needs is missing, saying so on a line that `scripts/test` counts.
macro_rules! skip {
    ($($reason:tt)*) => {{
        eprintln!("skipped: {}", format!($($reason)*));
        return;
    }};
}
pub(crate) use skip;
