//! A finished command: what was run, how it ended, and what it said. The asserting methods consume nothing and return
//! what they looked at, so they chain.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The outcome of one command.
pub struct Out {
    line: String,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Wall time from start to end, the reading of both outputs included.
    pub took: Duration,
    /// The most memory that the process itself was seen to have resident, KiB.
    #[allow(dead_code)] // Not every test program that shares this looks at memory.
    pub peak: u64,
}

impl Out {
    /// Runs `command` to its end with `input` on its standard input (none: `/dev/null`). Panics when it, or whoever
    /// inherited its outputs, is not done after `limit`.
    pub fn of(mut command: Command, input: Option<&[u8]>, limit: Duration) -> Self {
        let line = describe(&command);
        let began = Instant::now();
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            let input = input.to_vec();
            // A command that stops reading early is not the test's business.
            std::thread::spawn(move || drop(pipe.write_all(&input)));
        }
        let stdout = drain(child.stdout.take().expect("stdout is piped"));
        let stderr = drain(child.stderr.take().expect("stderr is piped"));
        let mut peak = 0;
        let status = loop {
            peak = peak.max(resident(child.id()));
            match child.try_wait().expect("a child of ours can be waited for") {
                Some(status) => break status,
                None if began.elapsed() > limit => {
                    child.kill().expect("a child of ours can be killed");
                    child.wait().expect("a child of ours can be waited for");
                    let stderr = stderr.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
                    panic!("not done after {limit:?}: {line}\n{}", String::from_utf8_lossy(&stderr));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let rest = Duration::from_secs(10);
        let held = |_| panic!("ended, but something it left behind still holds its output open: {line}");
        let stdout = stdout.recv_timeout(rest).unwrap_or_else(held);
        let stderr = stderr.recv_timeout(rest).unwrap_or_else(held);
        Self { line, status, stdout, stderr, took: began.elapsed(), peak }
    }

    /// The exit status as a shell would show it: 128+n for a death by signal n.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().expect("ended by exit or by signal"))
    }

    /// Standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output without the white space around it: an id, a name, a number.
    pub fn word(&self) -> String {
        self.stdout().trim().to_owned()
    }

    /// Standard output as it came.
    pub fn bytes(&self) -> &[u8] {
        &self.stdout
    }

    /// Standard error as text.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as one JSON value.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("not JSON: {error}\n{self}"))
    }

    /// Standard output as one JSON value on each line, the shape of `--format json` lists.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}\n{self}"));
        self.stdout().lines().map(parse).collect()
    }

    /// Asserts success.
    #[track_caller]
    pub fn ok(&self) -> &Self {
        self.exits(0)
    }

    /// Asserts this exit status.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code(), code, "exit status\n{self}");
        self
    }

    /// Asserts a refusal that explains itself: this exit status, nothing on standard output, one `error:` line with
    /// each of `words` in it or below it, at most a few lines, and no trace of a panic.
    #[track_caller]
    pub fn refuses(&self, code: i32, words: &[&str]) -> &Self {
        self.exits(code);
        let stderr = self.stderr();
        assert!(stderr.lines().any(|line| line.starts_with("error: ")), "no line starts with 'error: '\n{self}");
        assert!(!stderr.contains("panicked at"), "a panic reached the user\n{self}");
        assert!(stderr.lines().count() <= 20, "an error is a few lines\n{self}");
        self.says(words)
    }

    /// Asserts that a `hint:` line follows the error.
    #[track_caller]
    pub fn hints(&self) -> &Self {
        assert!(self.stderr().lines().any(|line| line.starts_with("hint: ")), "no line starts with 'hint: '\n{self}");
        self
    }

    /// Asserts that standard error holds each of `words`, in any case.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Self {
        let stderr = self.stderr().to_lowercase();
        for word in words {
            assert!(stderr.contains(&word.to_lowercase()), "standard error lacks '{word}'\n{self}");
        }
        self
    }

    /// Asserts that standard output holds each of `words`.
    #[track_caller]
    pub fn prints(&self, words: &[&str]) -> &Self {
        let stdout = self.stdout();
        for word in words {
            assert!(stdout.contains(word), "standard output lacks '{word}'\n{self}");
        }
        self
    }

    /// Asserts that standard output is exactly this.
    #[track_caller]
    pub fn prints_exactly(&self, text: &str) -> &Self {
        assert_eq!(self.stdout(), text, "standard output\n{self}");
        self
    }
}

impl fmt::Display for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\nended with {} after {:?}\n", self.line, self.code(), self.took)?;
        write!(f, "--- stdout\n{}--- stderr\n{}---", clip(&self.stdout), clip(&self.stderr))
    }
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn drain(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the output like an end of file does; what was read still counts.
        drop(pipe.read_to_end(&mut bytes));
        drop(sender.send(bytes));
    });
    receiver
}

fn clip(bytes: &[u8]) -> String {
    const MOST: usize = 6000;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
    let cut = if bytes.len() > MOST { format!("… {} bytes in all", bytes.len()) } else { String::new() };
    let end = if text.is_empty() || text.ends_with('\n') && cut.is_empty() { "" } else { "\n" };
    format!("{text}{cut}{end}")
}

/// The high-water mark of a living process's resident memory, KiB (proc_pid_status(5)); 0 once it is gone.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
