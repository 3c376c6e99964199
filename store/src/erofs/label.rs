//! What an image says of itself in its volume name, so that a mount needs no other file to know what it may be used
//! for.

/// What an image is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A layer that shows the same whatever lies below it.
    SelfContained,
    /// A layer with implied directories: right as it is only where no layer below has them.
    NeedsAttributes,
    /// A layer with hard links to files of layers below, which this image leaves out.
    NeedsFiles,
    /// A layer as it is on top of one particular chain.
    Chain,
}

/// What an image says of itself, kept as its volume name: the use, and in the last byte whether the root directory's
/// attributes are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// What it is good for.
    pub usable: Use,
    /// Whether the layer (or the chain up to it) says something of the root directory; else 0755, 0:0, time 0.
    pub has_root: bool,
}

const OWN_ROOT: u8 = b'r';
const USES: [(Use, &[u8; 15]); 4] = [
    (Use::SelfContained, b"self-contained\0"),
    (Use::NeedsAttributes, b"needs-dirs\0\0\0\0\0"),
    (Use::NeedsFiles, b"needs-files\0\0\0\0"),
    (Use::Chain, b"chain\0\0\0\0\0\0\0\0\0\0"),
];

impl Label {
    /// The volume name.
    pub(super) fn bytes(self) -> [u8; 16] {
        let mut raw = [0; 16];
        for (_, name) in USES.iter().filter(|(usable, _)| *usable == self.usable) {
            raw[..15].copy_from_slice(*name);
        }
        raw[15] = if self.has_root { OWN_ROOT } else { 0 };
        raw
    }

    /// Reads a volume name.
    pub(super) fn from_bytes(raw: &[u8; 16]) -> Option<Self> {
        let (usable, _) = USES.iter().find(|(_, name)| raw.starts_with(*name))?;
        [0, OWN_ROOT].contains(&raw[15]).then_some(Self { usable: *usable, has_root: raw[15] == OWN_ROOT })
    }
}
