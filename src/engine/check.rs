//! What is damaged in the store, who needs it, and how to get it back.

use store::check::{CheckOptions, Needer, Problem, Report, check};

use super::Engine;
use super::names::familiar;
use crate::error::Result;

/// A thing that is not as it must be, told for people.
#[derive(Clone, Debug)]
pub struct Damage {
    /// The thing, what is wrong with it, and what was done.
    pub problem: Problem,
    /// Images that need it, as they are named.
    pub images: Vec<String>,
    /// Containers that need it.
    pub containers: Vec<String>,
    /// What brings it back.
    pub remedy: Option<String>,
}

impl Engine {
    /// Verifies that everything in the store is what its name says, or with `quick` that everything is in its place.
    ///
    /// # Errors
    /// The store cannot be read, a repair cannot be made.
    pub fn check(&self, options: CheckOptions) -> Result<(Report, Vec<Damage>)> {
        let report = check(&self.store, options)?;
        if report.problems.iter().any(|problem| problem.repair.is_some()) {
            // What is mounted of a layer that was removed or rebuilt would be found by the next container over the new one.
            runner::layers::unmount_unused(&self.runroot, |_| false)?;
        }
        let damages = report.problems.iter().cloned().map(|problem| self.damage(problem)).collect();
        Ok((report, damages))
    }

    fn damage(&self, problem: Problem) -> Damage {
        let mut damage = damage(problem);
        let container =
            damage.problem.subject.strip_prefix("container ").and_then(|name| self.find_container(name).ok());
        if let Some(record) = container.and_then(|id| self.container_record(&id).ok()) {
            damage.remedy = Some(format!(
                "`img pull {}`, if that is the same image still; else `img rm`",
                record.data.options.image
            ));
        }
        damage
    }
}

fn damage(problem: Problem) -> Damage {
    let (mut images, mut containers, mut pulls) = (Vec::new(), Vec::new(), Vec::new());
    for needer in &problem.needed_by {
        match needer {
            Needer::Container(name) => containers.push(name.clone()),
            Needer::Tag(name, from_registry) => {
                images.push(familiar(name));
                if *from_registry {
                    pulls.push(familiar(name));
                }
            }
        }
    }
    // What is rebuilt needs nobody.
    let lost = problem.repair.is_none_or(|done| done == "removed") && !images.is_empty();
    let remedy = lost.then(|| match pulls.first() {
        Some(name) => format!("`img pull {name}` fetches it again"),
        None => format!("build, load or commit {} again", images.join(", ")),
    });
    Damage { problem, images, containers, remedy }
}
