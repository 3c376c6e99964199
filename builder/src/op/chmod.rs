//! `--chmod`: an octal mode, or a symbolic one as chmod(1) takes it (`u=rwX,go=rX`). Without `u`, `g`, `o` or `a` all
//! are meant: there is no umask in a build.

/// A parsed mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// These bits exactly.
    Octal(u32),
    /// Changes one after the other.
    Symbolic(Vec<Change>),
}

/// One `who op permissions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Bits of the classes meant, `0o7000` included where `s` and `t` may touch them.
    who: u32,
    op: char,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// `rwxst` as bits for all classes, and whether `X` was among them.
    Bits(u32, bool),
    /// The permissions of another class: the shift of its bits.
    Copy(u32),
}

impl Chmod {
    /// Reads a mode.
    ///
    /// # Errors
    /// A message for what is neither octal up to 7777 nor symbolic.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("invalid mode {text:?}: it is octal up to 7777, or like u=rwX,go=rX");
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).map(Self::Octal).ok_or_else(bad);
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let mut chars = clause.chars().peekable();
            let mut who = 0;
            while let Some(class) = chars.next_if(|c| "ugoa".contains(*c)) {
                who |= match class {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    _ => 0o7777,
                };
            }
            let who = if who == 0 { 0o7777 } else { who };
            if chars.peek().is_none() {
                return Err(bad());
            }
            while let Some(op) = chars.next() {
                if !"+-=".contains(op) {
                    return Err(bad());
                }
                let what = if let Some(class) = chars.next_if(|c| "ugo".contains(*c)) {
                    What::Copy(match class {
                        'u' => 6,
                        'g' => 3,
                        _ => 0,
                    })
                } else {
                    let mut bits = 0;
                    let mut execute_if = false;
                    while let Some(permission) = chars.next_if(|c| "rwxXst".contains(*c)) {
                        match permission {
                            'r' => bits |= 0o444,
                            'w' => bits |= 0o222,
                            'x' => bits |= 0o111,
                            's' => bits |= 0o6000,
                            't' => bits |= 0o1000,
                            _ => execute_if = true,
                        }
                    }
                    What::Bits(bits, execute_if)
                };
                changes.push(Change { who, op, what });
            }
        }
        Ok(Self::Symbolic(changes))
    }

    /// The mode that a file of `mode` gets.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let changes = match self {
            Self::Octal(mode) => return *mode,
            Self::Symbolic(changes) => changes,
        };
        changes.iter().fold(mode, |mode, change| {
            let bits = match change.what {
                What::Bits(bits, execute_if) if execute_if && (is_directory || mode & 0o111 != 0) => bits | 0o111,
                What::Bits(bits, _) => bits,
                What::Copy(shift) => {
                    let class = mode >> shift & 0o7;
                    class << 6 | class << 3 | class
                }
            } & change.who;
            match change.op {
                '+' => mode | bits,
                '-' => mode & !bits,
                // Setting a class exactly clears its special bits too, but a directory keeps setuid and setgid, as
                // chmod(1) has it.
                _ => {
                    let cleared = if is_directory { change.who & !0o6000 } else { change.who };
                    mode & !cleared | bits
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, mode, directory, expected) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o777, true, 0o644),
            ("4755", 0, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("go=", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("o+g", 0o640, false, 0o644),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("u+x-w", 0o644, false, 0o544),
            ("a=r", 0o4755, false, 0o444),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(mode, directory), expected, "{text} on {mode:o}");
        }
        for bad in ["", "8", "77777", "u", "u+q", "x+r", "u=rw,", "-1", "0o755"] {
            assert!(Chmod::parse(bad).is_err(), "{bad}");
        }
    }
}
