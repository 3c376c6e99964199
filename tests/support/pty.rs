//! A program on a terminal of its own: a pseudo terminal whose far end becomes its controlling terminal. The test types
//! and waits for what the screen says, each wait with a deadline.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

const LIMIT: Duration = Duration::from_secs(30);

/// A running program and the screen in front of it.
pub struct Terminal {
    master: File,
    child: Child,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    line: String,
    seen: usize,
}

#[derive(Default)]
struct Screen {
    text: Vec<u8>,
    closed: bool,
}

impl Terminal {
    /// Starts `command` on a new terminal of 24 rows and 80 columns.
    pub fn start(command: &Command) -> Self {
        let master =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        rustix::pty::grantpt(&master).expect("a pty's rights");
        rustix::pty::unlockpt(&master).expect("a pty's lock");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("a pty's name");
        let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
        let slave = File::from(slave.expect("the far end of a pty"));
        let master = File::from(master);
        // setsid makes the terminal on its standard input the controlling one, then becomes the program.
        let mut wrapped = Command::new("setsid");
        wrapped.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped.env("TERM", "xterm");
        let far = || Stdio::from(slave.try_clone().expect("one more handle of the pty"));
        wrapped.stdin(far()).stdout(far()).stderr(far());
        let line = format!("{command:?}");
        let child = wrapped.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        drop((wrapped, slave));
        let screen = Arc::new((Mutex::new(Screen::default()), Condvar::new()));
        let mut reader = master.try_clone().expect("one more handle of the pty");
        let shared = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut chunk = [0_u8; 4096];
            loop {
                // The kernel answers EIO when nobody holds the far end any more.
                let length = reader.read(&mut chunk).unwrap_or(0);
                let mut screen = shared.0.lock().expect("no holder of the screen panics");
                screen.text.extend_from_slice(&chunk[..length]);
                screen.closed = length == 0;
                shared.1.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        let terminal = Self { master, child, screen, line, seen: 0 };
        terminal.resize(24, 80);
        terminal
    }

    /// Types `text` as it is.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap_or_else(|e| panic!("cannot type into {}: {e}", self.line));
    }

    /// Types a line.
    pub fn line(&mut self, text: &str) {
        self.send(&format!("{text}\r"));
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).expect("a pty has a size");
    }

    /// Waits until the screen shows `text` behind what an earlier call waited for; returns what came before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let began = Instant::now();
        let (lock, changed) = &*self.screen;
        let mut screen = lock.lock().expect("no holder of the screen panics");
        loop {
            let rest = &screen.text[self.seen..];
            if let Some(at) = rest.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = String::from_utf8_lossy(&rest[..at]).into_owned();
                self.seen += at + text.len();
                return before;
            }
            let left = LIMIT.saturating_sub(began.elapsed());
            if screen.closed || left.is_zero() {
                let rest = String::from_utf8_lossy(rest).into_owned();
                let why = if screen.closed { "the terminal was closed" } else { "it did not come in time" };
                drop(screen);
                panic!("waiting for {text:?} of {}: {why}; the screen shows\n{rest}", self.line);
            }
            screen = changed.wait_timeout(screen, left).expect("no holder of the screen panics").0;
        }
    }

    /// Waits for the program's end and returns its exit status (128+n for signal n) and the whole screen.
    #[track_caller]
    pub fn finish(&mut self) -> (i32, String) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours can be waited for") {
                break status;
            }
            assert!(began.elapsed() < LIMIT, "{} did not end; the screen shows\n{}", self.line, self.text());
            std::thread::sleep(Duration::from_millis(5));
        };
        let (lock, changed) = &*self.screen;
        let mut screen = lock.lock().expect("no holder of the screen panics");
        let last = Instant::now();
        while !screen.closed && last.elapsed() < Duration::from_secs(2) {
            screen = changed.wait_timeout(screen, Duration::from_millis(100)).expect("no holder panics").0;
        }
        let text = String::from_utf8_lossy(&screen.text).into_owned();
        (std::os::unix::process::ExitStatusExt::signal(&status).map_or(status.code().unwrap_or(-1), |n| 128 + n), text)
    }

    /// All that was printed so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.0.lock().expect("no holder of the screen panics").text).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
