//! The part of a state file that its user writes.

use toml::de::{DeTable, DeValue};

use crate::{
    aka::{IND_BITS_DEFAULT, IND_BITS_MAX, opc_from_op},
    api::connection_details::{SIP_CORE_ADDRESSES_MAX, SipCoreAddress},
    identity::{Impi, Impu, McServiceId, McSystemId, UserIdentity},
    node::{
        config::read::{Document, Section, Wrong, list, number, parsed, secret},
        http_client::Endpoint,
        management::body::parse_hex,
    },
    secret::Secret,
    token::BearerToken,
    ue::PrimaryRecord,
};

/// What the user wrote.
pub(super) struct ByHand {
    pub(super) token: BearerToken,
    pub(super) csc4: Endpoint,
    pub(super) primary: PrimaryRecord,
    pub(super) k: Secret<16>,
    pub(super) opc: Secret<16>,
    pub(super) ind_bits: u8,
}

/// Reads the table; what is wrong in it is reported to the document.
pub(super) fn read(document: &Document<'_>, table: &DeTable<'_>) -> Option<ByHand> {
    let mut root = Section::root(document, table);
    let user = read_user(root.section("user"));
    let home = read_home(root.section("home"));
    let isim = read_isim(root.section("isim"));
    root.finish();
    let (mc_service_id, token) = user?;
    let (mc_system_id, csc4, identity, sip_core) = home?;
    let (k, opc, ind_bits) = isim?;
    let primary = PrimaryRecord { mc_service_id, mc_system_id, identity, sip_core };
    Some(ByHand { token, csc4, primary, k, opc, ind_bits })
}

fn read_user(mut section: Section<'_>) -> Option<(McServiceId, BearerToken)> {
    let id = |value: &DeValue<'_>| parsed(value, McServiceId::parse, "sip:alice@a.example");
    let mc_service_id = section.required("mc_service_id", "\"sip:alice@a.example\"", id);
    let token = section.required("token", "the user's bearer token on CSC-4, in quotes", |value| {
        secret(value, BearerToken::parse, "write the user's bearer token on CSC-4")
    });
    section.finish();
    Some((mc_service_id?, token?))
}

fn read_home(
    mut section: Section<'_>,
) -> Option<(McSystemId, Endpoint, UserIdentity, Vec<SipCoreAddress>)> {
    let system = |value: &DeValue<'_>| parsed(value, McSystemId::parse, "sip:a.example");
    let mc_system_id = section.required("mc_system_id", "\"sip:a.example\"", system);
    let url = |value: &DeValue<'_>| parsed(value, str::parse, "http://127.0.0.1:8081");
    let csc4 = section.required("csc4", "\"http://127.0.0.1:8081\"", url);
    let private = |value: &DeValue<'_>| parsed(value, Impi::parse, "alice@a.example");
    let impi = section.required("impi", "\"alice@a.example\"", private);
    let public = |value: &DeValue<'_>| parsed(value, Impu::parse, "sip:alice@a.example");
    let impu = section.required("impu", "\"sip:alice@a.example\"", public);
    let sip_core = section.required("sip_core", "[\"udp:127.0.0.1:5060\"]", |value| {
        let one = |value: &DeValue<'_>| parsed(value, str::parse, "udp:127.0.0.1:5060");
        let addresses = list(value, one)?;
        match addresses.len() {
            1..=SIP_CORE_ADDRESSES_MAX => Ok(addresses),
            0 => Err(Wrong::new(
                "is an empty list",
                "write at least one, such as \"udp:127.0.0.1:5060\"",
            )),
            _ => Err(Wrong::new("is too long", format!("write {SIP_CORE_ADDRESSES_MAX} at most"))),
        }
    });
    section.finish();
    let identity = UserIdentity { impi: impi?, impu: impu? };
    Some((mc_system_id?, csc4?, identity, sip_core?))
}

fn read_isim(mut section: Section<'_>) -> Option<(Secret<16>, Secret<16>, u8)> {
    let k = section.required("k", "32 hexadecimal digits, in quotes", key);
    let opc = section.optional("opc", key);
    let op = section.optional("op", key);
    let bits = |value: &DeValue<'_>| number(value, 1..=IND_BITS_MAX);
    let ind_bits = section.optional("ind_bits", bits).unwrap_or(IND_BITS_DEFAULT);
    let (has_opc, has_op) = (section.has("opc"), section.has("op"));
    if has_opc && has_op {
        section.report("op", Wrong::new("is beside opc", "keep one of the two"));
    } else if !has_opc && !has_op {
        section
            .report("opc", Wrong::new("is missing", "write opc, or op, and 32 hexadecimal digits"));
    }
    section.finish();
    let k = k?;
    let opc = opc.or_else(|| op.map(|op| opc_from_op(&k, &op)))?;
    Some((k, opc, ind_bits))
}

fn key(value: &DeValue<'_>) -> Result<Secret<16>, Wrong> {
    let digits = |text: &str| parse_hex(text).ok_or("is not 16 octets in hexadecimal digits");
    secret(value, digits, "write 32 hexadecimal digits")
}
