//! Rules of the language that can be broken on purpose, in debug builds only: the differential suite must notice each of
//! them, or it would prove nothing. A release build has none of this: `broken` is `false` there, and what asks it is gone.

/// Each breakage, and the case of `tests/differential` that notices it.
pub const ALL: [(&str, &str); 19] = [
    ("trailing-slash", "copy-into"),
    ("owner-of-made-directories", "copy-chown-parents"),
    ("mode-of-made-directories", "copy-parents"),
    ("attributes-of-kept-directories", "copy-kept-mode"),
    ("chmod-of-directories", "copy-chmod-directory"),
    ("times-of-copies", "copy-file"),
    ("hard-links", "from-hard-links"),
    ("archives-keep-owners", "add-tar"),
    ("entrypoint-resets-cmd", "entrypoint-resets-cmd"),
    ("entrypoint-keeps-own-cmd", "entrypoint-keeps-own-cmd"),
    ("last-pattern-wins", "ignore-last-wins"),
    ("exceptions", "ignore-exception"),
    ("values-before-the-instruction", "env-before"),
    ("scope-of-global-args", "from-arg-scope"),
    ("owner-of-workdir", "workdir-user"),
    ("relative-workdir", "workdir-relative"),
    ("triggers-once", "onbuild-once"),
    ("tabs-of-heredocs", "copy-heredoc-tabs"),
    ("empty-layers-in-history", "config-order"),
];

#[cfg(debug_assertions)]
static BROKEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Breaks `rule` for the rest of the process; only in debug builds.
#[cfg(debug_assertions)]
pub fn break_rule(rule: &str) {
    // The first one stands.
    drop(BROKEN.set(rule.to_owned()));
}

/// Whether `rule` is broken.
#[cfg(debug_assertions)]
pub(crate) fn broken(rule: &str) -> bool {
    debug_assert!(ALL.iter().any(|(name, _)| *name == rule), "{rule} is not in the list");
    BROKEN.get().is_some_and(|broken| broken == rule)
}

/// Whether `rule` is broken: never.
#[cfg(not(debug_assertions))]
pub(crate) const fn broken(_: &str) -> bool {
    false
}
