//! Provisions users of one system for another one, and writes what a load generator needs.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;

use super::{CONCURRENT, progress_bar};
use crate::{
    api::{
        configuration::{Agreement, AgreementKey, Users},
        connection_details::{Location, SipCoreAddress, SipTransport, SystemConfiguration},
        migration_identity::Direction,
    },
    entropy::Entropy,
    identity::{IdentityError, Impi, Impu, McServiceId, McSystemId, Plmn, UserIdentity},
    node::{
        Clock, RunningConfigurationClient, SystemEntropy,
        client::{ClientError, Hex, ManagementClient, NewUser},
        http_client::Endpoint,
        management::SystemView,
        private_file,
    },
    secret::Secret,
    time::Timestamp,
    token::BearerToken,
    ue::{ConfigurationClient, PrimaryRecord, Records},
    ue_configuration::{DocumentError, InitialUeConfiguration},
};

/// How long agreements that are made here hold.
const AGREED_FOR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Where the users are: in the test network of ITU-T E.212.
pub const TEST_PLMN: &str = "00101";

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
    /// CSC-4 of the home system.
    pub home_csc4: Endpoint,
    /// The management interface of the partner system.
    pub partner: String,
    /// What UEs are told of the partner's SIP core if nothing is known there.
    pub partner_sip_core: Option<SocketAddr>,
}

/// Why provisioning did not work.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// A system refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A user was told no connection details.
    #[error("the configuration management server at {server} {why}")]
    Migration {
        /// The server.
        server: Endpoint,
        /// What it said, or that it said nothing.
        why: String,
    },
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
    /// The partner does not know what UEs are to be told of it.
    #[error(
        "the partner has no UE configuration of its own; load one, or name its SIP core with --partner-sip-core"
    )]
    NoConfiguration,
    /// The partner's domain makes no document.
    #[error("the partner's domain makes no UE configuration: {0}; load one")]
    Document(#[from] DocumentError),
    /// An identity of the partner's pool is too long for SIPp.
    #[error(
        "the keyword of a user has {0} octets, SIPp reads {KEYWORD_OCTETS_MAX}: shorten the templates of the partner's inbound pool"
    )]
    KeywordTooLong(usize),
    /// A task was lost.
    #[error("a provisioning task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Provisions subscribers at home, has each migrate as far as to the connection details, and writes a SIPp
/// injection file. Agreements, pools and the partner's UE configuration are made where they are missing.
///
/// Repeatable: the same users get new keys and tokens and keep their migration identities.
///
/// # Errors
///
/// [`ProvisionError`]; what was provisioned stays, the file is not written.
pub async fn write_sipp_csv(job: &SippCsv) -> Result<(), ProvisionError> {
    let systems = Arc::new(Systems::connect(job).await?);
    let partial = private_file::partial_path(&job.output);
    let outcome = fill(job, &systems, &partial).await;
    if outcome.is_err() {
        // It holds keys. The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    outcome
}

/// Provisions all subscribers into the file `partial`, which becomes the injection file at the end.
async fn fill(job: &SippCsv, systems: &Arc<Systems>, partial: &Path) -> Result<(), ProvisionError> {
    let progress = progress_bar(job.subscribers, "subscribers");
    let failed = |error| ProvisionError::Output { path: partial.to_owned(), error };
    let mut file = io::BufWriter::new(private_file::create(partial).map_err(failed)?);
    file.write_all(b"SEQUENTIAL\n").map_err(failed)?;

    let mut running = JoinSet::new();
    let mut next = 0;
    loop {
        while next < job.subscribers && running.len() < CONCURRENT {
            let systems = Arc::clone(systems);
            running.spawn(async move { systems.provision(next).await });
            next += 1;
        }
        let Some(line) = running.join_next().await else { break };
        file.write_all(line??.as_bytes()).map_err(failed)?;
        progress.inc(1);
    }
    file.flush().map_err(failed)?;
    private_file::replace(file.get_ref(), partial, &job.output)
        .map_err(|error| ProvisionError::Output { path: job.output.clone(), error })?;
    progress.finish();
    Ok(())
}

/// Both systems, and who they are.
struct Systems {
    home: ManagementClient,
    home_system: SystemView,
    partner_system: SystemView,
    csc4: Endpoint,
}

impl Systems {
    async fn connect(job: &SippCsv) -> Result<Self, ProvisionError> {
        let (home, partner) =
            (ManagementClient::new(&job.home), ManagementClient::new(&job.partner));
        let (home_system, partner_system) =
            prepare_migration(&home, &partner, job.partner_sip_core).await?;
        Ok(Self { home, home_system, partner_system, csc4: job.home_csc4.clone() })
    }

    /// Provisions the `index`-th subscriber, asks for its connection details (`MIG-1` to `MIG-13`), and
    /// returns its line.
    async fn provision(&self, index: usize) -> Result<String, ProvisionError> {
        let domain = &self.home_system.domain;
        let identity = UserIdentity {
            impi: Impi::parse(&format!("sipp-{index:07}@{domain}"))?,
            impu: Impu::parse(&format!("sip:sipp-{index:07}@{domain}"))?,
        };
        // Not the public identity: a partner is told this name, and not that identity.
        let mc_service_id = McServiceId::parse(&format!("sip:officer-{index:07}@{domain}"))?;
        let (k, op, token) = {
            let mut entropy = SystemEntropy::new();
            (draw_key(&mut entropy), draw_key(&mut entropy), BearerToken::draw(&mut entropy))
        };
        self.home.put_subscriber(&identity, &k, &op).await?;
        let user = NewUser {
            mc_service_id: &mc_service_id,
            identity: &identity,
            class: None,
            may_migrate: true,
            token: Some(&token),
        };
        self.home.put_user(&user).await?;
        let primary = PrimaryRecord {
            mc_service_id,
            mc_system_id: self.home_system.mc_system_id.clone(),
            identity,
            sip_core: Vec::new(),
        };
        let inbound = self.migrate(primary, token).await?;
        line(&inbound.impi, &inbound.impu, &k, &op)
    }

    /// `MIG-1` to `MIG-13`, as a UE does it.
    async fn migrate(
        &self,
        primary: PrimaryRecord,
        token: BearerToken,
    ) -> Result<UserIdentity, ProvisionError> {
        let client = ConfigurationClient::new(Records::new(primary));
        let mut client =
            RunningConfigurationClient::new(client, self.csc4.clone(), Some(token), None, "CMS");
        let location = Location { plmn: Plmn::parse(TEST_PLMN)?, tracking_area: None, cell: None };
        let partner = &self.partner_system.mc_system_id;
        client.ask(location, Some(partner.clone()), true).await;
        let told = client.client().records().partner(partner);
        told.map(|record| record.details.identity.clone()).ok_or_else(|| {
            let why = match client.trouble() {
                Some(trouble) => trouble.to_string(),
                None => format!("{:?}", client.client().state()),
            };
            ProvisionError::Migration { server: self.csc4.clone(), why }
        })
    }
}

/// Makes what a migration of all users from `home` to `partner` needs, where it is missing: pools, agreements,
/// what UEs are told of the partner. Returns who both systems are.
///
/// # Errors
///
/// [`ProvisionError`]; what was made stays.
pub(in crate::node) async fn prepare_migration(
    home: &ManagementClient,
    partner: &ManagementClient,
    partner_sip_core: Option<SocketAddr>,
) -> Result<(SystemView, SystemView), ProvisionError> {
    let (home_system, partner_system) = (home.system().await?, partner.system().await?);
    let (out, inn) = (&home_system.domain, &partner_system.domain);
    home.ensure_generated_pool("outbound", Direction::Outbound, "out-{id}", out).await?;
    partner.ensure_generated_pool("inbound", Direction::Inbound, "mig-{id}", inn).await?;
    let agree = |partner: &SystemView, direction| everybody(&partner.mc_system_id, direction);
    home.ensure_agreement(&agree(&partner_system, Direction::Outbound)).await?;
    partner.ensure_agreement(&agree(&home_system, Direction::Inbound)).await?;
    ensure_configuration(partner, &partner_system, partner_sip_core).await?;
    Ok((home_system, partner_system))
}

/// An agreement about all users, for a year.
fn everybody(partner: &McSystemId, direction: Direction) -> Agreement {
    let users = Users::Everybody;
    Agreement {
        key: AgreementKey { partner: partner.clone(), direction, users },
        valid_from: Timestamp::default(),
        valid_until: Clock::start().now() + AGREED_FOR,
        hide_identities: true,
    }
}

/// Says what UEs are told of the partner, unless somebody has done so.
async fn ensure_configuration(
    partner: &ManagementClient,
    system: &SystemView,
    sip_core: Option<SocketAddr>,
) -> Result<(), ProvisionError> {
    if partner.has_system_configuration(&system.mc_system_id).await? {
        return Ok(());
    }
    let address = sip_core.ok_or(ProvisionError::NoConfiguration)?;
    let document = InitialUeConfiguration::for_domain(&system.domain, Plmn::parse(TEST_PLMN)?);
    let configuration = SystemConfiguration {
        revision: 1,
        sip_core: [SipTransport::Udp, SipTransport::Tcp]
            .map(|transport| SipCoreAddress { transport, address })
            .into(),
        document: Arc::new(document?),
    };
    Ok(partner.put_system_configuration(&system.mc_system_id, &configuration).await?)
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
