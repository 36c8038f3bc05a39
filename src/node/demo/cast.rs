//! The people of the demonstration, and what the administrators of both systems provision for them.

use std::time::Duration;

use super::{
    DemoError,
    stage::{Site, Stage, plmn_of},
};
use crate::{
    aka::{SqnArray, opc_from_op},
    api::{
        configuration::{Agreement, AgreementKey, Users},
        connection_details::SystemConfiguration,
        migration_identity::Direction,
    },
    entropy::Entropy,
    identity::{Impi, Impu, McServiceId, Plmn, UserIdentity},
    node::{Clock, SystemEntropy, client::NewUser, management::escape},
    secret::{Secret, SecretText},
    token::BearerToken,
    ue::{Isim, PrimaryRecord},
    ue_configuration::InitialUeConfiguration,
};

/// The OAuth 2.0 client of UEs, and where it has browsers sent back to.
pub(super) const CLIENT: &str = "mc-client";
pub(super) const REDIRECT: &str = "http://127.0.0.1/back";

/// How long the agreements of the two systems hold.
const AGREEMENT: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A user of the home system, with what the SIM vendor and the administrator gave.
pub(super) struct Person {
    pub(super) mc_service_id: McServiceId,
    pub(super) identity: UserIdentity,
    /// What the user is called where users log in.
    pub(super) name: String,
    pub(super) password: SecretText,
    k: Secret<16>,
    op: Secret<16>,
}

impl Person {
    /// Draws keys and a password for somebody.
    pub(super) fn new(name: &str, home: &Site) -> Result<Self, DemoError> {
        let domain = &home.config().system.domain;
        let missing = |_| DemoError::Missing("a domain that makes identities");
        let pair = format!("{name}@{domain}");
        Ok(Self {
            // Not the public identity: a partner is told this name, and not that identity.
            mc_service_id: McServiceId::parse(&format!("sip:officer-{name}@mc.{domain}"))
                .map_err(missing)?,
            identity: UserIdentity {
                impi: Impi::parse(&pair).map_err(missing)?,
                impu: Impu::parse(&format!("sip:{pair}")).map_err(missing)?,
            },
            name: name.to_owned(),
            password: SecretText::new(BearerToken::draw(&mut SystemEntropy::new()).expose()),
            k: draw_key(),
            op: draw_key(),
        })
    }

    /// The ISIM that this person's UE holds.
    pub(super) fn isim(&self) -> Isim {
        Isim::new(&self.k, &opc_from_op(&self.k, &self.op), SqnArray::default())
    }

    /// An ISIM that is somebody else's.
    pub(super) fn foreign_isim(&self) -> Isim {
        let k = draw_key();
        Isim::new(&k, &opc_from_op(&k, &self.op), SqnArray::default())
    }

    /// The ISIM with sequence numbers that it accepted already.
    pub(super) fn isim_ahead(&self, sqn: SqnArray) -> Isim {
        Isim::new(&self.k, &opc_from_op(&self.k, &self.op), sqn)
    }

    /// What the UE knows of its home from the start.
    pub(super) fn primary_record(&self, home: &Site) -> Result<PrimaryRecord, DemoError> {
        Ok(PrimaryRecord {
            mc_service_id: self.mc_service_id.clone(),
            mc_system_id: home.config().config_server.id.clone(),
            identity: self.identity.clone(),
            sip_core: home.sip()?,
        })
    }

    /// Makes this person a subscriber at home, a user of its configuration server, and one who can log in.
    pub(super) async fn provision(&self, home: &Site, may_migrate: bool) -> Result<(), DemoError> {
        let client = home.management()?;
        client.put_subscriber(&self.identity, &self.k, &self.op).await?;
        let Self { mc_service_id, identity, name, password, .. } = self;
        let user = NewUser { mc_service_id, identity, class: None, may_migrate, token: None };
        client.put_user(&user).await?;
        let body = serde_json::json!({ "redirect_uris": [REDIRECT] });
        client.put_json("make a client", &format!("/v1/idms/clients/{CLIENT}"), &body).await?;
        let user = serde_json::json!({ "password": password.expose(), "mcptt_id": mc_service_id });
        let path = format!("/v1/idms/users/{}", escape(name));
        Ok(client.put_json("let a user log in", &path, &user).await?)
    }
}

/// What both administrators do before anybody migrates: pools, agreements, the partner's configuration.
pub(super) async fn provision_systems(stage: &Stage, pools: bool) -> Result<(), DemoError> {
    let Stage { home, partner, .. } = stage;
    provision_travel(home, partner, pools).await?;
    for site in [home, partner] {
        let id = &site.config().config_server.id;
        site.management()?.put_system_configuration(id, &configuration(site)?).await?;
    }
    Ok(())
}

/// Lets users of one system go to another: pools and agreements.
pub(super) async fn provision_travel(
    home: &Site,
    partner: &Site,
    pools: bool,
) -> Result<(), DemoError> {
    for (site, direction) in [(home, Direction::Outbound), (partner, Direction::Inbound)] {
        if !pools && direction == Direction::Inbound {
            continue;
        }
        let (name, template) = match direction {
            Direction::Outbound => ("outbound", "out-{id}"),
            Direction::Inbound => ("inbound", "mig-{id}"),
        };
        let domain = &site.config().system.domain;
        site.management()?.ensure_generated_pool(name, direction, template, domain).await?;
    }
    agree(home, partner, Direction::Outbound).await?;
    agree(partner, home, Direction::Inbound).await
}

/// Lets all users of one system go to the other, or come from there.
pub(super) async fn agree(at: &Site, with: &Site, direction: Direction) -> Result<(), DemoError> {
    let now = Clock::start().now();
    let agreement = Agreement {
        key: agreement_with(with, direction),
        valid_from: now,
        valid_until: now + AGREEMENT,
        hide_identities: direction == Direction::Outbound,
    };
    Ok(at.management()?.put_agreement(&agreement).await?)
}

/// The name of the agreement about all users.
pub(super) fn agreement_with(with: &Site, direction: Direction) -> AgreementKey {
    let partner = with.config().config_server.id.clone();
    AgreementKey { partner, direction, users: Users::Everybody }
}

/// What UEs are told of a system.
pub(super) fn configuration(site: &Site) -> Result<SystemConfiguration, DemoError> {
    let domain = &site.config().system.domain;
    let plmn: Plmn = plmn_of(site).parse().map_err(|_| DemoError::Missing("a PLMN"))?;
    let document = InitialUeConfiguration::for_domain(domain, plmn)
        .map_err(|_| DemoError::Missing("a domain that makes URIs"))?;
    // Higher than that of an earlier demonstration with the same storage.
    let revision = Clock::start().now().as_micros();
    Ok(SystemConfiguration { revision, sip_core: site.sip()?, document: document.into() })
}

pub(super) fn draw_key() -> Secret<16> {
    let mut octets = zeroize::Zeroizing::new([0; 16]);
    SystemEntropy::new().fill(&mut *octets);
    Secret::new(*octets)
}
