//! Putting containers on networks and taking them off. What the user said is changed in the container's record, so that
//! the next start has it too; a running container is changed at once.

use runner::spec::parse::{NetworkChoice, NetworkRequest};
use store::journal::{Event, Subject};

use super::BRIDGE;
use crate::engine::Engine;
use crate::engine::container::files::EtcFiles;
use crate::engine::container::network::{Choices, choices, device_words, names_of_places};
use crate::engine::container::{ContainerData, ContainerRecord, unless_ended};
use crate::error::{CommandError, Result};

impl Engine {
    /// Puts a container on a network. Returns what the user should be told.
    ///
    /// # Errors
    /// No such container or network, one that it is on already, a container without a network of its own.
    pub fn connect(&self, container: &str, mut request: NetworkRequest) -> Result<Vec<String>> {
        let record = self.container_named(container)?;
        let network = self.find_network(&request.name)?;
        if network.is_built_in() && network.name != BRIDGE {
            return Err(CommandError::new(format!("containers cannot be connected to network {}", network.name))
                .hint("`img run --network` chooses it when a container is made"));
        }
        request.name.clone_from(&network.name);
        let requests = places(&record.name, &record.data)?;
        if requests.iter().any(|other| other.name == request.name) {
            return Err(CommandError::new(format!("container {container} is on network {} already", request.name)));
        }
        let config = self.place(&record.id, &record.name, &request)?;
        config.validate()?;
        let mut notices = Vec::new();
        if self.state(&record.id)?.is_some_and(|state| state.is_running()) {
            let chosen = request.interface.is_some();
            match runner::connect(&self.state_dir(&record.id), config, chosen) {
                Ok((state, told)) => {
                    notices = told;
                    self.write_resolver(&record, &state)?;
                }
                // It has ended meanwhile: its next start puts it there.
                Err(error) if error.has_ended() => {}
                Err(error) => {
                    return Err(CommandError::from(error).prefixed(&format!("cannot connect container {container}")));
                }
            }
        }
        self.keep_places(&record, |requests| {
            requests.retain(|other| other.name != request.name);
            requests.push(request);
        })?;
        self.keep_for_restarts(&record.id)?;
        self.let_go();
        self.network_event("connect", &network.name, &network.id, Some(&record));
        Ok(notices)
    }

    /// Enters a running container into the firewall again. Returns what the user should be told.
    ///
    /// # Errors
    /// No such container, one that does not run, a port that somebody else has taken meanwhile.
    pub fn reload_network(&self, container: &str) -> Result<Vec<String>> {
        let record = self.container_named(container)?;
        unless_ended(container, runner::reload_network(&self.state_dir(&record.id)))
            .map_err(|error| error.prefixed(&format!("cannot reload the network of container {container}")))
    }

    /// Takes a container off a network.
    ///
    /// # Errors
    /// No such container or network, one that it is not on.
    pub fn disconnect(&self, container: &str, network: &str) -> Result<()> {
        let record = self.container_named(container)?;
        let requests = places(&record.name, &record.data)?;
        // By its name, or by the name of a network that is gone.
        let (name, id) = match self.find_network(network) {
            Ok(network) => (network.name, network.id),
            Err(_) if requests.iter().any(|request| request.name == network) => (network.to_owned(), String::new()),
            Err(error) => return Err(error),
        };
        if !requests.iter().any(|request| request.name == name) {
            return Err(CommandError::new(format!("container {container} is not on network {name}")));
        }
        if self.state(&record.id)?.is_some_and(|state| state.is_running()) {
            match runner::disconnect(&self.state_dir(&record.id), &name) {
                Ok(state) => self.write_resolver(&record, &state)?,
                // It has ended meanwhile, which took it off.
                Err(error) if error.has_ended() => {}
                Err(error) => {
                    return Err(CommandError::from(error).prefixed(&format!("cannot disconnect container {container}")));
                }
            }
        }
        self.keep_places(&record, |requests| requests.retain(|request| request.name != name))?;
        self.keep_for_restarts(&record.id)?;
        self.network_event("disconnect", &name, &id, Some(&record));
        Ok(())
    }

    /// Whether a container's flags name a network.
    ///
    /// # Errors
    /// No such container.
    pub fn is_on(&self, container: &str, network: &str) -> Result<bool> {
        let record = self.container_named(container)?;
        let name = self.find_network(network).map_or_else(|_| network.to_owned(), |network| network.name);
        Ok(places(&record.name, &record.data)?.iter().any(|request| request.name == name))
    }

    /// Writes an event of a network into the journal.
    pub(super) fn network_event(&self, action: &str, name: &str, id: &str, container: Option<&ContainerRecord>) {
        let event = Event::now(Subject::Network, action, id).with("name", name).with("type", "bridge");
        match container {
            Some(record) => self.event(&event.with("container", &record.id)),
            None => self.event(&event),
        }
    }

    /// Tells a running container's programs whom to ask for names now.
    fn write_resolver(&self, record: &ContainerRecord, state: &runner::State) -> Result<()> {
        let places = state.network.as_ref().map_or(&[][..], |network| &network.attachments);
        let etc = EtcFiles::parse(&record.data.options, &record.id, names_of_places(places))?;
        etc.rewrite_resolver(&self.state_dir(&record.id))
    }

    /// Tells the monitor of a container that runs, or is about to run again, which networks it has then.
    fn keep_for_restarts(&self, id: &str) -> Result<()> {
        if self.state(id)?.is_some_and(|state| state.is_up()) {
            let network = self.network_of(&self.container_record(id)?)?;
            runner::set_network(&self.state_dir(id), &network)?;
        }
        Ok(())
    }

    /// Changes the networks that a container is recorded to be on: those of now, others may have come or gone meanwhile.
    fn keep_places(&self, record: &ContainerRecord, change: impl FnOnce(&mut Vec<NetworkRequest>)) -> Result<()> {
        let mut kept = Ok(());
        self.store.containers().change(&record.id, |data: &mut ContainerData| {
            kept = places(&record.name, data).map(|mut requests| {
                change(&mut requests);
                let asked = &mut data.options.network;
                // The flags that spoke of the first network are part of its words now.
                (asked.ip, asked.ip6, asked.mac) = (None, None, None);
                asked.aliases.clear();
                let devices: Vec<String> = device_words(asked).cloned().collect();
                asked.networks = requests.iter().map(ToString::to_string).chain(devices).collect();
                if asked.networks.is_empty() {
                    asked.networks.push("none".to_owned());
                }
            });
        })?;
        kept
    }
}

/// The places that a container's flags ask for.
fn places(name: &str, data: &ContainerData) -> Result<Vec<NetworkRequest>> {
    match choices(&data.options.network)? {
        Choices::Networks(requests) => Ok(requests),
        Choices::Alone(NetworkChoice::None | NetworkChoice::Empty) => Ok(Vec::new()),
        Choices::Alone(_) => {
            let mode = data.options.network.mode();
            Err(CommandError::new(format!("container {name} has no network of its own: --network {mode}")))
        }
    }
}
