//! Where the systems of the demonstration keep what they store.

use std::{
    fs::{self, DirBuilder},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::DemoError;
use crate::{
    entropy::Entropy,
    node::{
        Clock, SystemEntropy,
        storage::command::write_new_key,
        tls::dev_ca::{CA_FILE, DevCa, EXAMPLE_FILE},
    },
};

/// The key file in the directory.
const KEY_FILE: &str = "storage.key";

/// The directory of certificates in the directory.
const CERTIFICATES: &str = "tls";

/// How long certificates hold: longer than all pauses.
const VALID_FOR: Duration = Duration::from_secs(3 * 365 * 24 * 3_600);

/// A directory with a store for each system and the key of both. A temporary one ends with this.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    is_temporary: bool,
}

impl Place {
    /// Takes `kept`, which is created if it is not there, or a temporary directory.
    ///
    /// # Errors
    ///
    /// [`DemoError::Directory`] and [`DemoError::Key`].
    pub(super) fn take(kept: Option<&Path>) -> Result<Self, DemoError> {
        let directory = kept.map_or_else(temporary_directory, Path::to_owned);
        let place = Self { directory, is_temporary: kept.is_none() };
        let directory = || place.directory.clone();
        let failed = |error: io::Error| DemoError::Directory { directory: directory(), error };
        DirBuilder::new()
            .recursive(kept.is_some())
            .mode(0o700)
            .create(&place.directory)
            .map_err(failed)?;
        let key_file = place.directory.join(KEY_FILE);
        if !key_file.try_exists().map_err(failed)? {
            write_new_key(&key_file)?;
        }
        Ok(place)
    }

    /// Makes certificates for both systems, by the authorities that are there if there are some. They are good for these
    /// addresses beside those of this host.
    pub(super) fn certificates(&self, addresses: &[Ipv4Addr]) -> Result<Certificates, DemoError> {
        let directory = self.directory.join(CERTIFICATES);
        let domains = ["a.example", "b.example"].map(str::to_owned).to_vec();
        let hosts = addresses.iter().map(ToString::to_string).collect();
        let made = DevCa { directory, domains, valid_for: VALID_FOR, hosts };
        made.make(Clock::start().now())?;
        let failed = |error| DemoError::Directory { directory: made.directory.clone(), error };
        let mut all = String::new();
        for domain in &made.domains {
            let file = made.directory.join(domain).join(CA_FILE);
            all += &fs::read_to_string(file).map_err(failed)?;
        }
        let authorities = self.authorities();
        fs::write(&authorities, all).map_err(failed)?;
        Ok(Certificates { directory: made.directory, authorities })
    }

    /// The file with the authorities of both systems.
    pub(super) fn authorities(&self) -> PathBuf {
        self.directory.join(CERTIFICATES).join(CA_FILE)
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The section of the configuration of the system `name`.
    pub(super) fn section(&self, name: &str) -> toml::Table {
        let text = |path: PathBuf| toml::Value::String(path.to_string_lossy().into_owned());
        let mut section = toml::Table::new();
        section.insert("directory".to_owned(), text(self.directory.join(name)));
        section.insert("key_file".to_owned(), text(self.directory.join(KEY_FILE)));
        section
    }
}

/// The certificates of both systems.
pub(super) struct Certificates {
    directory: PathBuf,
    /// The authorities of both, in one file.
    pub(super) authorities: PathBuf,
}

impl Certificates {
    /// The section of the configuration of the system of `domain`.
    pub(super) fn section(&self, domain: &str) -> Result<String, DemoError> {
        let file = self.directory.join(domain).join(EXAMPLE_FILE);
        let read = fs::read_to_string(&file);
        read.map_err(|error| DemoError::Directory { directory: file, error })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed is left to whoever cleans the directory of temporary files.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// The ports that free ones are looked for in.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How often other free ports are tried when somebody else was faster.
pub(super) const PORT_ATTEMPTS_MAX: usize = 16;

/// A base of ports that nobody uses now, which `addresses` gives for it; somebody may be faster yet.
pub(super) fn free_ports<I: IntoIterator<Item = SocketAddr>>(
    addresses: impl Fn(u16) -> I,
) -> Result<u16, DemoError> {
    let mut entropy = SystemEntropy::new();
    let span = u64::from(FREE_PORTS.end - FREE_PORTS.start);
    let is_free = |at| TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok();
    for _ in 0..1_000 {
        let offset = u16::try_from(entropy.next_u64() % span).unwrap_or_default();
        let base = FREE_PORTS.start + offset;
        if addresses(base).into_iter().all(is_free) {
            return Ok(base);
        }
    }
    Err(DemoError::NoPorts)
}

fn temporary_directory() -> PathBuf {
    let name = format!("migcore-demo-{:016x}", SystemEntropy::new().next_u64());
    std::env::temp_dir().join(name)
}
