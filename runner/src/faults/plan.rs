//! What shall go wrong, and which kinds of calls a kind of error can come from.

/// What a call does, as far as faults tell calls apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opens a file; may create it, or may open it for writing.
    Open { creates: bool, writes: bool },
    /// Reads from a file.
    Read,
    /// Writes to a file, or makes one longer.
    Write,
    /// Makes a directory, a link, a node.
    Make,
    /// Gives a file another name.
    Rename,
    /// Removes a name.
    Remove,
    /// Waits until data are on the disk.
    Sync,
    /// Changes a mode, an owner, a time or an attribute.
    Attribute,
    /// Waits for a lock.
    Lock,
    /// Everything else: mounts, sockets, processes.
    Other,
}

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGKILL, before the call is made.
    Kill,
    /// The call is not made and gives this error number.
    Fail(i32),
    /// The call is not made and says that it was: a disk that forgets what it was asked to keep.
    Lie,
}

/// A parsed plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub action: Action,
    /// All later calls fail too.
    pub stays: bool,
    /// Names of calls, separated by commas; `*` is all that can have this fault.
    pub calls: &'static [u8],
    /// Which of them, counted from 1.
    pub at: u32,
}

impl Plan {
    /// Reads `ACTION:CALLS:N`; nothing when it is not of this form.
    pub(crate) fn parse(text: &'static [u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b':');
        let (action, calls, at) = (parts.next()?, parts.next()?, parts.next()?);
        let at = std::str::from_utf8(at).ok()?.parse().ok()?;
        let (name, stays) = action.strip_suffix(b"+").map_or((action, false), |name| (name, true));
        let action = match name {
            b"kill" => Action::Kill,
            b"ENOSPC" => Action::Fail(libc::ENOSPC),
            b"EDQUOT" => Action::Fail(libc::EDQUOT),
            b"EIO" => Action::Fail(libc::EIO),
            b"EROFS" => Action::Fail(libc::EROFS),
            b"lie" => Action::Lie,
            b"EINTR" => Action::Fail(libc::EINTR),
            _ => return None,
        };
        Some(Self { action, stays, calls, at })
    }

    /// Is this call one of those that are counted?
    pub(crate) fn counts(&self, name: &str, kind: Kind) -> bool {
        if self.calls != b"*" {
            return self.calls.split(|byte| *byte == b',').any(|one| one == name.as_bytes());
        }
        match self.action {
            Action::Kill => true,
            Action::Lie => kind == Kind::Sync,
            Action::Fail(libc::ENOSPC | libc::EDQUOT) => match kind {
                Kind::Open { creates, .. } => creates,
                kind => matches!(kind, Kind::Write | Kind::Make | Kind::Rename | Kind::Sync),
            },
            Action::Fail(libc::EROFS) => match kind {
                Kind::Open { creates, writes } => creates || writes,
                kind => matches!(kind, Kind::Make | Kind::Rename | Kind::Remove | Kind::Attribute),
            },
            Action::Fail(libc::EINTR) => matches!(kind, Kind::Open { .. } | Kind::Read | Kind::Write | Kind::Lock),
            Action::Fail(_) => !matches!(kind, Kind::Lock | Kind::Other),
        }
    }
}
