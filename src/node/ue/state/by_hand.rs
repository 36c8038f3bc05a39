//! The part of a state file that its user writes.

use toml::de::{DeTable, DeValue};

use super::guest::{GUEST_SYSTEMS_MAX, LocalAccess, LogIn};
use crate::{
    aka::{IND_BITS_DEFAULT, IND_BITS_MAX, SqnArray, opc_from_op},
    api::{
        connection_details::{SIP_CORE_ADDRESSES_MAX, SipCoreAddress},
        identity_management::IssuerUrl,
    },
    identity::{Impi, Impu, McServiceId, McSystemId, UserIdentity},
    node::{
        config::read::{Document, Section, Wrong, list, number, parsed, secret, text},
        http_client::Endpoint,
        management::body::parse_hex,
    },
    secret::{Secret, SecretText},
    token::BearerToken,
    ue::{Credentials, Isim, PrimaryRecord},
};

/// What the user wrote.
pub(super) struct ByHand {
    pub(super) token: Option<BearerToken>,
    pub(super) log_in: Option<LogIn>,
    pub(super) locals: Vec<LocalAccess>,
    pub(super) csc4: Endpoint,
    pub(super) primary: PrimaryRecord,
    pub(super) k: Secret<16>,
    pub(super) opc: Secret<16>,
    pub(super) ind_bits: u8,
}

/// Reads the table; what is wrong in it is reported to the document.
pub(super) fn read(document: &Document<'_>, table: &DeTable<'_>) -> Option<ByHand> {
    let mut root = Section::root(document, table);
    let log_in = root.section("log_in");
    let has_log_in = log_in.is_present();
    let log_in = read_log_in(log_in);
    let user = read_user(root.section("user"), has_log_in);
    let home = read_home(root.section("home"));
    let mut section = root.section("isim");
    let isim = read_isim(&mut section);
    section.finish();
    let locals = read_locals(&mut root);
    root.finish();
    let (mc_service_id, token) = user?;
    let (mc_system_id, csc4, identity, sip_core) = home?;
    let (k, opc, ind_bits) = isim?;
    let primary = PrimaryRecord { mc_service_id, mc_system_id, identity, sip_core };
    if has_log_in && log_in.is_none() {
        return None;
    }
    Some(ByHand { token, log_in, locals: locals?, csc4, primary, k, opc, ind_bits })
}

fn read_user(
    mut section: Section<'_>,
    has_log_in: bool,
) -> Option<(McServiceId, Option<BearerToken>)> {
    let id = |value: &DeValue<'_>| parsed(value, McServiceId::parse, "sip:alice@a.example");
    let mc_service_id = section.required("mc_service_id", "\"sip:alice@a.example\"", id);
    let read = |value: &DeValue<'_>| {
        secret(value, BearerToken::parse, "write the user's bearer token on CSC-4")
    };
    let is_wanted = section.has("token") || !has_log_in;
    let token = if has_log_in {
        section.optional("token", read)
    } else {
        let example = "the user's bearer token on CSC-4, in quotes, or a section [log_in]";
        section.required("token", example, read)
    };
    section.finish();
    if is_wanted && token.is_none() { None } else { Some((mc_service_id?, token)) }
}

/// Reads how the user logs in.
fn read_log_in(mut section: Section<'_>) -> Option<LogIn> {
    if !section.is_present() {
        return None;
    }
    let issuer = |value: &DeValue<'_>| {
        parsed(value, IssuerUrl::parse, "https://idms.a.example").map(|url| url.as_str().to_owned())
    };
    let issuer = section.required("issuer", "\"https://idms.a.example\"", issuer);
    let client = section.required("client", "\"mc-client\"", text);
    let user = section.required("user", "\"alice\"", text);
    let redirect_uri = section.optional("redirect_uri", text);
    let password = section.optional("password", password);
    section.finish();
    let redirect_uri = redirect_uri.unwrap_or_else(|| "http://127.0.0.1/back".to_owned());
    Some(LogIn { issuer: issuer?, client: client?, redirect_uri, user: user?, password })
}

/// Reads the credentials that partners gave.
fn read_locals(root: &mut Section<'_>) -> Option<Vec<LocalAccess>> {
    let sections = root.sections("local");
    if sections.len() > GUEST_SYSTEMS_MAX {
        let fix = format!("write {GUEST_SYSTEMS_MAX} at most");
        root.report("local", Wrong::new("is there too often", fix));
        return None;
    }
    let mut locals: Vec<Option<LocalAccess>> = Vec::new();
    for section in sections {
        locals.push(read_local(section));
    }
    locals.into_iter().collect()
}

fn read_local(mut section: Section<'_>) -> Option<LocalAccess> {
    let system = |value: &DeValue<'_>| parsed(value, McSystemId::parse, "sip:b.example");
    let at = section.required("mc_system_id", "\"sip:b.example\"", system);
    let identity = read_pair(&mut section);
    let sip_core = read_sip_core(&mut section);
    let has_password = section.has("password");
    let given = section.optional("password", password);
    let credentials = if has_password {
        if ["k", "op", "opc"].iter().any(|key| section.has(key)) {
            let fix = "keep the password, or k with opc or op";
            section.report("password", Wrong::new("is beside a key", fix));
        }
        given.map(Credentials::from)
    } else {
        let isim = read_isim(&mut section);
        let isim = isim.and_then(|(k, opc, ind_bits)| {
            Some(Isim::new(&k, &opc, SqnArray::new(ind_bits).ok()?))
        });
        isim.map(Credentials::from)
    };
    section.finish();
    Some(LocalAccess {
        at: at?,
        identity: identity?,
        sip_core: sip_core?,
        credentials: credentials?,
    })
}

fn password(value: &DeValue<'_>) -> Result<SecretText, Wrong> {
    let given = |text: &str| {
        if text.is_empty() { Err("is empty") } else { Ok(SecretText::new(text)) }
    };
    secret(value, given, "write the password")
}

fn read_home(
    mut section: Section<'_>,
) -> Option<(McSystemId, Endpoint, UserIdentity, Vec<SipCoreAddress>)> {
    let system = |value: &DeValue<'_>| parsed(value, McSystemId::parse, "sip:a.example");
    let mc_system_id = section.required("mc_system_id", "\"sip:a.example\"", system);
    let url = |value: &DeValue<'_>| parsed(value, str::parse, "http://127.0.0.1:8081");
    let csc4 = section.required("csc4", "\"http://127.0.0.1:8081\"", url);
    let identity = read_pair(&mut section);
    let sip_core = read_sip_core(&mut section);
    section.finish();
    Some((mc_system_id?, csc4?, identity?, sip_core?))
}

fn read_pair(section: &mut Section<'_>) -> Option<UserIdentity> {
    let private = |value: &DeValue<'_>| parsed(value, Impi::parse, "alice@a.example");
    let impi = section.required("impi", "\"alice@a.example\"", private);
    let public = |value: &DeValue<'_>| parsed(value, Impu::parse, "sip:alice@a.example");
    let impu = section.required("impu", "\"sip:alice@a.example\"", public);
    Some(UserIdentity { impi: impi?, impu: impu? })
}

fn read_sip_core(section: &mut Section<'_>) -> Option<Vec<SipCoreAddress>> {
    section.required("sip_core", "[\"udp:127.0.0.1:5060\"]", |value| {
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
    })
}

fn read_isim(section: &mut Section<'_>) -> Option<(Secret<16>, Secret<16>, u8)> {
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
    let k = k?;
    let opc = opc.or_else(|| op.map(|op| opc_from_op(&k, &op)))?;
    Some((k, opc, ind_bits))
}

fn key(value: &DeValue<'_>) -> Result<Secret<16>, Wrong> {
    let digits = |text: &str| parse_hex(text).ok_or("is not 16 octets in hexadecimal digits");
    secret(value, digits, "write 32 hexadecimal digits")
}
