//! The flags of `run` and `create` about mounts and storage, beside `-v`, `--mount` and `--tmpfs`.

use clap::Args;

use crate::engine::container::options::storage::StorageOptions;
use crate::error::{CommandError, Result};

/// Mounts and storage.
#[derive(Args)]
pub struct StorageFlags {
    /// Mount what another container mounts from the host: CONTAINER[:ro]
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
    /// Mount by a line of fstab: 'SOURCE TARGET TYPE OPTIONS'
    #[arg(long, value_name = "LINE")]
    mount_entry: Vec<String>,
    /// Mount every line of a file like fstab
    #[arg(long, value_name = "FILE")]
    mount_file: Vec<String>,
    /// Limit what it may write: size=10G, inodes=NUMBER
    #[arg(long, value_name = "KEY=VALUE")]
    storage_opt: Vec<String>,
    /// What becomes of the image's volumes: bind (anonymous volumes), tmpfs, ignore
    #[arg(long, value_name = "MODE", value_parser = ["bind", "anonymous", "tmpfs", "ignore"], hide_possible_values = true)]
    image_volume: Option<String>,
    /// Who makes its volumes: local alone
    #[arg(long, value_name = "DRIVER", hide = true)]
    volume_driver: Option<String>,
}

impl StorageFlags {
    /// The engine's options.
    ///
    /// # Errors
    /// A file of mounts that cannot be read, a driver that there is not.
    pub fn options(self) -> Result<StorageOptions> {
        if let Some(driver) = self.volume_driver.filter(|driver| driver != "local") {
            return Err(CommandError::usage(format!("--volume-driver {driver}: there is no such volume driver"))
                .hint("only local volumes are supported: mount it on the host, and `img volume create -o type=none -o o=bind -o device=DIR NAME`"));
        }
        let mut mount_entries = self.mount_entry;
        for file in &self.mount_file {
            let text = std::fs::read_to_string(file)
                .map_err(|error| CommandError::usage(format!("cannot read the file of mounts {file}: {error}")))?;
            mount_entries.extend(text.lines().map(str::to_owned));
        }
        Ok(StorageOptions {
            volumes_from: self.volumes_from,
            mount_entries,
            image_volume: self.image_volume,
            storage: self.storage_opt,
        })
    }
}
