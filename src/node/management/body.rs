//! The JSON bodies about the SIP database, how they become values of the role, and help with each field.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use crate::{
    aka::digest::{Ha1, Ha1Algorithm},
    api::migration_identity as api,
    identity::{Impi, Impu, McSystemId, SipDatabaseId, UserIdentity},
    node::http::JsonBody,
    secret::{Secret, SecretText},
};

/// Longest body of a request, octets: a listed pool of some tens of thousands of pairs.
pub const BODY_OCTETS_MAX: usize = 4 << 20;

/// AMF if a subscriber names none: the value in use for IMS.
const AMF_DEFAULT: [u8; 2] = [0x80, 0x00];

/// What each field must be, for those who got one wrong.
const HELP: &[(&str, &str)] = &[
    ("impi", "write a private identity, user@realm"),
    ("impu", "write a public identity, sip:user@host"),
    ("impus", "write a list of public identities, the default one first: [\"sip:user@host\"]"),
    ("k", "write the subscriber key as 32 hexadecimal digits"),
    ("op", "write OP as 32 hexadecimal digits, or opc in its place"),
    ("opc", "write OPc as 32 hexadecimal digits, or op in its place"),
    (
        "password",
        "write the password, 8 to 256 printable characters, or ha1 and algorithm in its place",
    ),
    (
        "ha1",
        "write HA1 as hexadecimal digits, 32 for MD5 and 64 for SHA-256, or password in its place",
    ),
    ("algorithm", "write \"MD5\" or \"SHA-256\", or leave it out for MD5"),
    ("realm", "write the realm that HA1 is for, or leave it out for the domain of this system"),
    ("amf", "write AMF as 4 hexadecimal digits, such as \"8000\", or leave it out"),
    ("seq", "write the highest SEQ used elsewhere, a number below 2^43, or leave it out"),
    ("direction", "write \"outbound\" or \"inbound\""),
    (
        "generated",
        "write {\"impi_template\": \"mig-{id}@realm\", \"impu_template\": \"sip:mig-{id}@realm\"}",
    ),
    (
        "listed",
        "write {\"identities\": [{\"impi\": .., \"impu\": ..}], \"quarantine_seconds\": 604800}",
    ),
    (
        "key",
        "write the key of the permutations as 64 hexadecimal digits, or leave it out to have it drawn",
    ),
    ("identities", "write a list of {\"impi\": \"user@realm\", \"impu\": \"sip:user@host\"}"),
    ("quarantine_seconds", "write a number of seconds"),
    (
        "partner",
        "write the Diameter identity of the partner's SIP database, such as \"sipdb.b.example\"",
    ),
    (
        "database",
        "write the Diameter identity of the primary's SIP database, such as \"sipdb.a.example\"",
    ),
    (
        "server_name",
        "write the Server-Name that the primary system gave, such as \"sip:migration.a.example\"",
    ),
    ("valid_for_seconds", "write a number of seconds from now"),
    (
        "inbound",
        "write {\"impi\": \"user@realm\", \"impu\": \"sip:user@host\"}, a free pair of a listed pool",
    ),
    ("mc_service_id", "write the user's MC service ID, such as \"sip:alice@a.example\""),
    (
        "subscriber",
        "write all of the subscriber but its impi: {\"impus\": [..], \"k\": .., \"opc\": ..}",
    ),
    (
        "user",
        "write all of the user but its mc_service_id, such as {\"impi\": \"alice@a.example\"}",
    ),
    ("mc_system_id", "write the system's MC system ID, such as \"sip:b.example\""),
    ("class", "write the name of a class, 1 to 64 octets, or leave it out"),
    ("may_migrate", "write true or false, or leave it out"),
    (
        "may_request",
        "write kinds of transactions, such as [\"configuration\", \"update\"], or leave it out for none",
    ),
    (
        "may_decide",
        "write kinds of transactions, such as [\"configuration\", \"update\"], or leave it out for none",
    ),
    ("token", "write 22 to 4096 of the characters A-Z a-z 0-9 - . _ ~ + / =, drawn at random"),
    ("users", "write everybody, class:NAME or user:MC-SERVICE-ID, percent-encoded"),
    (
        "valid_from",
        "write seconds since the Unix epoch or \"2031-01-01T00:00:00Z\", or leave it out",
    ),
    (
        "valid_until",
        "write seconds since the Unix epoch or \"2031-01-01T00:00:00Z\", after valid_from",
    ),
    ("hide_identities", "write true or false for an outbound agreement, or leave it out"),
    ("revision", "write a number greater than that of the stored configuration"),
    (
        "sip_core",
        "write a list of 1 to 16 addresses: [{\"transport\": \"udp\", \"address\": \"192.0.2.1:5060\"}]",
    ),
    ("transport", "write \"udp\" or \"tcp\""),
    ("address", "write IP address and port, such as \"192.0.2.1:5060\" or \"[2001:db8::1]:5060\""),
    ("after", "write the next of the page before, or leave it out for the first page"),
    ("limit", "write how many records, 1 to 1000, or leave it out for 100"),
    ("alias", "write a functional alias, such as \"sip:driver@a.example\", percent-encoded"),
    ("holder", "write the private identity of a user, in a list of bindings or grants"),
    (
        "document",
        "write an initial UE configuration document, or a user profile, of TS 24.484 as text",
    ),
    ("service", "write mcptt, mcvideo or mcdata"),
    ("index", "write a number from 0 to 255"),
];

/// What to write in the field of this name.
pub(super) fn help(field: &str) -> Option<&'static str> {
    HELP.iter().find(|(known, _)| *known == field).map(|(_, help)| *help)
}

/// Bodies whose fields [`HELP`] knows.
macro_rules! json_bodies {
    ($($body:ty: $octets_max:expr),* $(,)?) => {$(
        impl JsonBody for $body {
            const OCTETS_MAX: usize = $octets_max;

            fn help(field: &str) -> Option<&'static str> {
                help(field)
            }
        }
    )*};
}
pub(super) use json_bodies;

json_bodies! {
    SubscriberBody: 65_536,
    DigestSubscriberBody: 65_536,
    PoolBody: BODY_OCTETS_MAX,
    OutboundBody: 16_384,
    InboundBody: 16_384,
    MappingBody: 16_384,
    GrantBody: 16_384,
}

/// A subscriber to provision. Keys go in and never come out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriberBody {
    /// The implicit registration set, the default public identity first.
    #[schema(value_type = Vec<String>, min_items = 1, example = json!(["sip:alice@a.example"]))]
    impus: Vec<Impu>,
    /// The subscriber key K.
    #[schema(value_type = String, pattern = "^[0-9a-fA-F]{32}$", write_only)]
    k: Hex<16>,
    /// The operator's common OP. Give this or `opc`.
    #[schema(value_type = Option<String>, pattern = "^[0-9a-fA-F]{32}$", write_only)]
    op: Option<Hex<16>>,
    /// The subscriber's OPc. Give this or `op`.
    #[schema(value_type = Option<String>, pattern = "^[0-9a-fA-F]{32}$", write_only)]
    opc: Option<Hex<16>>,
    /// The authentication management field; 8000 if left out.
    #[schema(value_type = Option<String>, pattern = "^[0-9a-fA-F]{4}$", example = "8000")]
    amf: Option<Hex<2>>,
    /// The SEQ of the last vector the subscriber has seen elsewhere; vectors continue above it.
    #[serde(default)]
    seq: u64,
}

impl SubscriberBody {
    /// The value for the role.
    ///
    /// # Errors
    ///
    /// The field that is wrong, and what is wrong with it.
    pub(super) fn into_subscriber(
        self,
        impi: Impi,
    ) -> Result<api::Subscriber, (&'static str, &'static str)> {
        let operator = match (self.op, self.opc) {
            (Some(op), None) => api::OperatorKey::Op(op.0),
            (None, Some(opc)) => api::OperatorKey::Opc(opc.0),
            (Some(_), Some(_)) => return Err(("op", "is given together with opc")),
            (None, None) => return Err(("opc", "is missing, and op too")),
        };
        if self.impus.is_empty() {
            return Err(("impus", "is empty"));
        }
        if self.seq >> 43 != 0 {
            return Err(("seq", "does not fit 43 bits"));
        }
        Ok(api::Subscriber {
            impi,
            impus: self.impus,
            k: self.k.0,
            operator,
            amf: self.amf.map_or(AMF_DEFAULT, |amf| *amf.0.expose()),
            seq: self.seq,
        })
    }
}

/// A subscriber with a password to provision: of SIP Digest. The password goes in and is not kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DigestSubscriberBody {
    /// The implicit registration set, the default public identity first.
    #[schema(value_type = Vec<String>, min_items = 1, example = json!(["sip:guest-1@b.example"]))]
    impus: Vec<Impu>,
    /// The password. Give this or `ha1`.
    #[schema(value_type = Option<String>, min_length = 8, max_length = 256, write_only)]
    password: Option<String>,
    /// The hash of private identity, realm and password, each but the last with a colon behind it. Give this or
    /// `password`.
    #[schema(value_type = Option<String>, pattern = "^([0-9a-fA-F]{32}|[0-9a-fA-F]{64})$", write_only)]
    ha1: Option<String>,
    /// How the subscriber's responses are computed; MD5 if left out.
    #[schema(value_type = Option<String>, pattern = "^(MD5|SHA-256)$")]
    algorithm: Option<Ha1Algorithm>,
    /// The realm that HA1 is for: the SIP core's. The domain of this system if left out.
    #[schema(example = "b.example")]
    realm: Option<String>,
}

impl DigestSubscriberBody {
    /// The value for the role of a system with this domain.
    ///
    /// # Errors
    ///
    /// The field that is wrong, and what is wrong with it.
    pub(super) fn into_subscriber(
        self,
        impi: Impi,
        domain: &str,
    ) -> Result<api::DigestSubscriber, (&'static str, &'static str)> {
        let realm = self.realm.unwrap_or_else(|| domain.to_owned());
        let algorithm = self.algorithm.unwrap_or(Ha1Algorithm::Md5);
        let ha1 = match (self.password.map(SecretText::new), self.ha1.map(SecretText::new)) {
            (Some(password), None) => {
                let password = password.expose();
                let fits = |octet: u8| octet == b' ' || octet.is_ascii_graphic();
                if !(8..=256).contains(&password.len()) || !password.bytes().all(fits) {
                    return Err(("password", "is not 8 to 256 printable ASCII characters"));
                }
                Ha1::compute(algorithm, impi.as_str(), &realm, password.as_bytes())
            }
            (None, Some(ha1)) => Ha1::from_hex(algorithm, ha1.expose())
                .ok_or(("ha1", "is not as many hexadecimal digits as the algorithm has"))?,
            (Some(_), Some(_)) => return Err(("password", "is given together with ha1")),
            (None, None) => return Err(("password", "is missing, and ha1 too")),
        };
        if self.impus.is_empty() {
            return Err(("impus", "is empty"));
        }
        Ok(api::DigestSubscriber { impi, impus: self.impus, realm, ha1 })
    }
}

/// A pool to lend identities from: `generated` or `listed`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolBody {
    /// Which way it lends.
    #[schema(value_type = DirectionName)]
    direction: api::Direction,
    /// Identities made from a template.
    generated: Option<GeneratedPool>,
    /// Identities provisioned one by one.
    listed: Option<ListedPool>,
}

/// Which way a pool lends: to users of this system, or to users of others.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes api::Direction, which knows nothing of HTTP")]
pub(super) enum DirectionName {
    Outbound,
    Inbound,
}

/// A pool whose n-th identity is a keyed permutation of n.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GeneratedPool {
    /// The private identity, with `{id}` in its user part.
    #[schema(example = "mig-{id}@b.example")]
    impi_template: String,
    /// The public identity, with `{id}` in its user part.
    #[schema(example = "sip:mig-{id}@b.example")]
    impu_template: String,
    /// The key of the permutations; drawn if left out.
    #[schema(value_type = Option<String>, pattern = "^[0-9a-fA-F]{64}$", write_only)]
    key: Option<Hex<32>>,
}

/// A pool of provisioned pairs. Put again, it is extended.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListedPool {
    /// The pairs to add.
    identities: Vec<Pair>,
    /// How long a returned pair rests, seconds.
    quarantine_seconds: u64,
}

/// A private and a public identity.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    /// The private identity.
    #[schema(value_type = String, example = "alice@a.example")]
    impi: Impi,
    /// The public identity.
    #[schema(value_type = String, example = "sip:alice@a.example")]
    impu: Impu,
}

impl From<Pair> for UserIdentity {
    fn from(Pair { impi, impu }: Pair) -> Self {
        Self { impi, impu }
    }
}

impl PoolBody {
    /// The value for the role.
    ///
    /// # Errors
    ///
    /// The field that is wrong, and what is wrong with it.
    pub(super) fn into_request(
        self,
        name: String,
    ) -> Result<api::Request, (&'static str, &'static str)> {
        let source = match (self.generated, self.listed) {
            (Some(GeneratedPool { impi_template, impu_template, key }), None) => {
                let key = key.map(|key| key.0);
                api::PoolSource::Generated { impi_template, impu_template, key }
            }
            (None, Some(ListedPool { identities, quarantine_seconds })) => {
                api::PoolSource::Listed {
                    identities: identities.into_iter().map(UserIdentity::from).collect(),
                    quarantine: Duration::from_secs(quarantine_seconds),
                }
            }
            (Some(_), Some(_)) => return Err(("generated", "is given together with listed")),
            (None, None) => return Err(("generated", "is missing, and listed too")),
        };
        Ok(api::Request::PutPool(api::Pool { name, direction: self.direction, source }))
    }
}

/// Asks for an outbound pair for a user of this system.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutboundBody {
    /// The real private identity.
    #[schema(value_type = String, example = "alice@a.example")]
    impi: Impi,
    /// The real public identity.
    #[schema(value_type = String, example = "sip:alice@a.example")]
    impu: Impu,
    /// The SIP database of the partner that may ask vectors for it.
    #[schema(value_type = String, example = "sipdb.b.example")]
    partner: SipDatabaseId,
}

impl From<OutboundBody> for api::Request {
    fn from(OutboundBody { impi, impu, partner }: OutboundBody) -> Self {
        Self::BindOutbound { user: UserIdentity { impi, impu }, partner, allowed: None }
    }
}

/// Asks for an inbound pair for a user of another system.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InboundBody {
    /// The SIP database of the primary system.
    #[schema(value_type = String, example = "sipdb.a.example")]
    database: SipDatabaseId,
    /// The private identity there: outbound, or real where the primary hides none.
    #[schema(value_type = String, example = "out-7f3c@a.example")]
    impi: Impi,
    /// The public identity there.
    #[schema(value_type = String, example = "sip:out-a91e@a.example")]
    impu: Impu,
    /// The Server-Name that the primary wants in vector requests for this user.
    #[schema(example = "sip:migration.a.example")]
    server_name: String,
}

impl From<InboundBody> for api::Request {
    fn from(InboundBody { database, impi, impu, server_name }: InboundBody) -> Self {
        let identity = UserIdentity { impi, impu };
        Self::BindInbound {
            primary: api::PrimaryUser { database, identity, server_name },
            allowed: None,
        }
    }
}

/// Binds a pair of a listed inbound pool to a user of another system for good.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MappingBody {
    /// The SIP database of the primary system.
    #[schema(value_type = String, example = "sipdb.a.example")]
    database: SipDatabaseId,
    /// The private identity there.
    #[schema(value_type = String, example = "alice@a.example")]
    impi: Impi,
    /// The public identity there.
    #[schema(value_type = String, example = "sip:alice@a.example")]
    impu: Impu,
    /// The Server-Name that the primary wants in vector requests for this user.
    #[schema(example = "sip:migration.a.example")]
    server_name: String,
    /// The pair to bind, free in a listed inbound pool.
    inbound: Pair,
}

impl From<MappingBody> for api::Request {
    fn from(body: MappingBody) -> Self {
        let identity = UserIdentity { impi: body.impi, impu: body.impu };
        let (database, server_name) = (body.database, body.server_name);
        Self::MapInbound {
            primary: api::PrimaryUser { database, identity, server_name },
            identity: body.inbound.into(),
        }
    }
}

/// Allows the real pair of a user at one partner.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantBody {
    /// The real public identity.
    #[schema(value_type = String, example = "sip:alice@a.example")]
    impu: Impu,
    /// For how long from now, seconds.
    valid_for_seconds: u64,
}

impl GrantBody {
    /// The value for the role.
    pub(super) fn into_request(self, impi: Impi, partner: SipDatabaseId) -> api::Request {
        let user = UserIdentity { impi, impu: self.impu };
        let valid_for = Duration::from_secs(self.valid_for_seconds);
        api::Request::PutGrant { user, partner, valid_for, allowed: None }
    }
}

/// A subscriber, without keys.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct SubscriberView {
    /// The private identity.
    #[schema(value_type = String)]
    pub(super) impi: Impi,
    /// The implicit registration set, the default public identity first.
    #[schema(value_type = Vec<String>)]
    pub(super) impus: Vec<Impu>,
    /// The highest SEQ that may have been used.
    pub(super) seq: u64,
}

/// A subscriber with a password, without it.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct DigestSubscriberView {
    /// The private identity.
    #[schema(value_type = String)]
    pub(super) impi: Impi,
    /// The implicit registration set, the default public identity first.
    #[schema(value_type = Vec<String>)]
    pub(super) impus: Vec<Impu>,
    /// The realm of the password.
    pub(super) realm: String,
    /// How the subscriber's responses are computed.
    #[schema(value_type = String)]
    pub(super) algorithm: Ha1Algorithm,
}

/// How full a pool is.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct PoolView {
    /// Which way it lends.
    #[schema(value_type = DirectionName)]
    pub(super) direction: api::Direction,
    /// Identities drawn so far (generated) or provisioned (listed).
    pub(super) total: u64,
    /// Lent now.
    pub(super) lent: u64,
    /// Free to lend now; absent for a generated pool, which does not run out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) free: Option<u64>,
}

/// A binding.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct BindingView {
    /// The lent private identity.
    #[schema(value_type = String)]
    pub impi: Impi,
    /// The lent public identity.
    #[schema(value_type = String)]
    pub impu: Impu,
    /// The end of the reservation, seconds since the Unix epoch.
    pub reserved_until: u64,
    /// Whether the user is registered with it now (inbound only).
    pub active: bool,
}

impl From<api::Binding> for BindingView {
    fn from(binding: api::Binding) -> Self {
        let UserIdentity { impi, impu } = binding.identity;
        let reserved_until = binding.reserved_until.as_secs();
        Self { impi, impu, reserved_until, active: binding.active }
    }
}

/// Who this system is: what another system must know to bind users of this one.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct SystemView {
    /// The home network domain.
    #[schema(example = "a.example")]
    pub domain: String,
    /// The MC system ID.
    #[schema(value_type = String, example = "sip:a.example")]
    pub mc_system_id: McSystemId,
    /// The Diameter identity of the SIP database.
    #[schema(value_type = String, example = "sipdb.a.example")]
    pub database: SipDatabaseId,
    /// The Server-Name for vector requests for migrated users of this system.
    #[schema(example = "sip:migration.a.example")]
    pub server_name: String,
    /// Bits of SQN that are IND: UEs read SQN as the SIP database writes it.
    #[schema(minimum = 3, maximum = 8)]
    pub ind_bits: u8,
}

/// A secret of `N` octets, written as hexadecimal digits.
pub(super) struct Hex<const N: usize>(Secret<N>);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits<const N: usize>;

        impl<const N: usize> de::Visitor<'_> for Digits<N> {
            type Value = Hex<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} hexadecimal digits", 2 * N)
            }

            /// The error must not repeat the text: it may be most of a key.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Hex<N>, E> {
                parse_hex(text)
                    .map(Hex)
                    .ok_or_else(|| E::custom(format_args!("is not {} hexadecimal digits", 2 * N)))
            }
        }

        deserializer.deserialize_str(Digits::<N>)
    }
}

/// Reads exactly `2 * N` hexadecimal digits.
pub(in crate::node) fn parse_hex<const N: usize>(text: &str) -> Option<Secret<N>> {
    Secret::from_hex(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::http::parse;

    /// Every property of a body in the interface description.
    #[test]
    fn every_field_has_help() {
        let description = serde_json::to_value(super::super::description()).unwrap();
        let mut asked = 0;
        for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
            if name.ends_with("View") || name == "Problem" {
                continue;
            }
            for field in
                schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name)
            {
                // Descriptions of a generated pool are helped with as a whole.
                let has_help = help(field).or(super::super::idms_body::help(field)).is_some();
                assert!(has_help || field.ends_with("_template"), "{name}.{field}");
                asked += 1;
            }
        }
        assert!(asked > 30, "{asked}");
    }

    #[test]
    fn a_wrong_key_is_named_with_what_to_write() {
        for (body, field) in [
            (r#"{"impus": ["alice"], "k": "00"}"#, "impus[0]"),
            (r#"{"impus": ["sip:a@b"], "k": "00"}"#, "k"),
            (r#"{"impus": ["sip:a@b"], "k": 7}"#, "k"),
            (r#"{"impus": ["sip:a@b"]}"#, "k"),
        ] {
            let problem = parse::<SubscriberBody>(body.as_bytes()).err().unwrap();
            assert_eq!(problem.field.as_deref(), Some(field), "{body}: {problem:?}");
            assert_eq!(Some(problem.fix.as_str()), help(field.trim_end_matches("[0]")));
        }
        let problem = parse::<SubscriberBody>(br#"{"impuz": []}"#).err().unwrap();
        assert_eq!(problem.field.as_deref(), Some("impuz"));
    }
}
