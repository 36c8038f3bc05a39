//! A user who migrates again and again, and the administrator who now and then ends what was lent.

use std::time::Duration;

use migcore::{
    aka::SqnArray,
    api::{connection_details::Location, migration_identity::Direction},
    entropy::Entropy,
    identity::{McSystemId, UserIdentity},
    node::{RunningConfigurationClient, RunningUe, tls::Trust},
    outbox::Transport,
    secret::Secret,
    token::BearerToken,
    ue::{
        self, ConfigurationClient, ConfigurationState, Credentials, Failure, Isim, PrimaryRecord,
        Records, State,
    },
};
use serde_json::json;

use crate::{
    common::Seeded,
    world::{HOME, World},
};

/// How often one thing is tried before the migration counts as failed.
const ATTEMPTS_MAX: u32 = 10;

/// One of so many users speaks SIP over TCP.
const TCP_SHARE: u64 = 8;

/// A user of A with its UE.
pub struct User {
    pub mc_service_id: String,
    transport: Transport,
    primary: PrimaryRecord,
    token: BearerToken,
    k: Secret<16>,
    opc: Secret<16>,
    /// Its sequence numbers outlive each migration: no challenge is accepted twice.
    credentials: Credentials,
    client: Option<RunningConfigurationClient>,
}

/// Octets as hexadecimal digits.
fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
}

impl User {
    /// The user of this number, with secrets drawn from `entropy`.
    pub fn new(number: u64, entropy: &mut Seeded) -> Self {
        let mut draw = || {
            let mut octets = [0; 16];
            entropy.fill(&mut octets);
            octets
        };
        let real = format!("user-{number}@{HOME}");
        let mc_service_id = format!("sip:{real}");
        let primary = PrimaryRecord {
            mc_service_id: mc_service_id.parse().unwrap(),
            mc_system_id: format!("sip:{HOME}").parse().unwrap(),
            identity: UserIdentity {
                impi: real.parse().unwrap(),
                impu: mc_service_id.parse().unwrap(),
            },
            sip_core: Vec::new(),
        };
        let (token, k, opc) = (hex(&draw()), Secret::new(draw()), Secret::new(draw()));
        Self {
            mc_service_id,
            transport: if number.is_multiple_of(TCP_SHARE) {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            primary,
            token: BearerToken::parse(&token).unwrap(),
            credentials: Isim::new(&k, &opc, SqnArray::default()).into(),
            k,
            opc,
            client: None,
        }
    }

    /// Makes the user known at home: its subscriber, and its name on CSC-4.
    pub async fn provision(&self, world: &World) {
        let UserIdentity { impi, impu } = &self.primary.identity;
        let (k, opc) = (hex(self.k.expose()), hex(self.opc.expose()));
        let subscriber = json!({ "impus": [impu], "k": k, "opc": opc });
        world.put(&world.home, &format!("/v1/subscribers/{}", impi.as_str()), subscriber).await;
        let user = json!({ "impi": impi, "impu": impu, "token": self.token.expose() });
        world.put(&world.home, &format!("/v1/users/{}", self.mc_service_id), user).await;
    }

    /// Migrates once: steps 1 to 25, and leaves again.
    ///
    /// # Errors
    ///
    /// What did not work, in words.
    pub async fn migrate(&mut self, world: &World) -> Result<(), String> {
        let access = self.ask(world).await?;
        world.ledger.lend(Direction::Inbound, &self.mc_service_id, &access.identity);
        let mut ue = self.open(&access).await?;
        self.settle(&access, &mut ue, true).await?;
        self.settle(&access, &mut ue, false).await?;
        self.credentials = ue.credentials().clone();
        Ok(())
    }

    /// Asks for connection details, as often as it takes (steps 1 to 14).
    async fn ask(&mut self, world: &World) -> Result<ue::Config, String> {
        let client = self.client.get_or_insert_with(|| {
            let server = format!("http://{}", world.links.csc4.0.address).parse().unwrap();
            let client = ConfigurationClient::new(Records::new(self.primary.clone()));
            RunningConfigurationClient::new(
                client,
                server,
                Some(self.token.clone()),
                None,
                "cms.a.example",
            )
        });
        let partner = McSystemId::parse("sip:b.example").unwrap();
        let location = Location { plmn: "20810".parse().unwrap(), tracking_area: None, cell: None };
        let mut state = client.ask(location, Some(partner.clone()), true).await.clone();
        for _ in 0..ATTEMPTS_MAX {
            match state {
                ConfigurationState::Received(_) => {
                    let access = client.prepare_access(&partner, Some(self.transport));
                    return access.map_err(|error| error.to_string());
                }
                ConfigurationState::Failed(failure) => match failure.retry_after() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(format!("{failure}: {:?}", client.trouble())),
                },
                ConfigurationState::Idle | ConfigurationState::Busy => {
                    return Err(format!("asked, and is {state:?}"));
                }
            }
            state = client.repeat().await.clone();
        }
        Err(format!("{ATTEMPTS_MAX} requests brought nothing, the last {:?}", client.trouble()))
    }

    /// Registers or de-registers, as often as it takes.
    async fn settle(
        &mut self,
        access: &ue::Config,
        ue: &mut RunningUe,
        registers: bool,
    ) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS_MAX {
            let state = if registers { ue.register().await } else { ue.deregister().await };
            match state {
                Ok(State::Registered(registered)) if registers => {
                    return if registered.mutual {
                        Ok(())
                    } else {
                        Err("the SIP core proved nothing".to_owned())
                    };
                }
                Ok(State::Idle) if !registers => return Ok(()),
                Ok(State::Failed(Failure::Unavailable { status, retry_after })) => {
                    last = format!("{status}, Retry-After {retry_after}");
                    let wait = Duration::from_secs(u64::from((*retry_after).max(1)));
                    tokio::time::sleep(wait).await;
                }
                Ok(State::Failed(Failure::Timeout)) => "timeout".clone_into(&mut last),
                Ok(state) => return Err(format!("registers {registers}: {state:?}")),
                // The connection was lost with a message: a new one, as after any loss of coverage.
                Err(error) => {
                    last = error.to_string();
                    self.credentials = ue.credentials().clone();
                    *ue = self.open(access).await?;
                }
            }
        }
        Err(format!("registers {registers}: {ATTEMPTS_MAX} attempts failed, the last with {last}"))
    }

    async fn open(&self, access: &ue::Config) -> Result<RunningUe, String> {
        let (credentials, core) = (self.credentials.clone(), access.flow.remote);
        let opened = RunningUe::open(
            access.clone(),
            core,
            credentials,
            &Trust::default(),
            (None, "scscf.b.example"),
        )
        .await;
        opened.map_err(|error| format!("no way to the SIP core: {error}"))
    }

    /// The administrator ends what the user was lent, in both systems.
    pub async fn release(&self, world: &World) -> Result<(), String> {
        for (system, direction) in
            [(&world.partner, Direction::Inbound), (&world.home, Direction::Outbound)]
        {
            let pair = world.ledger.release(direction, &self.mc_service_id);
            let pair = pair.ok_or("nothing was lent to be released")?;
            let name = if direction == Direction::Inbound { "inbound" } else { "outbound" };
            let path = format!("/v1/bindings/{name}/{}", pair.impi.as_str());
            let status = world.delete(system, &path).await;
            if status != 204 {
                return Err(format!("the {name} pair was not released: {status}"));
            }
        }
        Ok(())
    }
}
