//! The loop of a monitor: output to log and peers, input from peers, signals, and the end of the program.
//!
//! One thread, one poll. [`Relay::run`] returns when the program has ended and all its output was read. The rule: the log never
//! waits for a peer; only a foreground's own peer may hold the program up, by not being read from.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::termios::{Winsize, tcsetwinsize};

use super::Happening;
use super::frame::Frame;
use super::peer::{Peer, accept};
use super::task::{Ending, Next, Request, Task};
use super::ttys::open_slave;
use crate::error::{Doing, Result};
use crate::log::{Log, Stream};
use crate::sys::{self, Ended};

/// A peer that holds the program up does so from this backlog on.
const HOLD_UP: usize = 64 * 1024;

/// A bystander this far behind is dropped.
const MAX_BACKLOG: usize = 1 << 20;

/// Clients at one time.
const MAX_PEERS: usize = 32;

/// How long a program has after its owner vanished.
const OWNER_GRACE: Duration = Duration::from_secs(3);

/// A stop request is looked for so often at least while there is no program; the signal that announces it makes it sooner.
const PAUSE_TICK: Duration = Duration::from_secs(1);

/// Signals that mean, while there is no program, that there is to be no further run.
const ENDS_A_PAUSE: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// How long clients have to take the last output.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// The program's side.
#[derive(Debug, Default)]
pub struct ProgramIo {
    /// The master of its terminal, for input and output.
    pub console: Option<OwnedFd>,
    /// The other side of it, held while the program runs: an init has its console open only to write a line, and with nobody there
    /// a terminal ends.
    pub held: Option<OwnedFd>,
    /// The write end of its standard input.
    pub stdin: Option<OwnedFd>,
    /// The read end of its standard output.
    pub stdout: Option<OwnedFd>,
    /// The read end of its standard error.
    pub stderr: Option<OwnedFd>,
}

impl ProgramIo {
    /// Takes the master of the program's terminal.
    pub fn hold(&mut self, console: Option<OwnedFd>) {
        // Without the other side it is a terminal that ends with whoever had it open last; the program runs already.
        self.held = console.as_ref().and_then(open_slave);
        self.console = console;
    }
}

/// A callback for output, instead of a terminal or a pipe.
pub type Sink<'a> = Box<dyn FnMut(Stream, &[u8]) + 'a>;

/// Everything the loop looks after.
pub struct Relay<'a> {
    /// The program's side.
    pub program: ProgramIo,
    /// Where output is kept.
    pub log: Option<Box<dyn Log>>,
    /// Where output goes beside.
    pub sink: Option<Sink<'a>>,
    /// The clients.
    pub peers: Vec<Peer>,
    /// Where new ones come from.
    pub listener: Option<UnixListener>,
    /// The signals to pass on (a signalfd).
    pub signals: Option<OwnedFd>,
    /// What is looked after beside the program, until it has ended.
    pub tasks: Vec<Box<dyn Task + 'a>>,
    /// What asks the program to stop, if its owner vanishes without a terminal.
    pub stop_signal: i32,
    input: VecDeque<u8>,
    input_ended: bool,
    kill_at: Option<Instant>,
    next: Next,
    size: Option<Winsize>,
    log_error: Option<crate::Error>,
}

impl std::fmt::Debug for Relay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("program", &self.program).field("peers", &self.peers).finish_non_exhaustive()
    }
}

/// Whose descriptor an entry of the poll is.
#[derive(Clone, Copy)]
enum Source {
    Process,
    Signals,
    Listener,
    Output(Stream),
    Input,
    Peer(usize),
    Task(usize),
}

impl<'a> Relay<'a> {
    /// A relay for a program, with nobody listening yet.
    pub fn new(program: ProgramIo, log: Option<Box<dyn Log>>, stop_signal: i32) -> Self {
        Self {
            program,
            log,
            sink: None,
            peers: Vec::new(),
            listener: None,
            signals: None,
            tasks: Vec::new(),
            stop_signal,
            input: VecDeque::new(),
            input_ended: false,
            kill_at: None,
            next: Next::ByPolicy,
            size: None,
            log_error: None,
        }
    }

    /// Connects the next run of the same container.
    pub fn reconnect(&mut self, program: ProgramIo) {
        self.program = program;
        self.input.clear();
        self.input_ended = false;
        self.kill_at = None;
        if let (Some(console), Some(size)) = (&self.program.console, self.size) {
            // A terminal that is just going away has no size.
            let _ = tcsetwinsize(console, size);
        }
    }

    /// Greets a new client and takes it in.
    pub fn add_peer(&mut self, mut peer: Peer) {
        let terminal = self.program.console.is_some();
        peer.frame(&Frame::Hello { terminal, stdin: terminal || self.program.stdin.is_some() });
        self.peers.push(peer);
    }

    /// Relays until the process behind `pidfd`, our child, has ended and its output was read. What comes next is up to the policy
    /// unless a task has decided it.
    pub fn run(&mut self, pidfd: &OwnedFd, observer: &mut dyn FnMut(&Happening<'_>)) -> Result<(Ended, Next)> {
        let mut buffer = vec![0u8; 32 * 1024];
        self.next = Next::ByPolicy;
        let ended = loop {
            if self.kill_at.is_some_and(|at| Instant::now() >= at) {
                self.kill_at = None;
                let _ = sys::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            }
            let wakes = self.tasks.iter().filter_map(|task| task.wake_at()).chain(self.kill_at).min();
            let mut ready: Vec<Vec<RawFd>> = vec![Vec::new(); self.tasks.len()];
            let mut over = false;
            for (source, fd, events) in self.wait(Some(pidfd), wakes)? {
                match source {
                    Source::Process => over = true,
                    Source::Signals => self.forward_signals(pidfd)?,
                    Source::Listener => self.greet()?,
                    Source::Output(stream) => drop(self.read_output(stream, &mut buffer)),
                    Source::Input => self.write_input(),
                    Source::Peer(index) => self.serve_peer(index, fd, events, Some(pidfd), &mut buffer),
                    Source::Task(index) => ready[index].push(fd),
                }
            }
            self.drop_closed(Some(pidfd));
            if over && let Some(ended) = sys::reap(pidfd.as_fd()).doing(|| "wait for the program".into())? {
                break ended;
            }
            let mut requests = Vec::new();
            for (task, ready) in self.tasks.iter_mut().zip(ready) {
                if !ready.is_empty() || task.wake_at().is_some_and(|at| Instant::now() >= at) {
                    requests.extend(task.turn(&ready));
                }
            }
            for request in requests {
                match request {
                    Request::Tell(happening) => observer(&happening),
                    Request::End(ending) => self.end(pidfd, ending),
                }
            }
        };
        self.tasks.clear();
        self.kill_at = None;
        // What is in the pipes was written before the end: everything in a pid namespace ends with its first process. A pipe that is
        // still open belongs to a process outside of that, and is not waited for.
        self.program.held = None;
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self.read_output(stream, &mut buffer) {}
        }
        self.program = ProgramIo::default();
        if let Some(log) = &mut self.log
            && let Err(error) = log.finish()
        {
            self.log_error.get_or_insert(error);
        }
        Ok((ended, self.next))
    }

    /// Serves the clients while there is no program, until the time is over. False: whoever waits wants no further run, or
    /// `stopped` says so, which is asked again at every signal.
    pub fn pause(&mut self, until: Instant, stopped: impl Fn() -> bool) -> Result<bool> {
        let mut buffer = vec![0u8; 4096];
        loop {
            if stopped() {
                return Ok(false);
            }
            if Instant::now() >= until {
                return Ok(true);
            }
            for (source, fd, events) in self.wait(None, Some(until.min(Instant::now() + PAUSE_TICK)))? {
                match source {
                    Source::Listener => self.greet()?,
                    Source::Signals => {
                        while let Some(signal) = self.next_signal()? {
                            if ENDS_A_PAUSE.contains(&signal) {
                                return Ok(false);
                            }
                        }
                    }
                    Source::Peer(index) => self.serve_peer(index, fd, events, None, &mut buffer),
                    _ => {}
                }
            }
            self.input.clear();
            if self.drop_closed(None) || self.kill_at.is_some() {
                return Ok(false);
            }
        }
    }

    /// Asks the program to end.
    fn end(&mut self, pidfd: &OwnedFd, ending: Ending) {
        self.next = ending.next;
        // It may just have ended.
        let _ = sys::pidfd_send_signal(pidfd.as_fd(), ending.signal);
        self.kill_at.get_or_insert(Instant::now() + ending.grace);
    }

    /// The first failure of writing the log, if there was one: output went on without it.
    pub fn take_log_error(&mut self) -> Option<crate::Error> {
        self.log_error.take()
    }

    /// Tells the clients the exit code and gives all peers time to take the rest.
    pub fn finish(mut self, code: i32) -> Result<()> {
        self.listener = None;
        self.signals = None;
        for peer in &mut self.peers {
            peer.frame(&Frame::Exit(code));
        }
        let deadline = Instant::now() + FLUSH_LIMIT;
        let mut buffer = vec![0u8; 4096];
        loop {
            self.peers.retain(|peer| !peer.closed && peer.backlog() > 0);
            let patient = self.peers.iter().any(Peer::holds_up);
            if self.peers.is_empty() || (!patient && Instant::now() >= deadline) {
                return Ok(());
            }
            for (source, fd, events) in self.wait(None, (!patient).then_some(deadline))? {
                if let Source::Peer(index) = source {
                    let peer = &mut self.peers[index];
                    if peer.is_output(fd) || events & libc::POLLOUT != 0 {
                        peer.write_ready(fd);
                    }
                    if !peer.is_output(fd) && events & !libc::POLLOUT != 0 && peer.read_ready(&mut buffer).is_err() {
                        // What it sends matters no more, only that it is still there.
                        peer.closed = true;
                    }
                }
            }
        }
    }

    /// Waits until something can be done.
    fn wait(&self, pidfd: Option<&OwnedFd>, until: Option<Instant>) -> Result<Vec<(Source, RawFd, i16)>> {
        let mut sources: Vec<(Source, RawFd, i16)> = Vec::with_capacity(8 + self.peers.len());
        if let Some(pidfd) = pidfd {
            sources.push((Source::Process, pidfd.as_raw_fd(), libc::POLLIN));
        }
        if let Some(signals) = &self.signals {
            sources.push((Source::Signals, signals.as_raw_fd(), libc::POLLIN));
        }
        if let Some(listener) = &self.listener {
            sources.push((Source::Listener, listener.as_raw_fd(), libc::POLLIN));
        }
        for (index, task) in self.tasks.iter().enumerate() {
            sources.extend(task.interests().into_iter().map(|(fd, events)| (Source::Task(index), fd, events)));
        }
        let held_up = self.peers.iter().any(|peer| peer.holds_up() && peer.backlog() >= HOLD_UP);
        let out = if held_up { 0 } else { libc::POLLIN };
        let input = if self.input.is_empty() { 0 } else { libc::POLLOUT };
        match &self.program.console {
            Some(console) if out != 0 => {
                sources.push((Source::Output(Stream::Stdout), console.as_raw_fd(), out));
                if input != 0 {
                    sources.push((Source::Input, console.as_raw_fd(), input));
                }
            }
            Some(console) if input != 0 => sources.push((Source::Input, console.as_raw_fd(), input)),
            _ => {
                for (stream, fd) in [(Stream::Stdout, &self.program.stdout), (Stream::Stderr, &self.program.stderr)] {
                    if let (Some(fd), true) = (fd, out != 0) {
                        sources.push((Source::Output(stream), fd.as_raw_fd(), out));
                    }
                }
                if let Some(stdin) = &self.program.stdin {
                    // Without events: only to learn that nobody reads any more.
                    sources.push((Source::Input, stdin.as_raw_fd(), input));
                }
            }
        }
        let want_input = self.input.len() < HOLD_UP;
        for (index, peer) in self.peers.iter().enumerate() {
            sources
                .extend(peer.interests(want_input).into_iter().map(|(fd, events)| (Source::Peer(index), fd, events)));
        }
        let mut entries: Vec<libc::pollfd> =
            sources.iter().map(|(_, fd, events)| libc::pollfd { fd: *fd, events: *events, revents: 0 }).collect();
        let timeout = until.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        crate::idle::poll(&mut entries, timeout).doing(|| "wait for the program and its clients".into())?;
        let happened = sources.into_iter().zip(entries).filter(|(_, entry)| entry.revents != 0);
        Ok(happened.map(|((source, fd, _), entry)| (source, fd, entry.revents)).collect())
    }

    /// Reads one piece of output and hands it on. Returns whether there may be more at once.
    fn read_output(&mut self, stream: Stream, buffer: &mut [u8]) -> bool {
        let source = match (&self.program.console, stream) {
            (Some(console), Stream::Stdout) => Some(console),
            (Some(_), Stream::Stderr) => None,
            (None, Stream::Stdout) => self.program.stdout.as_ref(),
            (None, Stream::Stderr) => self.program.stderr.as_ref(),
        };
        let Some(source) = source else { return false };
        match rustix::io::read(source, &mut *buffer) {
            Ok(count) if count > 0 => {
                let bytes = &buffer[..count];
                if let Some(log) = &mut self.log
                    && let Err(error) = log.write(stream, bytes)
                {
                    // A full disk must not stop the program; it is told once, at the end.
                    self.log_error.get_or_insert(error);
                }
                if let Some(sink) = &mut self.sink {
                    sink(stream, bytes);
                }
                for peer in self.peers.iter_mut().filter(|peer| !peer.closed) {
                    peer.output(stream, bytes);
                    if peer.backlog() > MAX_BACKLOG && !peer.holds_up() {
                        peer.closed = true;
                    }
                }
                true
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            // The end of a pipe; of a terminal it is EIO, when nobody has it open.
            Ok(_) | Err(_) => {
                match (self.program.console.is_some(), stream) {
                    (true, _) => self.program.console = None,
                    (false, Stream::Stdout) => self.program.stdout = None,
                    (false, Stream::Stderr) => self.program.stderr = None,
                }
                false
            }
        }
    }

    /// Passes waiting input to the program.
    fn write_input(&mut self) {
        let target = self.program.console.as_ref().or(self.program.stdin.as_ref());
        let Some(target) = target else {
            self.input.clear();
            return;
        };
        while !self.input.is_empty() {
            let (front, _) = self.input.as_slices();
            match rustix::io::write(target, front) {
                Ok(count) => drop(self.input.drain(..count)),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Err(_) => {
                    // Nobody reads: what comes is thrown away from now on.
                    self.input.clear();
                    self.program.stdin = None;
                    return;
                }
            }
        }
        if self.input_ended || target_is_dead(target) {
            self.program.stdin = None;
        }
    }

    fn serve_peer(&mut self, index: usize, fd: RawFd, events: i16, pidfd: Option<&OwnedFd>, buffer: &mut [u8]) {
        let peer = &mut self.peers[index];
        if peer.is_output(fd) || events & libc::POLLOUT != 0 {
            peer.write_ready(fd);
        }
        if peer.is_output(fd) || events & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) == 0 {
            return;
        }
        let Ok(frames) = self.peers[index].read_ready(buffer) else {
            self.peers[index].closed = true;
            return;
        };
        for frame in frames {
            match frame {
                Frame::Stdin(bytes) => self.input.extend(bytes),
                Frame::StdinEnd if self.program.console.is_none() => {
                    // With several clients the first to end its input ends it for all, as with one pipe.
                    self.input_ended = true;
                }
                Frame::StdinEnd => {}
                Frame::Resize { rows, columns } => {
                    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                    self.size = Some(size);
                    if let Some(console) = &self.program.console {
                        // A terminal that is just going away has no size.
                        let _ = tcsetwinsize(console, size);
                    }
                }
                Frame::Signal(number) => match pidfd {
                    Some(pidfd) => drop(sys::pidfd_send_signal(pidfd.as_fd(), number as i32)),
                    // Between two runs there is only the wait to end.
                    None if ENDS_A_PAUSE.contains(&(number as i32)) => self.kill_at = Some(Instant::now()),
                    None => {}
                },
                Frame::Detach => {
                    self.peers[index].owner = false;
                    self.peers[index].closed = true;
                }
                // Only the monitor sends these.
                Frame::Hello { .. } | Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) => {
                    self.peers[index].closed = true;
                }
            }
        }
        self.write_input();
    }

    /// Lets go of clients that left; the program ends with its owner. Says whether the owner left.
    fn drop_closed(&mut self, pidfd: Option<&OwnedFd>) -> bool {
        let orphaned = self.peers.iter().any(|peer| peer.closed && peer.owner);
        if orphaned && let Some(pidfd) = pidfd {
            let signal = if self.program.console.is_some() { libc::SIGHUP } else { self.stop_signal };
            self.end(pidfd, Ending { signal, grace: OWNER_GRACE, next: Next::Rest });
        }
        self.peers.retain(|peer| !peer.closed);
        orphaned
    }

    fn greet(&mut self) -> Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        // A client that gives up while it is being greeted is no error of the container's.
        if let Ok(Some(stream)) = accept(listener)
            && self.peers.len() < MAX_PEERS
            && let Ok(peer) = Peer::socket(stream, false)
        {
            self.add_peer(peer);
        }
        Ok(())
    }

    fn forward_signals(&mut self, pidfd: &OwnedFd) -> Result<()> {
        while let Some(signal) = self.next_signal()? {
            // It may just have ended.
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), signal);
        }
        Ok(())
    }

    fn next_signal(&self) -> Result<Option<i32>> {
        let Some(signals) = &self.signals else { return Ok(None) };
        sys::read_signal(signals.as_fd()).doing(|| "read a signal".into())
    }
}

/// Whether nobody can read from the other end of a pipe any more.
fn target_is_dead(target: &OwnedFd) -> bool {
    let mut entry = [libc::pollfd { fd: target.as_raw_fd(), events: 0, revents: 0 }];
    sys::poll(&mut entry, Some(Duration::ZERO)).is_ok() && entry[0].revents & libc::POLLERR != 0
}
