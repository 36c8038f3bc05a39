//! Provisions users of one system for another one, and writes what a load generator needs.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::task::JoinSet;

use super::{CONCURRENT, progress_bar};
use crate::{
    api::migration_identity::Direction,
    entropy::Entropy,
    identity::{IdentityError, Impi, Impu, UserIdentity},
    node::{
        SystemEntropy,
        client::{ClientError, Hex, ManagementClient},
        management::SystemView,
    },
    secret::Secret,
};

/// Longest keyword that SIPp reads, octets.
const KEYWORD_OCTETS_MAX: usize = 256;

/// What to provision, and where to write it.
#[derive(Clone, Debug)]
pub struct SippCsv {
    /// How many subscribers.
    pub subscribers: usize,
    /// The injection file to write; an earlier one is replaced at the end.
    pub output: PathBuf,
    /// The management interface of the home system.
    pub home: String,
    /// The management interface of the partner system.
    pub partner: String,
}

/// Why provisioning did not work.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A system refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The file cannot be written.
    #[error("cannot write {path}: {error}")]
    Output {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The home domain makes no identities.
    #[error("an identity of the home domain {0}; shorten the domain")]
    Identity(#[from] IdentityError),
    /// An identity of the partner's pool is too long for SIPp.
    #[error(
        "the keyword of a user has {0} octets, SIPp reads {KEYWORD_OCTETS_MAX}: shorten the templates of the partner's inbound pool"
    )]
    KeywordTooLong(usize),
    /// A task was lost.
    #[error("a provisioning task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Provisions subscribers at home and in the partner system and writes a SIPp injection file.
///
/// Repeatable: the same users get new keys and keep their migration identities.
///
/// # Errors
///
/// [`ProvisionError`]; what was provisioned stays, the file is not written.
pub async fn write_sipp_csv(job: &SippCsv) -> Result<(), ProvisionError> {
    let systems = Arc::new(Systems::connect(&job.home, &job.partner).await?);
    let progress = progress_bar(job.subscribers, "subscribers");
    let partial = partial_path(&job.output);
    let failed = |error| ProvisionError::Output { path: partial.clone(), error };
    let mut file = io::BufWriter::new(create_private(&partial).map_err(failed)?);
    file.write_all(b"SEQUENTIAL\n").map_err(failed)?;

    let mut running = JoinSet::new();
    let mut next = 0;
    loop {
        while next < job.subscribers && running.len() < CONCURRENT {
            let systems = Arc::clone(&systems);
            running.spawn(async move { systems.provision(next).await });
            next += 1;
        }
        let Some(line) = running.join_next().await else { break };
        file.write_all(line??.as_bytes()).map_err(failed)?;
        progress.inc(1);
    }
    file.flush().map_err(failed)?;
    std::fs::rename(&partial, &job.output)
        .map_err(|error| ProvisionError::Output { path: job.output.clone(), error })?;
    progress.finish();
    Ok(())
}

/// Both systems, and who they are.
struct Systems {
    home: ManagementClient,
    home_system: SystemView,
    partner: ManagementClient,
    partner_system: SystemView,
}

impl Systems {
    async fn connect(home: &str, partner: &str) -> Result<Self, ClientError> {
        let (home, partner) = (ManagementClient::new(home), ManagementClient::new(partner));
        let (home_system, partner_system) = (home.system().await?, partner.system().await?);
        let (out, inn) = (&home_system.domain, &partner_system.domain);
        home.ensure_generated_pool("outbound", Direction::Outbound, "out-{id}", out).await?;
        partner.ensure_generated_pool("inbound", Direction::Inbound, "mig-{id}", inn).await?;
        Ok(Self { home, home_system, partner, partner_system })
    }

    /// Provisions the `index`-th subscriber and returns its line.
    async fn provision(&self, index: usize) -> Result<String, ProvisionError> {
        let domain = &self.home_system.domain;
        let user = UserIdentity {
            impi: Impi::parse(&format!("sipp-{index:07}@{domain}"))?,
            impu: Impu::parse(&format!("sip:sipp-{index:07}@{domain}"))?,
        };
        let (k, op) = {
            let mut entropy = SystemEntropy::new();
            (draw_key(&mut entropy), draw_key(&mut entropy))
        };
        self.home.put_subscriber(&user, &k, &op).await?;
        let outbound = self.home.bind_outbound(&user, &self.partner_system.database).await?;
        let primary = &self.home_system;
        let inbound = self.partner.bind_inbound(primary, &outbound.impi, &outbound.impu).await?;
        line(&inbound.impi, &inbound.impu, &k, &op)
    }
}

/// One line: inbound IMPI, user part of the inbound IMPU, domain, the authentication keyword.
fn line(
    impi: &Impi,
    impu: &Impu,
    k: &Secret<16>,
    op: &Secret<16>,
) -> Result<String, ProvisionError> {
    let address = impu.as_str();
    let user = address.split_once(':').map_or(address, |(_, rest)| rest);
    let user = user.rsplit_once('@').map_or(user, |(user, _)| user);
    let keyword = format!(
        "[authentication username={} aka_K=0x{} aka_OP=0x{} aka_AMF=0x8000]",
        impi.as_str(),
        Hex(k.expose()),
        Hex(op.expose()),
    );
    if keyword.len() > KEYWORD_OCTETS_MAX {
        return Err(ProvisionError::KeywordTooLong(keyword.len()));
    }
    Ok(format!("{};{user};{};{keyword}\n", impi.as_str(), impu.host()))
}

/// Draws a key that SIPp can read: it passes keys on as text, so that octets 00, 0a and 5b and the
/// sequence 5c 78 change them.
fn draw_key(entropy: &mut dyn Entropy) -> Secret<16> {
    loop {
        let mut octets = zeroize::Zeroizing::new([0; 16]);
        entropy.fill(&mut *octets);
        if is_readable_by_sipp(&octets) {
            return Secret::new(*octets);
        }
    }
}

fn is_readable_by_sipp(key: &[u8; 16]) -> bool {
    let forbidden = key.iter().any(|octet| [0x00, 0x0a, 0x5b].contains(octet));
    !forbidden && !key.windows(2).any(|pair| pair == [0x5c, 0x78])
}

fn partial_path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    output.with_file_name(name)
}

/// Creates a file that nobody else may read: it holds keys.
pub(super) fn create_private(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_sipp_reads_and_no_more() {
        let impi = Impi::parse("mig-1@b.example").unwrap();
        let impu = Impu::parse("sip:mig-2@b.example").unwrap();
        let key = Secret::new([0x41; 16]);
        let digits = "41".repeat(16);
        assert_eq!(
            line(&impi, &impu, &key, &key).unwrap(),
            format!(
                "mig-1@b.example;mig-2;b.example;[authentication username=mig-1@b.example \
                 aka_K=0x{digits} aka_OP=0x{digits} aka_AMF=0x8000]\n"
            )
        );
        let long = Impi::parse(&format!("{}@b.example", "m".repeat(140))).unwrap();
        assert!(matches!(line(&long, &impu, &key, &key), Err(ProvisionError::KeywordTooLong(_))));
    }

    #[test]
    fn a_key_that_sipp_would_change_is_not_used() {
        for forbidden in [&[0x00][..], &[0x0a], &[0x5b], &[0x5c, 0x78]] {
            let mut key = [0x41; 16];
            assert!(is_readable_by_sipp(&key));
            key[7..7 + forbidden.len()].copy_from_slice(forbidden);
            assert!(!is_readable_by_sipp(&key), "{forbidden:x?}");
        }
        let mut apart = [0x41; 16];
        (apart[3], apart[5]) = (0x5c, 0x78);
        assert!(is_readable_by_sipp(&apart));
    }
}
