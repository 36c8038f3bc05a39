//! The section `[acm]`: the ACM server, its partners and what is done with their requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use toml::de::DeValue;

use super::{
    DAY, MINUTE, address, host_name,
    read::{Section, Wrong, duration, flag, list, number, parsed, secret, word},
    set,
};
use crate::{
    acm::{self, AgreementTerms, AliasChoice, Mode, Policies, Policy},
    api::acm_payload::{GROUPS_MAX, Kind, PAYLOAD_OCTETS_MAX, USERS_MAX},
    identity::{McServiceId, McSystemId},
    node::http_client::Endpoint,
    token::BearerToken,
};

/// Most partners of one ACM server.
pub const ACM_PARTNERS_MAX: usize = 1_024;

/// Most domains of one system.
const DOMAINS_MAX: usize = 64;

/// The ACM server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acm {
    /// Where ACM clients of this system are served.
    pub client_listen: SocketAddr,
    /// Where the ACM servers of other systems are served.
    pub partner_listen: SocketAddr,
    /// The role: who partners are, policies, times, limits.
    pub server: acm::Config,
    /// The way to the ACM server of each partner.
    pub links: Vec<AcmLink>,
}

/// The way to the ACM server of a partner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcmLink {
    /// The MC system ID of the partner.
    pub id: McSystemId,
    /// Where its interface for other ACM servers is.
    pub url: Endpoint,
    /// What this system presents there.
    pub send_token: BearerToken,
}

impl Acm {
    /// The defaults for the system `id` of `domain`.
    pub(super) fn new(id: McSystemId, domain: &str) -> Self {
        Self {
            client_listen: SocketAddr::from(([127, 0, 0, 1], 8083)),
            partner_listen: SocketAddr::from(([127, 0, 0, 1], 8084)),
            server: acm::Config::new(id, domain),
            links: Vec::new(),
        }
    }

    /// Reads the section. `id` is what the configuration server calls this system.
    pub(super) fn read(&mut self, mut section: Section<'_>, id: &McSystemId) {
        set(&mut self.client_listen, section.optional("client_listen", address));
        set(&mut self.partner_listen, section.optional("partner_listen", address));
        self.server.system = section.optional("id", system_id).unwrap_or_else(|| id.clone());
        if self.server.system != *id {
            let fix = "write the same in both, or leave this one out";
            section.report("id", Wrong::new("is not config_server.id", fix));
        }
        set(&mut self.server.domains, section.optional("domains", domains));
        read_times(&mut section, &mut self.server);
        read_limits(&mut section, &mut self.server);

        let mut known =
            Known { ids: BTreeSet::from([self.server.system.clone()]), tokens: Vec::new() };
        for mut section in section.sections("partners") {
            let partner = read_partner(&mut section, &mut known);
            section.finish();
            if let Some((link, partner)) = partner {
                self.links.push(link);
                self.server.partners.push(partner);
            }
        }
        if self.links.len() > ACM_PARTNERS_MAX {
            let fix = format!("{ACM_PARTNERS_MAX} at most");
            section.report("partners", Wrong::new("are too many", fix));
        }
        section.finish();
    }
}

fn read_times(section: &mut Section<'_>, server: &mut acm::Config) {
    const CHOICES: [(&str, AliasChoice); 2] = [
        ("longest-logged-on", AliasChoice::LongestLoggedOn),
        ("fewest-pending", AliasChoice::FewestPending),
    ];
    let choice = section.optional("alias_choice", |value| word(value, &CHOICES));
    set(&mut server.alias_choice, choice);
    server.answers_pull = section.optional("answers_pull", service_id);
    let (second, hundredth) = (Duration::from_secs(1), Duration::from_millis(10));
    for (key, field, range) in [
        ("expires_after", &mut server.expires_after, MINUTE..=365 * DAY),
        ("remembered_for", &mut server.remembered_for, MINUTE..=3_650 * DAY),
        ("answer_timeout", &mut server.answer_timeout, 10 * hundredth..=60 * second),
        ("resend_first", &mut server.resend_first, hundredth..=MINUTE),
        ("resend_max", &mut server.resend_max, hundredth..=DAY),
        ("session_lease", &mut server.session_lease, MINUTE..=DAY),
    ] {
        set(field, section.optional(key, |value| duration(value, range)));
    }
    if server.resend_first > server.resend_max {
        let what = "is more than resend_max";
        section.report("resend_first", Wrong::new(what, "make it shorter, or resend_max longer"));
    }
}

fn read_limits(section: &mut Section<'_>, server: &mut acm::Config) {
    for (key, field, max) in [
        ("transactions_max", &mut server.transactions_max, 100_000_000),
        ("administrators_max", &mut server.administrators_max, 10_000_000),
        ("sessions_max", &mut server.sessions_max, 65_536),
        ("migrants_max", &mut server.migrants_max, 1_000_000_000),
        ("groups_max", &mut server.groups_max, 100_000_000),
        ("partner_share", &mut server.partner_share, 100),
    ] {
        set(field, section.optional(key, |value| number(value, 1..=max)));
    }
}

/// What the partners read so far have.
struct Known {
    ids: BTreeSet<McSystemId>,
    tokens: Vec<BearerToken>,
}

fn read_partner(section: &mut Section<'_>, known: &mut Known) -> Option<(AcmLink, acm::Partner)> {
    let id = section.required("id", "\"sip:b.example\"", system_id);
    let url = section.required("url", "\"http://192.0.2.2:8084\"", url);
    let drawn = "\"..\", at least 22 characters drawn at random";
    let send_token = section.required("send_token", drawn, token);
    let accept_token = section.required("accept_token", drawn, token);
    let interconnected = section.optional("interconnected", flag).unwrap_or(true);
    let domains = section.required("domains", "[\"b.example\"]", domains);
    let policies = read_policies(section);
    let agreements = read_agreements(section.section("agreements"));
    if id.as_ref().is_some_and(|id| !known.ids.insert(id.clone())) {
        let fix = "each partner has one section and its own ID, different from acm.id";
        section.report("id", Wrong::new("is used before", fix));
    }
    // Who knows a token of two systems could speak for one of them to the other.
    for (key, token) in [("send_token", &send_token), ("accept_token", &accept_token)] {
        if token.as_ref().is_some_and(|token| known.tokens.contains(token)) {
            let fix = "draw one for each partner";
            section.report(key, Wrong::new("is a token of another partner too", fix));
        }
    }
    known.tokens.extend(send_token.iter().chain(&accept_token).cloned());
    let partner = acm::Partner {
        id: id.clone()?,
        accepted_token: accept_token?.digest(),
        interconnected,
        domains: domains?,
        policies,
        agreements,
    };
    Some((AcmLink { id: id?, url: url?, send_token: send_token? }, partner))
}

/// Reads what is done with requests of a partner: `policy` is for all kinds, `policies` for single ones.
fn read_policies(section: &mut Section<'_>) -> Policies {
    let usual = read_policy(section.section("policy"), Policy::default());
    let mut by_kind = BTreeMap::new();
    let mut single = section.section("policies");
    for kind in Kind::ALL {
        let section = single.section(kind.as_str());
        if section.is_present() {
            by_kind.insert(kind, read_policy(section, usual.clone()));
        } else {
            section.finish();
        }
    }
    single.finish();
    Policies { usual, by_kind }
}

/// Reads one policy; what it leaves out is as in `policy`.
fn read_policy(mut section: Section<'_>, mut policy: Policy) -> Policy {
    const MODES: [(&str, Mode); 4] = [
        ("manual", Mode::Manual),
        ("accept", Mode::Accept),
        ("reject", Mode::Reject),
        ("by-rule", Mode::ByRule { rejects_difference: false }),
    ];
    set(&mut policy.mode, section.optional("mode", |value| word(value, &MODES)));
    if let Some(rejects_difference) = section.optional("rejects_difference", flag) {
        if matches!(policy.mode, Mode::ByRule { .. }) {
            policy.mode = Mode::ByRule { rejects_difference };
        } else {
            let fix = "write mode = \"by-rule\" too, or leave it out";
            section.report("rejects_difference", Wrong::new("is of no use in this mode", fix));
        }
    }
    set(&mut policy.accepts_part, section.optional("accepts_part", flag));
    for (key, field) in [("requesters", &mut policy.requesters), ("deciders", &mut policy.deciders)]
    {
        if let Some(users) = section.optional(key, |value| list(value, service_id)) {
            *field = Some(users.into_iter().collect());
        }
    }
    for (key, field, max) in [
        ("undecided_max", &mut policy.undecided_max, 10_000_000),
        ("users_max", &mut policy.users_max, USERS_MAX),
        ("groups_max", &mut policy.groups_max, GROUPS_MAX),
    ] {
        set(field, section.optional(key, |value| number(value, 1..=max)));
    }
    let octets = section.optional("octets_max", |value| number(value, 1..=PAYLOAD_OCTETS_MAX));
    set(&mut policy.octets_max, octets);
    section.finish();
    policy
}

/// Reads the agreements that users get when they are added for migration; none without the section.
fn read_agreements(mut section: Section<'_>) -> Option<AgreementTerms> {
    if !section.is_present() {
        section.finish();
        return None;
    }
    let valid = MINUTE..=36_500 * DAY;
    let valid_for =
        section.required("valid_for", "\"365d\"", |value| duration(value, valid.clone()));
    let hide_identities = section.optional("hide_identities", flag).unwrap_or(true);
    section.finish();
    Some(AgreementTerms { valid_for: valid_for?, hide_identities })
}

fn domains(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    let domains = list(value, |value| parsed(value, host_name, "b.example"))?;
    match domains.len() {
        0 => Err(Wrong::new("is an empty list", "write at least one domain")),
        1..=DOMAINS_MAX => Ok(domains),
        _ => Err(Wrong::new("are too many", format!("{DOMAINS_MAX} at most"))),
    }
}

fn system_id(value: &DeValue<'_>) -> Result<McSystemId, Wrong> {
    parsed(value, McSystemId::parse, "sip:b.example")
}

fn service_id(value: &DeValue<'_>) -> Result<McServiceId, Wrong> {
    parsed(value, McServiceId::parse, "sip:alice@a.example")
}

fn token(value: &DeValue<'_>) -> Result<BearerToken, Wrong> {
    secret(value, BearerToken::parse, "write at least 22 characters drawn at random")
}

fn url(value: &DeValue<'_>) -> Result<Endpoint, Wrong> {
    parsed(value, str::parse::<Endpoint>, "http://192.0.2.2:8084")
}
