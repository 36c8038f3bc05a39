//! TLS: the certificate of this system, whom it believes, and the two ends of a connection.
//!
//! **A certificate is bound to one MC system.** Its subjectAltName has the MC system ID as a URI, such as
//! `URI:sip:b.example` (the form of SIP domain certificates, RFC 5922), and no other `sip` URI; the authority that is
//! configured for that system has signed it. An authority speaks for its own system alone: what partner B's signs in
//! the name of partner C is nobody's.
//!
//! **Files are read again** when they change. Connections that are open stay; new ones get what is
//! new. What is broken is told, and what was there stays in force.

mod files;
mod identity;
mod reason;
mod stream;
mod trust;
mod verify;

pub mod dev_ca;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ClientConfig, KeyLogFile, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::{
        NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    time_provider::TimeProvider,
    version::{TLS12, TLS13},
};

use self::{files::Read, verify::ServerOf};
pub use self::{files::TlsError, trust::Trust};
pub(super) use self::{
    identity::Bound,
    reason::{reason, reason_of},
    stream::{Handshake, Stream, accept, connect, linger},
};
use super::{
    Clock,
    config::{self, Part},
    observe::SECURITY,
    perform::Shared,
};
use crate::{identity::McSystemId, time::Timestamp};

/// How often files are looked at.
const REFRESH_PERIOD: Duration = Duration::from_secs(10);

/// How many such times a day has.
const LOOKS_A_DAY: u32 = 24 * 3_600 / 10;

/// How long before its end a certificate is told to expire soon.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3_600);

/// Who may connect to a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Clients {
    /// Whoever knows what to say: the server alone shows a certificate.
    Anybody,
    /// UEs: one that shows a certificate shows one of this system's authority.
    Ues,
    /// Processes of this and of other MC systems, each with its certificate, over TLS 1.3.
    Systems,
}

/// What the files say, in the form that connections are made with.
pub(super) struct Tls {
    files: config::Tls,
    own: McSystemId,
    clock: Clock,
    state: RwLock<State>,
}

struct State {
    loaded: Arc<Loaded>,
    /// What is wrong with the files as they are now, if anything is.
    broken: Option<String>,
}

struct Loaded {
    /// The SHA-256 of all files.
    digest: [u8; 32],
    not_after: Timestamp,
    to_anybody: Arc<ServerConfig>,
    to_ues: Arc<ServerConfig>,
    to_systems: Arc<ServerConfig>,
    /// By the system that is connected to.
    as_client: BTreeMap<McSystemId, Trust>,
    as_diameter_client: BTreeMap<McSystemId, Trust>,
}

/// What came of looking at the files again.
#[derive(Debug)]
pub(super) enum Refreshed {
    /// They are as before.
    Same,
    /// They are in force; when the certificate expires.
    New(Timestamp),
    /// Something is wrong that was not told before; what was in force stays.
    Broken(TlsError),
}

impl Tls {
    /// Reads the files of a configuration; `own` is this system, whose time `clock` tells.
    ///
    /// # Errors
    ///
    /// [`TlsError`]: the first thing that is wrong.
    pub(super) fn load(
        files: &config::Tls,
        own: &McSystemId,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let loaded = Arc::new(Loaded::new(Read::files(files, own)?, own, clock)?);
        let state = RwLock::new(State { loaded, broken: None });
        Ok(Self { files: files.clone(), own: own.clone(), clock, state })
    }

    /// Looks at the files again.
    pub(super) fn refresh(&self) -> Refreshed {
        let read = match Read::files(&self.files, &self.own) {
            Ok(read) if read.digest == self.loaded().digest => {
                self.write(|state| state.broken = None);
                return Refreshed::Same;
            }
            read => read,
        };
        match read.and_then(|read| Loaded::new(read, &self.own, self.clock)) {
            Ok(loaded) => {
                let not_after = loaded.not_after;
                let loaded = Arc::new(loaded);
                self.write(|state| *state = State { loaded, broken: None });
                Refreshed::New(not_after)
            }
            Err(error) => {
                let words = error.to_string();
                let told = self.write(|state| state.broken.replace(words.clone()));
                if told == Some(words) { Refreshed::Same } else { Refreshed::Broken(error) }
            }
        }
    }

    /// When the certificate in force expires, if that is soon.
    pub(super) fn expires_soon(&self) -> Option<Timestamp> {
        let not_after = self.loaded().not_after;
        (not_after < self.clock.now() + EXPIRES_SOON).then_some(not_after)
    }

    /// What a server for such clients accepts connections with now.
    pub(super) fn server(&self, clients: Clients) -> Arc<ServerConfig> {
        let loaded = self.loaded();
        Arc::clone(match clients {
            Clients::Anybody => &loaded.to_anybody,
            Clients::Ues => &loaded.to_ues,
            Clients::Systems => &loaded.to_systems,
        })
    }

    /// What `system` is connected to with now: this system's certificate is shown, and one of `system` wanted.
    /// Nobody is believed to be a system without a known authority.
    pub(super) fn client_of(&self, system: &McSystemId) -> Trust {
        self.loaded().as_client.get(system).cloned().unwrap_or_else(Trust::nobody)
    }

    /// The same for Diameter, where the name of the host counts too: the certificate has it as a DNS name.
    pub(super) fn diameter_client_of(&self, system: &McSystemId) -> Trust {
        self.loaded().as_diameter_client.get(system).cloned().unwrap_or_else(Trust::nobody)
    }

    fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).loaded)
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// Takes over what has changed in the files of TLS, and tells about it.
    fn refresh_tls(&self) {
        let Some(tls) = &self.tls else { return };
        let system = &*self.config.system.name;
        match tls.refresh() {
            Refreshed::Same => {}
            Refreshed::New(not_after) => {
                let until = not_after.to_rfc3339();
                tracing::info!(system, until, "new certificates and keys are in force");
            }
            Refreshed::Broken(error) => {
                tracing::error!(system, %error, "the files of TLS are wrong; what was in force stays");
            }
        }
    }

    /// What a server of a part accepts connections of such clients with; `None` without TLS.
    pub(super) fn tls_of(&self, part: Part, clients: Clients) -> Option<Arc<ServerConfig>> {
        let tls = self.tls.as_ref().filter(|_| self.config.speaks_tls(part));
        tls.map(|tls| tls.server(clients))
    }

    /// Tells that TLS did not come about with a client of `listener`: a security event.
    pub(super) fn report_handshake(&self, listener: &str, remote: SocketAddr, reason: &str) {
        self.metrics.drop_one("tls_handshake");
        if self.note_limit.admits(self.clock.now()) {
            let system = &*self.config.system.name;
            tracing::warn!(target: SECURITY, system, listener, %remote, reason, "a connection over TLS was refused");
        }
    }

    /// Tells what is served without TLS, and whether a certificate expires soon.
    pub(super) fn warn_of_tls(&self) {
        let system = &*self.config.system.name;
        let plain: Vec<&str> = self.config.plaintext().into_iter().map(Part::section).collect();
        if !plain.is_empty() {
            let parts = plain.join(", ");
            tracing::warn!(
                system,
                parts,
                "served without TLS: whoever is on the way reads it and changes it"
            );
        }
        if let Some(until) = self.tls.as_ref().and_then(|tls| tls.expires_soon()) {
            tracing::warn!(
                system,
                until = until.to_rfc3339(),
                "the certificate of this system expires soon"
            );
        }
        if self.tls.is_some() && std::env::var_os("SSLKEYLOGFILE").is_some() {
            tracing::warn!(
                system,
                "SSLKEYLOGFILE is set: whoever reads that file reads what passes"
            );
        }
    }

    /// Whether there are files to look at again: of TLS, or of who issues tokens.
    pub(super) fn has_files(&self) -> bool {
        self.tls.is_some() || self.issuer.is_some()
    }

    /// Takes over what has changed in them, and tells about it.
    pub(super) fn refresh_files(&self) {
        self.refresh_tls();
        self.refresh_issuer();
    }

    /// Looks at them now and then, until the task is dropped; once a day it warns.
    pub(super) async fn keep_files(self: Arc<Self>) {
        let mut looks: u32 = 0;
        loop {
            tokio::time::sleep(REFRESH_PERIOD).await;
            let shared = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || shared.refresh_files()).await.is_err() {
                return self.fail();
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS_A_DAY) {
                self.warn_of_tls();
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Loaded {
    fn new(read: Read, own: &McSystemId, clock: Clock) -> Result<Self, TlsError> {
        let Read { digest, certificate, chain, key_file, key, authorities } = read;
        let not_after = files::check_own(&certificate, &chain, own, clock.now())?;
        let shown = Shown { certificate, chain, key_file, key };
        let provider = provider();
        let verifier = |roots: &Arc<RootCertStore>| {
            WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider))
        };
        let mut systems = BTreeMap::new();
        for (system, (path, roots)) in &authorities {
            let verifier = verifier(roots).build();
            let verifier = verifier.map_err(|error| unusable(path, &error))?;
            systems.insert(system.clone(), verifier);
        }
        let (own_path, own_roots) =
            authorities.get(own).ok_or_else(|| TlsError::NoAuthority { system: own.clone() })?;
        let ues = verifier(own_roots).allow_unauthenticated().build();
        let ues = ues.map_err(|error| unusable(own_path, &error))?;
        let of_systems = Arc::new(verify::OfSystems::new(systems, Arc::clone(&provider)));
        let (mut as_client, mut as_diameter_client) = (BTreeMap::new(), BTreeMap::new());
        for (system, (_, roots)) in &authorities {
            let server = ServerOf {
                system: system.clone(),
                goes_by_host: false,
                roots: Arc::clone(roots),
                provider: Arc::clone(&provider),
            };
            let diameter = ServerOf { goes_by_host: true, ..server.clone() };
            as_client.insert(system.clone(), Trust::mutual(server, &shown, clock)?);
            as_diameter_client.insert(system.clone(), Trust::mutual(diameter, &shown, clock)?);
        }
        Ok(Self {
            digest,
            not_after,
            to_anybody: shown.server(Arc::new(NoClientAuth), BOTH, clock)?,
            to_ues: shown.server(ues, BOTH, clock)?,
            to_systems: shown.server(of_systems, &[&TLS13], clock)?,
            as_client,
            as_diameter_client,
        })
    }
}

/// UEs and tools may be older.
const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// What this system shows.
struct Shown {
    certificate: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key_file: PathBuf,
    key: PrivateKeyDer<'static>,
}

impl Shown {
    /// What is in the files of a certificate and its key.
    fn of_files(certificate: &Path, key_file: &Path) -> Result<Self, TlsError> {
        let (chain, key) = files::shown_in(certificate, key_file)?;
        Ok(Self { certificate: certificate.to_owned(), chain, key_file: key_file.to_owned(), key })
    }

    fn server(
        &self,
        clients: Arc<dyn ClientCertVerifier>,
        versions: &[&'static SupportedProtocolVersion],
        clock: Clock,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let asks = clients.offer_client_auth();
        let config = ServerConfig::builder_with_details(provider(), Arc::new(TimeOf(clock)))
            .with_protocol_versions(versions)
            .map_err(|error| self.wrong(&error))?
            .with_client_cert_verifier(clients)
            .with_single_cert(self.chain.clone(), self.key.clone_key());
        let mut config = config.map_err(|error| self.wrong(&error))?;
        config.key_log = Arc::new(KeyLogFile::new());
        if asks {
            // A session that is resumed shows no certificate again, which may have expired since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Arc::new(config))
    }

    fn wrong(&self, error: &rustls::Error) -> TlsError {
        files::wrong_pair(&self.certificate, &self.key_file, error)
    }
}

fn unusable(path: &Path, error: &dyn fmt::Display) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), error: error.to_string() }
}

/// Makes the algorithms of ring those of this process, for what names none, such as the HTTP client of commands and
/// tests. Whoever starts a system or uses a client of this crate has them.
pub fn use_ring() {
    // Said before, it stays.
    let _ = ring::default_provider().install_default();
}

/// The algorithms: those of ring.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The time of a system, which may be ahead.
#[derive(Debug)]
struct TimeOf(Clock);

impl TimeProvider for TimeOf {
    fn current_time(&self) -> Option<UnixTime> {
        let now = self.0.now().since(Timestamp::default());
        Some(UnixTime::since_unix_epoch(now))
    }
}

/// A client's part that no server is refused by for its own sake: it differs in whom it believes.
fn client(
    server: Arc<dyn rustls::client::danger::ServerCertVerifier>,
    versions: &[&'static SupportedProtocolVersion],
    clock: Clock,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, rustls::Error> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(TimeOf(clock)))
        .with_protocol_versions(versions)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(server))
}

/// Reads and checks the files that a configuration names, if it names any.
///
/// # Errors
///
/// [`TlsError`]: the first thing that is wrong.
pub fn check(config: &config::Config) -> Result<(), TlsError> {
    let Some(files) = &config.tls else { return Ok(()) };
    Tls::load(files, &config.config_server.id, Clock::start()).map(drop)
}

#[cfg(test)]
mod tests;
