//! A line between `img` and a registry that can be listened to and held: what is asked is counted, and answers stop after so
//! many bytes until they are let go.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// The line; whoever connects to its address talks to the registry behind it.
pub struct Relay {
    address: String,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line {
    asked: Mutex<Vec<String>>,
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    /// How many bytes of answers still go through; `None`: all.
    left: Option<usize>,
    /// How often connections were cut; those that wait meanwhile are.
    cuts: usize,
    /// Somebody waits for more.
    waits: bool,
}

impl Relay {
    /// A line to this address (`HOST:PORT`, plain HTTP).
    pub fn to(registry: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("an address").to_string();
        let line = Arc::<Line>::default();
        let (shared, registry) = (Arc::clone(&line), registry.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (line, server) = (Arc::clone(&shared), TcpStream::connect(&registry));
                let Ok(server) = server else { continue };
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                let asking = Arc::clone(&line);
                std::thread::spawn(move || asking.ask(from, to));
                std::thread::spawn(move || line.answer(server, client));
            }
        });
        Self { address, line }
    }

    /// `HOST:PORT` of it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The first lines of all requests so far, with their ranges.
    pub fn asked(&self) -> Vec<String> {
        self.line.asked.lock().expect("no holder panics").clone()
    }

    /// From now on answers stop when so many bytes have gone through.
    pub fn hold_after(&self, bytes: usize) {
        self.hold(Some(bytes), 0);
    }

    fn hold(&self, left: Option<usize>, cuts: usize) {
        let mut held = self.line.held.lock().expect("no holder panics");
        *held = Held { left, waits: false, cuts: held.cuts + cuts };
        self.line.changed.notify_all();
    }

    /// Whether somebody waits for an answer that is held.
    pub fn is_awaited(&self) -> bool {
        self.line.held.lock().expect("no holder panics").waits
    }

    /// Cuts all connections whose answers are held, and lets everything through that is asked after.
    pub fn cut(&self) {
        self.hold(None, 1);
    }

    /// Where the last answer was asked to begin (`Range: bytes=N-`).
    pub fn last_range(&self) -> Option<usize> {
        let range =
            |line: &String| line.to_ascii_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok();
        self.asked().iter().rev().find_map(range)
    }

    /// Lets everything through.
    pub fn let_go(&self) {
        self.hold(None, 0);
    }
}

impl Line {
    /// Client to server: requests have no bodies here, so that each line that begins like one is one.
    fn ask(&self, client: TcpStream, mut server: TcpStream) {
        let mut reader = BufReader::new(client);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            let begins = |word: &&str| text.get(..word.len()).is_some_and(|text| text.eq_ignore_ascii_case(word));
            if ["GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "Range: "].iter().any(begins) {
                self.asked.lock().expect("no holder panics").push(text.trim_end().to_owned());
            }
            if server.write_all(&line).is_err() {
                break;
            }
            line.clear();
        }
        drop(server.shutdown(Shutdown::Write));
    }

    fn answer(&self, mut server: TcpStream, mut client: TcpStream) {
        let mut buffer = [0; 1 << 14];
        while let Ok(read) = server.read(&mut buffer) {
            let mut sent = 0;
            while sent < read {
                let Some(most) = self.wait(read - sent) else {
                    drop(client.shutdown(Shutdown::Both));
                    return;
                };
                if client.write_all(&buffer[sent..sent + most]).is_err() {
                    return;
                }
                sent += most;
            }
            if read == 0 {
                break;
            }
        }
        drop(client.shutdown(Shutdown::Write));
    }

    /// Waits until bytes may go through; how many of `wanted`. None: the line is cut.
    fn wait(&self, wanted: usize) -> Option<usize> {
        let mut held = self.held.lock().expect("no holder panics");
        let cuts = held.cuts;
        loop {
            match held.left {
                _ if held.cuts != cuts => return None,
                None => return Some(wanted),
                Some(0) => {}
                Some(left) => {
                    let most = wanted.min(left);
                    held.left = Some(left - most);
                    return Some(most);
                }
            }
            held.waits = true;
            held = self.changed.wait(held).expect("no holder panics");
        }
    }
}
