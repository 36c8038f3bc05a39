//! What a client believes a server by, and shows it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, ConfigBuilder, KeyLogFile,
    client::{WantsClientCert, WebPkiServerVerifier},
    version::TLS13,
};

use super::{
    BOTH, Shown, TlsError, client, files, provider, unusable,
    verify::{Nobody, ServerOf},
};
use crate::node::Clock;

/// The file of the authority that a command trusts, if no argument says so.
const CA: &str = "MIGCORE_CA";

/// Whom the commands of this process believe, and the file that says so.
static OF_COMMANDS: OnceLock<(PathBuf, Trust)> = OnceLock::new();

/// Whom a client believes, and what it shows. The default is whom all commands of this process believe
/// ([`Trust::of_commands`]), and before that is said nobody: https goes nowhere then.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Believes servers with a certificate that an authority in the file `path` has signed for their name.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn of_file(path: &Path) -> Result<Self, TlsError> {
        Self::of_file_at(path, Clock::start())
    }

    /// Believes servers with a certificate that an authority in the file `ca` has signed for their name, and shows the
    /// certificate in the file `certificate`, whose key is in the file `key`.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub(in crate::node) fn showing(
        ca: &Path,
        certificate: &Path,
        key: &Path,
    ) -> Result<Self, TlsError> {
        let shown = Shown::of_files(certificate, key)?;
        let builder = Self::by(ca, Clock::start())?;
        let config = builder.with_client_auth_cert(shown.chain.clone(), shown.key.clone_key());
        Ok(Self::with_key_log(config.map_err(|error| shown.wrong(&error))?))
    }

    /// Believes nobody.
    #[expect(
        clippy::expect_used,
        reason = "the algorithms are constants that have TLS 1.2 and 1.3"
    )]
    pub(super) fn nobody() -> Self {
        let nobody = Arc::new(Nobody(provider()));
        let builder = client(nobody, BOTH, Clock::start()).expect("TLS 1.2 and 1.3");
        Self(Arc::new(builder.with_no_client_auth()))
    }

    /// Says whom all commands of this process believe: the authority in the file that an argument names, or else the
    /// environment variable `MIGCORE_CA`. Once a process.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn of_commands(ca: Option<PathBuf>) -> Result<(), TlsError> {
        let named = || std::env::var_os(CA).filter(|name| !name.is_empty()).map(PathBuf::from);
        if let Some(path) = ca.or_else(named) {
            // Said before, it stays.
            let trust = Self::of_file(&path)?;
            let _ = OF_COMMANDS.set((path, trust));
        }
        Ok(())
    }

    /// Believes whom all commands of this process do, and shows the certificate in the file `certificate`, whose key is
    /// in the file `key`.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub(in crate::node) fn of_commands_showing(
        certificate: &Path,
        key: &Path,
    ) -> Result<Self, TlsError> {
        match OF_COMMANDS.get() {
            Some((ca, _)) => Self::showing(ca, certificate, key),
            None => Ok(Self::nobody()),
        }
    }

    /// The same, by a clock that may be ahead.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub(in crate::node) fn of_file_at(path: &Path, clock: Clock) -> Result<Self, TlsError> {
        Ok(Self::with_key_log(Self::by(path, clock)?.with_no_client_auth()))
    }

    /// Believes whom an authority in the file `path` has signed for.
    fn by(
        path: &Path,
        clock: Clock,
    ) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
        let roots = Arc::new(files::authorities_in(path)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        let verifier = verifier.map_err(|error| unusable(path, &error))?;
        client(verifier, BOTH, clock).map_err(|error| unusable(path, &error))
    }

    /// Believes one system, and shows what this one shows.
    pub(super) fn mutual(server: ServerOf, shown: &Shown, clock: Clock) -> Result<Self, TlsError> {
        let builder = client(Arc::new(server), &[&TLS13], clock);
        let config = builder.and_then(|builder| {
            builder.with_client_auth_cert(shown.chain.clone(), shown.key.clone_key())
        });
        Ok(Self::with_key_log(config.map_err(|error| shown.wrong(&error))?))
    }

    fn with_key_log(mut config: ClientConfig) -> Self {
        config.key_log = Arc::new(KeyLogFile::new());
        Self(Arc::new(config))
    }

    /// For the handshake.
    pub(in crate::node) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

impl Default for Trust {
    fn default() -> Self {
        OF_COMMANDS.get().map_or_else(Self::nobody, |(_, trust)| trust.clone())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}
