//! What a file that was to be executed is, by its first bytes.
//!
//! Pure. Scripts are read as the kernel reads them: the line after `#!` up to the line feed, blanks around the interpreter
//! dropped, everything behind the first blank one argument. A carriage return is part of what the kernel looks for, and that is the
//! commonest reason why a script that is plainly there is "not found".

/// How many bytes of a file the kernel looks at (`BINPRM_BUF_SIZE`).
pub const HEAD: usize = 256;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing in it.
    Empty,
    /// A program; the rest is in its ELF header.
    Elf,
    /// A script with an interpreter.
    Script(Script),
    /// A script whose first line names nothing, or is too long for the kernel.
    BadScript(&'static str),
    /// Text without `#!` on its first line.
    Text,
    /// Something known that this kernel does not run.
    Foreign(&'static str),
    /// Anything else.
    Unknown,
}

/// The first line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What the kernel starts: the bytes as they stand there.
    pub interpreter: String,
    /// What it hands on as one argument.
    pub argument: Option<String>,
    /// The line ends with a carriage return, as lines of Windows do.
    pub carriage_return: bool,
}

/// Looks at the first [`HEAD`] bytes of a file, or all if there are fewer.
pub fn classify(head: &[u8]) -> Content {
    if head.is_empty() {
        return Content::Empty;
    }
    if head.starts_with(b"\x7fELF") {
        return Content::Elf;
    }
    if let Some(rest) = head.strip_prefix(b"#!") {
        return script(rest, head.len() < HEAD);
    }
    if head.strip_prefix(b"\xef\xbb\xbf").is_some_and(|rest| rest.starts_with(b"#!")) {
        return Content::BadScript("begins with a byte order mark (EF BB BF) in front of #!");
    }
    if head.starts_with(b"\xff\xfe#\0!\0") || head.starts_with(b"\xfe\xff\0#\0!") {
        return Content::BadScript("is a script in UTF-16, which the kernel cannot read");
    }
    let blanks = head.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if blanks > 0 && head[blanks..].starts_with(b"#!") {
        return Content::BadScript("has white space in front of #!, which must be the first two bytes");
    }
    let known: [(&[u8], &str); 9] = [
        (b"MZ", "a Windows program"),
        (b"\xcf\xfa\xed\xfe", "a program for macOS"),
        (b"\xce\xfa\xed\xfe", "a program for macOS"),
        (b"\xca\xfe\xba\xbe", "a Java class or a universal program for macOS"),
        (b"\0asm", "a WebAssembly module"),
        (b"PK\x03\x04", "a zip or jar archive"),
        (b"\x1f\x8b", "a gzip file"),
        (b"!<arch>\n", "an archive of object files"),
        (b"BC\xc0\xde", "LLVM bitcode"),
    ];
    if let Some((_, name)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Content::Foreign(name);
    }
    let text = |byte: &u8| !matches!(byte, 0..=8 | 14..=26 | 28..=31 | 127);
    if head.iter().all(text) { Content::Text } else { Content::Unknown }
}

/// The line behind `#!`; `whole` if the file ends within the head.
fn script(rest: &[u8], whole: bool) -> Content {
    let end = rest.iter().position(|byte| *byte == b'\n');
    if end.is_none() && !whole && !rest.iter().skip_while(|byte| blank(**byte)).any(|byte| blank(*byte) || *byte == 0) {
        return Content::BadScript("has a #! line that is longer than the kernel reads (256 bytes)");
    }
    let line = &rest[..end.unwrap_or(rest.len())];
    let line = &line[..line.iter().position(|byte| *byte == 0).unwrap_or(line.len())];
    let line = trim(line);
    let carriage_return = line.last() == Some(&b'\r');
    let name = line.iter().position(|byte| blank(*byte)).unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(name);
    if interpreter.is_empty() || interpreter == b"\r" {
        return Content::BadScript("has a #! line that names no interpreter");
    }
    let argument = trim(argument);
    Content::Script(Script {
        interpreter: String::from_utf8_lossy(interpreter).into_owned(),
        argument: (!argument.is_empty()).then(|| String::from_utf8_lossy(argument).into_owned()),
        carriage_return,
    })
}

fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && blank(*last)
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(text: &str) -> (String, Option<String>, bool) {
        match classify(text.as_bytes()) {
            Content::Script(script) => (script.interpreter, script.argument, script.carriage_return),
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn scripts_are_read_as_the_kernel_reads_them() {
        assert_eq!(line("#!/bin/sh\nexit"), ("/bin/sh".into(), None, false));
        assert_eq!(line("#! \t/bin/sh  -e -x \n"), ("/bin/sh".into(), Some("-e -x".into()), false));
        assert_eq!(line("#!/bin/sh\r\nexit"), ("/bin/sh\r".into(), None, true));
        assert_eq!(line("#!/usr/bin/env python\r\n"), ("/usr/bin/env".into(), Some("python\r".into()), true));
        assert_eq!(line("#!/bin/sh"), ("/bin/sh".into(), None, false), "without a line feed");
        assert_eq!(line(&format!("#!/bin/sh {}", "x".repeat(400))).0, "/bin/sh");
        for broken in ["#!", "#!  \n/bin/sh", "#!\r\n", &format!("#!/{}", "x".repeat(400))] {
            assert!(matches!(classify(broken.as_bytes()), Content::BadScript(_)), "{broken:?}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        assert_eq!(classify(b""), Content::Empty);
        assert_eq!(classify(b"\x7fELF\x02"), Content::Elf);
        assert_eq!(classify(b"echo hello\n"), Content::Text);
        assert_eq!(classify(b"MZ\x90\0"), Content::Foreign("a Windows program"));
        assert_eq!(classify(b"\x01\x02\x03"), Content::Unknown);
        assert!(matches!(classify(b"\xef\xbb\xbf#!/bin/sh\n"), Content::BadScript(why) if why.contains("byte order")));
        assert!(matches!(classify(b"\n#!/bin/sh\n"), Content::BadScript(why) if why.contains("white space")));
        assert!(matches!(classify(b"\xff\xfe#\0!\0/\0"), Content::BadScript(why) if why.contains("UTF-16")));
    }

    proptest! {
        #[test]
        fn any_head_is_something(head in prop::collection::vec(any::<u8>(), 0..HEAD), mark in any::<bool>()) {
            let mut bytes = if mark { b"#!".to_vec() } else { Vec::new() };
            bytes.extend(head);
            if let Content::Script(script) = classify(&bytes) {
                prop_assert!(!script.interpreter.is_empty() && !script.interpreter.contains([' ', '\t', '\n', '\0']));
            }
        }
    }
}
