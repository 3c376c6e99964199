//! Who is called what on the networks of one container: read from the leases of its networks and the states of the
//! containers that hold them, so there is nothing that must be told of a change. What was read is kept for a moment.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::message::{A, AAAA, ANY, PTR, Query, Record};
use crate::network;
use crate::networks::NETWORK_STATE;
use crate::state;

/// How long a table is believed without another look at the leases' time.
const KEPT: Duration = Duration::from_secs(1);
/// How long it is believed even when a name is missing in it: many questions must not mean many readings.
const BARELY: Duration = Duration::from_millis(20);

/// The names on the networks of one container.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The container's own state directory; those of the others are beside it.
    state_dir: PathBuf,
    table: Table,
    read: Option<Instant>,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    /// The directory of leases of each network, and when it last changed.
    stamps: Vec<(PathBuf, Option<SystemTime>)>,
    /// The container is on a network with a way out.
    way_out: bool,
    /// A container that holds a lease was just being started.
    unfinished: bool,
}

/// One container on one network.
#[derive(Debug)]
struct Entry {
    network: String,
    /// In lower case.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Directory {
    /// The names that the container of this state directory may know. Nothing is read yet.
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_path_buf(), table: Table::default(), read: None }
    }

    /// Forgets what was read.
    pub fn forget(&mut self) {
        self.read = None;
    }

    /// What is known of the name that a query asks for; `None` if nothing is. A known name has no records of types that
    /// it does not have.
    pub fn find(&mut self, query: &Query) -> Option<Vec<Record>> {
        self.refresh(false);
        let found = self.table.find(query);
        if found.is_some() {
            return found;
        }
        self.refresh(true);
        self.table.find(query)
    }

    /// Whether questions that nobody here can answer may leave.
    pub fn has_way_out(&mut self) -> bool {
        self.refresh(false);
        self.table.way_out
    }

    fn refresh(&mut self, missing: bool) {
        let age = self.read.map(|read| read.elapsed());
        let doubtful = || missing || self.table.unfinished || self.table.is_stale();
        let good = age.is_some_and(|age| age < BARELY || (age < KEPT && !doubtful()));
        if !good {
            self.table = Table::read(&self.state_dir);
            self.read = Some(Instant::now());
        }
    }
}

impl Table {
    fn read(state_dir: &Path) -> Self {
        let mut table = Self::default();
        // A container that is just ending knows no names any more.
        let Some(own) = state::load(state_dir).ok().and_then(|state| state.network) else { return table };
        table.way_out = own.attachments.iter().any(|place| !place.internal);
        let containers = state_dir.parent().unwrap_or(state_dir);
        for place in own.attachments.iter().filter(|place| place.resolve) {
            let leases = network::leases_of(Path::new(NETWORK_STATE), &place.bridge);
            // The time before the list: a change in between is seen by the next look.
            table.stamps.push((leases.clone(), changed(&leases)));
            for id in network::owners(&leases) {
                match state::load(&containers.join(&id)) {
                    Ok(state) if !state.is_running() => table.unfinished |= state.status == state::Status::Created,
                    Ok(state) => table.add(&place.network, &place.bridge, state.network.as_ref()),
                    // Of another store, or gone meanwhile.
                    Err(_) => {}
                }
            }
        }
        table
    }

    fn add(&mut self, network: &str, bridge: &str, state: Option<&network::State>) {
        let places = state.into_iter().flat_map(|state| &state.attachments);
        for place in places.filter(|place| place.bridge == bridge) {
            let six = place.ipv6.map(|six| IpAddr::V6(six.ip));
            let entry = Entry {
                network: network.to_ascii_lowercase(),
                names: place.names.iter().map(|name| name.to_ascii_lowercase()).collect(),
                addresses: std::iter::once(IpAddr::V4(place.ip)).chain(six).collect(),
            };
            // A container with two leases (IPv4 and IPv6) comes twice.
            if !self.entries.iter().any(|other| other.network == entry.network && other.addresses == entry.addresses) {
                self.entries.push(entry);
            }
        }
    }

    fn is_stale(&self) -> bool {
        self.stamps.iter().any(|(path, stamp)| changed(path) != *stamp)
    }

    fn find(&self, query: &Query) -> Option<Vec<Record>> {
        if !query.internet {
            return None;
        }
        if query.kind == PTR {
            let address = query.address()?;
            let entry = self.entries.iter().find(|entry| entry.addresses.contains(&address))?;
            let name = entry.names.first()?;
            return Some(vec![Record::Name(format!("{name}.{}", entry.network))]);
        }
        let text = query.text()?;
        let mut known = false;
        let mut records = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.is_called(text)) {
            known = true;
            let fitting = entry.addresses.iter().filter(|address| match query.kind {
                A => address.is_ipv4(),
                AAAA => address.is_ipv6(),
                kind => kind == ANY,
            });
            records.extend(fitting.map(|address| Record::Address(*address)));
        }
        known.then_some(records)
    }
}

impl Entry {
    /// Whether `text` is one of its names, alone or with the network's behind it.
    fn is_called(&self, text: &str) -> bool {
        let bare = text.strip_suffix(self.network.as_str()).and_then(|rest| rest.strip_suffix('.'));
        self.names.iter().any(|name| name == text || Some(name.as_str()) == bare)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|about| about.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::query;
    use super::*;

    fn table() -> Table {
        let entry = |names: &[&str], addresses: &[&str]| Entry {
            network: "lab".into(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let entries = vec![
            entry(&["web", "0123456789ab", "www", "a.b"], &["10.79.0.2", "fd00::2"]),
            entry(&["db", "www"], &["10.79.0.3"]),
        ];
        Table { entries, ..Table::default() }
    }

    fn ask(name: &str, kind: u16) -> Option<Vec<Record>> {
        table().find(&Query::parse(&query(name, kind)).unwrap())
    }

    fn addresses(texts: &[&str]) -> Option<Vec<Record>> {
        Some(texts.iter().map(|text| Record::Address(text.parse().unwrap())).collect())
    }

    #[test]
    fn names_aliases_ids_and_whole_names() {
        for name in ["web", "WEB", "0123456789ab", "web.lab", "a.b", "a.b.Lab"] {
            assert_eq!(ask(name, A), addresses(&["10.79.0.2"]), "{name}");
        }
        assert_eq!(ask("www", A), addresses(&["10.79.0.2", "10.79.0.3"]));
        assert_eq!(ask("web", AAAA), addresses(&["fd00::2"]));
        assert_eq!(ask("db", AAAA), Some(Vec::new()), "known, but not of this type");
        assert_eq!(ask("db", 15), Some(Vec::new()));
        for name in ["nobody", "web.other", "lab", "x.web", "weblab"] {
            assert_eq!(ask(name, A), None, "{name}");
        }
    }

    #[test]
    fn addresses_have_names() {
        assert_eq!(ask("2.0.79.10.in-addr.arpa", PTR), Some(vec![Record::Name("web.lab".into())]));
        assert_eq!(ask("9.0.79.10.in-addr.arpa", PTR), None);
    }
}
