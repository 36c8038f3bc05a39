//! The section `[idms]`: the identity management server, how long its tokens hold, what passwords cost.

use std::net::SocketAddr;

use toml::de::DeValue;

use super::{
    DAY, HOUR, MINUTE, address,
    read::{Section, Wrong, duration, number, parsed},
    set,
};
use crate::{
    api::identity_management::IssuerUrl, identity::McSystemId, idms, token::password::Cost,
};

/// Most passwords that are checked at a time: each takes a core and much memory.
const PASSWORD_CHECKS_MAX: usize = 64;

/// The identity management server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Idms {
    /// Where users log in and clients ask for tokens (CSC-1).
    pub listen: SocketAddr,
    /// Passwords that are checked at a time; so many times eight may wait for their turn.
    pub password_checks: usize,
    /// The role: its URL, how long things hold, limits.
    pub server: idms::Config,
}

impl Idms {
    /// The defaults for the system `id` of `domain`. `None` if that is no domain.
    pub(super) fn new(id: McSystemId, domain: &str) -> Option<Self> {
        let issuer = IssuerUrl::parse(&format!("https://idms.{domain}")).ok()?;
        Some(Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8085)),
            password_checks: 2,
            server: idms::Config::new(issuer, id),
        })
    }

    /// Reads the section. `id` is what the configuration server calls this system.
    pub(super) fn read(&mut self, mut section: Section<'_>, id: &McSystemId) {
        set(&mut self.listen, section.optional("listen", address));
        let server = &mut self.server;
        set(&mut server.issuer, section.optional("issuer", issuer));
        server.audience = section.optional("audience", system_id).unwrap_or_else(|| id.clone());
        for (key, field, range) in [
            ("access_token_lifetime", &mut server.access_token_lifetime, MINUTE..=DAY),
            ("refresh_token_lifetime", &mut server.refresh_token_lifetime, MINUTE..=366 * DAY),
            ("security_token_lifetime", &mut server.security_token_lifetime, MINUTE..=366 * DAY),
            (
                "partner_token_lifetime_max",
                &mut server.partner_token_lifetime_max,
                MINUTE..=3_650 * DAY,
            ),
            ("key_lifetime", &mut server.key_lifetime, HOUR..=3_650 * DAY),
            ("key_overlap", &mut server.key_overlap, MINUTE..=366 * DAY),
            ("attempts_window", &mut server.attempts_window, MINUTE..=DAY),
        ] {
            set(field, section.optional(key, |value| duration(value, range)));
        }
        if server.key_overlap >= server.key_lifetime {
            let fix = "make it shorter, or key_lifetime longer";
            section.report("key_overlap", Wrong::new("is not shorter than key_lifetime", fix));
        }
        for (key, field) in [
            ("attempts_of_user_max", &mut server.attempts_of_user_max),
            ("attempts_of_source_max", &mut server.attempts_of_source_max),
        ] {
            set(field, section.optional(key, |value| number(value, 1..=1_000_000)));
        }
        for (key, field) in [
            ("clients_max", &mut server.clients_max),
            ("users_max", &mut server.users_max),
            ("visitors_max", &mut server.visitors_max),
            ("security_tokens_max", &mut server.issued_max),
            ("presented_tokens_max", &mut server.presented_max),
            ("refresh_tokens_max", &mut server.refresh_max),
        ] {
            set(field, section.optional(key, |value| number(value, 1..=100_000_000)));
        }
        read_passwords(&mut section, &mut self.password_checks, &mut server.password_cost);
        section.finish();
    }
}

fn read_passwords(section: &mut Section<'_>, checks: &mut usize, cost: &mut Cost) {
    let at_once =
        section.optional("password_checks", |value| number(value, 1..=PASSWORD_CHECKS_MAX));
    set(checks, at_once);
    let memory = section.optional("password_memory_kib", |value| number(value, 8..=262_144));
    set(&mut cost.memory, memory);
    set(&mut cost.passes, section.optional("password_passes", |value| number(value, 1..=16)));
    set(&mut cost.lanes, section.optional("password_lanes", |value| number(value, 1..=4)));
    if !cost.is_possible() {
        let fix = "write at least 8 for each of password_lanes";
        section.report("password_memory_kib", Wrong::new("is too little", fix));
    }
}

fn issuer(value: &DeValue<'_>) -> Result<IssuerUrl, Wrong> {
    parsed(value, IssuerUrl::parse, "https://idms.a.example")
}

fn system_id(value: &DeValue<'_>) -> Result<McSystemId, Wrong> {
    parsed(value, McSystemId::parse, "sip:a.example")
}
