//! The section `[config_server]`: the configuration management server and its partners.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use toml::de::DeValue;

use super::{
    DiameterPeer, PeerKind, address,
    read::{Section, Wrong, duration, flag, number, parsed, secret},
    set,
};
use crate::{
    api::connection_details::{CELL_MAX, Location, TRACKING_AREA_MAX},
    config_server::PARTNERS_MAX,
    identity::{McSystemId, Plmn, SipDatabaseId},
    node::http_client::Endpoint,
    token::BearerToken,
};

/// Longest time that a partner may be given to answer: within the deadline of the UE's request.
pub const ACCESS_TIMEOUT_MAX: Duration = Duration::from_secs(9);

/// The configuration management server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigServer {
    /// The MC system ID of this system.
    pub id: McSystemId,
    /// Where CSC-4 is served: to the UEs of this system.
    pub listen: SocketAddr,
    /// Where CSC-17 is served: to the configuration management servers of other systems.
    pub listen_partners: SocketAddr,
    /// Whether UEs may ask with static tokens of users, too: for laboratories.
    pub static_tokens: bool,
    /// How long a partner may take to answer.
    pub access_timeout: Duration,
    /// Whether partners are told this system's initial UE configuration with each access (NOTE 3).
    pub hands_out_configuration: bool,
    /// The partners, in order of preference.
    pub partners: Vec<Partner>,
}

/// Another MC system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partner {
    /// Its MC system ID.
    pub id: McSystemId,
    /// The Diameter identity of its SIP database.
    pub sip_database: SipDatabaseId,
    /// Where its CSC-17 is.
    pub url: Endpoint,
    /// What this system presents there.
    pub send_token: BearerToken,
    /// What that system presents here.
    pub accept_token: BearerToken,
    /// Where it covers users of this system.
    pub areas: Vec<Location>,
}

impl ConfigServer {
    /// The defaults for the system of `domain`; `None` if that is no domain.
    pub(super) fn new(domain: &str) -> Option<Self> {
        Some(Self {
            id: McSystemId::parse(&format!("sip:{domain}")).ok()?,
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            listen_partners: SocketAddr::from(([127, 0, 0, 1], 8082)),
            static_tokens: false,
            access_timeout: Duration::from_secs(5),
            hands_out_configuration: true,
            partners: Vec::new(),
        })
    }

    /// Reads the section. `peers` are the Diameter peers, if the role is run here and needs them.
    pub(super) fn read(&mut self, mut section: Section<'_>, peers: Option<&[DiameterPeer]>) {
        set(&mut self.id, section.optional("id", system_id));
        set(&mut self.listen, section.optional("listen", address));
        set(&mut self.listen_partners, section.optional("listen_partners", address));
        set(&mut self.static_tokens, section.optional("static_tokens", flag));
        let wait = Duration::from_millis(100)..=ACCESS_TIMEOUT_MAX;
        let timeout = section.optional("access_timeout", |value| duration(value, wait));
        set(&mut self.access_timeout, timeout);
        let hands_out = section.optional("hands_out_configuration", flag);
        set(&mut self.hands_out_configuration, hands_out);

        let mut ids = BTreeSet::from([self.id.clone()]);
        for mut section in section.sections("partners") {
            let partner = read_partner(&mut section, &mut ids, &self.partners);
            if let (Some(partner), Some(peers)) = (&partner, peers) {
                check_peer(&section, partner, peers);
            }
            section.finish();
            self.partners.extend(partner);
        }
        if self.partners.len() > PARTNERS_MAX {
            section
                .report("partners", Wrong::new("are too many", format!("{PARTNERS_MAX} at most")));
        }
        section.finish();
    }
}

/// Reads one partner; `ids` are those in use, `before` the partners read so far.
fn read_partner(
    section: &mut Section<'_>,
    ids: &mut BTreeSet<McSystemId>,
    before: &[Partner],
) -> Option<Partner> {
    let id = section.required("id", "\"sip:b.example\"", system_id);
    let fqdn = |value: &DeValue<'_>| parsed(value, SipDatabaseId::parse, "sipdb.b.example");
    let sip_database = section.required("sip_database", "\"sipdb.b.example\"", fqdn);
    let url = section.required("url", "\"http://192.0.2.2:8082\"", url);
    let drawn = "\"..\", at least 22 characters drawn at random";
    let send_token = section.required("send_token", drawn, token);
    let accept_token = section.required("accept_token", drawn, token);
    let mut areas = Vec::new();
    for mut area in section.sections("areas") {
        areas.extend(read_area(&mut area));
        area.finish();
    }
    if id.as_ref().is_some_and(|id| !ids.insert(id.clone())) {
        let fix = "each partner has one section and its own ID, different from config_server.id";
        section.report("id", Wrong::new("is used before", fix));
    }
    // Who knows a token of two systems could speak for one of them to the other.
    for (key, token) in [("send_token", &send_token), ("accept_token", &accept_token)] {
        let has_it =
            |it: &Partner| [&it.send_token, &it.accept_token].map(Some).contains(&token.as_ref());
        if before.iter().any(has_it) {
            let fix = "draw one for each partner and direction";
            section.report(key, Wrong::new("is a token of another partner too", fix));
        }
    }
    // A pair is bound to its SIP database: of two systems with one, each would be lent the other's pairs.
    if sip_database.as_ref().is_some_and(|it| before.iter().any(|other| other.sip_database == *it))
    {
        let fix = "write the Diameter identity of this partner's own";
        section.report("sip_database", Wrong::new("is another partner's", fix));
    }
    Some(Partner {
        id: id?,
        sip_database: sip_database?,
        url: url?,
        send_token: send_token?,
        accept_token: accept_token?,
        areas,
    })
}

/// Without a way to its SIP database a partner can be agreed with, and no vector comes.
fn check_peer(section: &Section<'_>, partner: &Partner, peers: &[DiameterPeer]) {
    let database = &partner.sip_database;
    let is_it = |peer: &DiameterPeer| peer.kind == PeerKind::Database && peer.host == *database;
    if !peers.iter().any(is_it) {
        let fix =
            format!("write [[diameter.peers]] with host = \"{database}\" and kind = \"database\"");
        section.report("sip_database", Wrong::new("is no Diameter peer of kind \"database\"", fix));
    }
}

fn read_area(area: &mut Section<'_>) -> Option<Location> {
    let plmn = |value: &DeValue<'_>| parsed(value, str::parse::<Plmn>, "20801");
    let plmn = area.required("plmn", "\"20801\"", plmn);
    let tracking_area =
        area.optional("tracking_area", |value| number(value, 0..=TRACKING_AREA_MAX));
    let cell = area.optional("cell", |value| number(value, 0..=CELL_MAX));
    Some(Location { plmn: plmn?, tracking_area, cell })
}

fn system_id(value: &DeValue<'_>) -> Result<McSystemId, Wrong> {
    parsed(value, McSystemId::parse, "sip:b.example")
}

fn token(value: &DeValue<'_>) -> Result<BearerToken, Wrong> {
    secret(value, BearerToken::parse, "write at least 22 characters drawn at random")
}

fn url(value: &DeValue<'_>) -> Result<Endpoint, Wrong> {
    parsed(value, str::parse::<Endpoint>, "http://192.0.2.2:8082")
}
