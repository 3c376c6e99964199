//! Reads a seccomp profile from JSON: the OCI form, or Docker's with its conditions.
//!
//! Docker's form adds to the OCI's which architectures belong together (`archMap`) and when a rule applies at all
//! (`includes` and `excludes`: capabilities, architectures, kernel version). Those are worked out here, so that what comes out
//! is plain OCI.

use oci_spec::runtime::{
    Arch, Capabilities, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;

use super::rules::Architecture;
use crate::security::{Error, Result, capabilities};

/// The largest profile that is read; Docker's own has 20 KiB.
pub const MAX_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<Arch>,
    #[serde(default)]
    arch_map: Vec<ArchitectureGroup>,
    #[serde(default)]
    flags: Vec<LinuxSeccompFilterFlag>,
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureGroup {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: usize,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: LinuxSeccompOperator,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What a profile's conditions are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the container will hold.
    pub capabilities: &'a Capabilities,
    /// Major and minor version of the running kernel.
    pub kernel: (u32, u32),
}

/// Parses a profile for this machine.
pub fn parse(json: &[u8], facts: Facts<'_>) -> Result<LinuxSeccomp> {
    if json.len() > MAX_BYTES {
        return Err(Error::Seccomp { reason: format!("it has {} bytes, more than {MAX_BYTES}", json.len()) });
    }
    let profile: Profile = serde_json::from_slice(json).map_err(|source| Error::Profile { source })?;
    if let Some(path) = profile.listener_path {
        return Err(Error::Seccomp { reason: format!("its listener `{path}` is not supported") });
    }
    let native = Architecture::native().map(Architecture::to_oci);
    let mut architectures = profile.architectures;
    for group in &profile.arch_map {
        if Some(group.architecture) == native {
            architectures.push(group.architecture);
            architectures.extend(group.sub_architectures.iter().flatten());
        }
    }
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        if applies(&rule, facts)? {
            syscalls.push(to_oci(rule)?);
        }
    }
    let mut builder = LinuxSeccompBuilder::default()
        .default_action(profile.default_action)
        .architectures(architectures)
        .flags(profile.flags)
        .syscalls(syscalls);
    if let Some(errno) = profile.default_errno_ret {
        builder = builder.default_errno_ret(errno);
    }
    builder.build().map_err(|error| Error::Seccomp { reason: error.to_string() })
}

/// All of `includes` must hold, nothing of `excludes` may.
fn applies(rule: &Rule, facts: Facts<'_>) -> Result<bool> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let holds = |name: &String| -> Result<bool> { Ok(facts.capabilities.contains(&capabilities::parse(name)?)) };
    let names_machine = |list: &[String]| list.iter().any(|name| name == machine);
    if let Some(includes) = &rule.includes {
        for name in includes.caps.iter().flatten() {
            if !holds(name)? {
                return Ok(false);
            }
        }
        if includes.arches.as_ref().is_some_and(|list| !list.is_empty() && !names_machine(list)) {
            return Ok(false);
        }
        if let Some(version) = includes.min_kernel.as_deref().filter(|text| !text.is_empty())
            && facts.kernel < parse_kernel(version)?
        {
            return Ok(false);
        }
    }
    if let Some(excludes) = &rule.excludes {
        for name in excludes.caps.iter().flatten() {
            if holds(name)? {
                return Ok(false);
            }
        }
        if excludes.arches.as_ref().is_some_and(|list| names_machine(list)) {
            return Ok(false);
        }
        if let Some(version) = excludes.min_kernel.as_deref().filter(|text| !text.is_empty())
            && facts.kernel >= parse_kernel(version)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn to_oci(rule: Rule) -> Result<LinuxSyscall> {
    let names: Vec<String> = rule.name.into_iter().chain(rule.names.unwrap_or_default()).collect();
    if names.is_empty() {
        return Err(Error::Seccomp { reason: "a rule names no system call".to_owned() });
    }
    let broken = |error: oci_spec::OciSpecError| Error::Seccomp { reason: error.to_string() };
    let args = rule
        .args
        .unwrap_or_default()
        .into_iter()
        .map(|argument| {
            LinuxSeccompArgBuilder::default()
                .index(argument.index)
                .value(argument.value)
                .value_two(argument.value_two)
                .op(argument.op)
                .build()
        })
        .collect::<Result<Vec<LinuxSeccompArg>, _>>()
        .map_err(broken)?;
    let mut builder = LinuxSyscallBuilder::default().names(names).action(rule.action).args(args);
    if let Some(errno) = rule.errno_ret {
        builder = builder.errno_ret(errno);
    }
    builder.build().map_err(broken)
}

/// `4.8` or `5.10.1-generic` as major and minor.
pub fn parse_kernel(text: &str) -> Result<(u32, u32)> {
    let mut parts = text.split(['.', '-']).map(|part| part.parse::<u32>());
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(Error::Seccomp { reason: format!("`{text}` is not a kernel version like 4.8") }),
    }
}
