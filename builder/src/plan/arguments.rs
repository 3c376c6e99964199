//! Variables that stand above the stages: platform arguments, ARGs before the first FROM, what a FROM makes of them, and
//! arguments that were given and that nothing used.

use super::Env;
use super::lint;
use super::stages::Planner;
use crate::buildfile::diagnostic::did_you_mean;
use crate::buildfile::{Expander, Kind, Rule, Span, Warning};
use crate::error::BuildError;
use crate::options::BuildOptions;
use crate::platform::Platform;

/// Build arguments that need no ARG: they reach RUN steps, but neither key nor history (Dockerfile reference,
/// "Predefined ARGs").
pub(super) const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

impl Planner<'_> {
    pub(super) fn global_args(&mut self) -> Result<(), BuildError> {
        for instruction in &self.file.global_args {
            let Kind::Arg(args) = &instruction.kind else { continue };
            for arg in args {
                let value = match (self.build_args.get(arg.name.as_str()), &arg.default) {
                    (Some(value), _) => Some((*value).to_owned()),
                    (None, Some(default)) => {
                        let lookup = |name: &str| self.global.get(name).map(str::to_owned);
                        let expanded = Expander::new(self.file.escape).word(default, &lookup);
                        Some(expanded.map_err(|message| Box::new(self.problem(instruction.span, message)))?)
                    }
                    (None, None) => None,
                };
                if let Some(value) = value {
                    self.global.set(&arg.name, &value);
                }
            }
        }
        Ok(())
    }

    /// Replaces variables in a part of a FROM.
    pub(super) fn expand_from(&mut self, text: &str, span: Span) -> Result<String, BuildError> {
        let lookup = |name: &str| self.global.get(name).map(str::to_owned);
        let expanded = Expander::new(self.file.escape)
            .expand(text, &lookup)
            .map_err(|message| Box::new(self.problem(span, message)))?;
        for name in expanded.unset {
            let declared = self.global_names().any(|known| known == name);
            if !declared {
                let near = did_you_mean(&name, self.global_names());
                let warning = lint::undefined_in_from(&name, near, span);
                self.warnings.push(warning);
            }
        }
        Ok(expanded.text)
    }

    /// Names of the ARGs before the first FROM.
    fn global_names(&self) -> impl Iterator<Item = &'_ str> {
        let args = self.file.global_args.iter().filter_map(|instruction| match &instruction.kind {
            Kind::Arg(args) => Some(args),
            _ => None,
        });
        args.flatten().map(|arg| arg.name.as_str())
    }

    /// The rule about bases that are none without build arguments. What cannot be expanded is an error elsewhere.
    pub(super) fn default_bases(&mut self) {
        let how = Expander::new(self.file.escape);
        let mut env = platform_args(&self.target_platform, self.options);
        for instruction in &self.file.global_args {
            let Kind::Arg(args) = &instruction.kind else { continue };
            for arg in args {
                let Some(default) = &arg.default else { continue };
                let lookup = |name: &str| env.get(name).map(str::to_owned);
                let Ok(value) = how.word(default, &lookup) else { return };
                env.set(&arg.name, &value);
            }
        }
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        for stage in &self.file.stages {
            let Ok(default) = how.word(&stage.base, &lookup) else { return };
            self.warnings.extend(lint::default_base(&stage.base, &default, stage.span));
        }
    }

    /// Build arguments that nothing declares.
    pub(super) fn warn_unused(&mut self) {
        let own = self.file.stages.iter().flat_map(|stage| &stage.instructions).chain(&self.file.global_args);
        let triggers = self.drafts.iter().flat_map(|draft| &draft.instructions);
        let args = own.chain(triggers).filter_map(|instruction| match &instruction.kind {
            Kind::Arg(args) => Some(args.iter().map(|arg| arg.name.as_str())),
            _ => None,
        });
        let declared: Vec<&str> = args.flatten().collect();
        let known = |name: &str| {
            declared.contains(&name)
                || PROXY_ARGS.contains(&name)
                || name.starts_with("BUILDKIT_")
                || name == "SOURCE_DATE_EPOCH"
        };
        let unused = self.options.build_args.iter().filter(|(name, _)| !known(name));
        self.warnings.extend(unused.map(|(name, _)| {
            let message = format!("the build argument {name} is used by no ARG");
            Warning::new(Rule::Unused, Span::line(1), message)
        }));
    }
}

/// The arguments that are always there, for FROM and for stages that declare them (Dockerfile reference, "Automatic
/// platform ARGs in the global scope").
pub(super) fn platform_args(target: &Platform, options: &BuildOptions) -> Env {
    let host = Platform::host();
    let mut env = Env::default();
    for (prefix, platform) in [("BUILD", &host), ("TARGET", target)] {
        env.set(&format!("{prefix}PLATFORM"), &platform.to_string());
        env.set(&format!("{prefix}OS"), &platform.os);
        env.set(&format!("{prefix}ARCH"), &platform.architecture);
        env.set(&format!("{prefix}VARIANT"), &platform.variant);
    }
    env.set("TARGETSTAGE", options.target.as_deref().unwrap_or("default"));
    if let Some(epoch) = options.source_date_epoch {
        env.set("SOURCE_DATE_EPOCH", &epoch.to_string());
    }
    env
}
