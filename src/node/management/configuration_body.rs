//! The JSON bodies about the configuration server, and how they become values of the role.

use std::{fmt, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::ToSchema;

use super::body::{DirectionName, help, json_bodies};
use crate::{
    api::{
        acm_interconnection::{TransactionId, TransactionKey},
        configuration::{
            Agreement, AgreementKey, CLASS_OCTETS_MAX, ConfigurationVersion, DecidedBy,
            StoredProfile, User, Users,
        },
        connection_details::{SipCoreAddress, SipTransport, SystemConfiguration},
        migration_identity::{AgreementId, Direction},
    },
    identity::{Impi, Impu, McServiceId, McSystemId, UserIdentity},
    node::http::JsonBody,
    time::Timestamp,
    token::{BearerToken, TokenDigest},
    ue_configuration::{DOCUMENT_OCTETS_MAX, InitialUeConfiguration},
};

/// A user of the configuration server. The token goes in and never comes out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserBody {
    /// The private identity of the user's subscriber in the SIP database.
    #[schema(value_type = String, example = "alice@a.example")]
    impi: Impi,
    /// The public identity that belongs to it.
    #[schema(value_type = String, example = "sip:alice@a.example")]
    impu: Impu,
    /// The class that agreements may be about.
    #[schema(max_length = 64)]
    class: Option<Box<str>>,
    /// Whether the user may migrate at all; true if left out.
    #[serde(default = "yes")]
    #[schema(default = true)]
    may_migrate: bool,
    /// The static bearer token that the user's UE presents, where the system takes such tokens
    /// (`config_server.static_tokens`); without it the UE presents access tokens.
    #[schema(value_type = Option<String>, min_length = 22, max_length = 4096, write_only)]
    token: Option<Token>,
}

const fn yes() -> bool {
    true
}

impl UserBody {
    /// The value for the role.
    ///
    /// # Errors
    ///
    /// The field that is wrong, and what is wrong with it.
    pub(super) fn into_user(
        self,
        mc_service_id: McServiceId,
    ) -> Result<User, (&'static str, &'static str)> {
        if let Some(class) = &self.class {
            check_class(class).map_err(|what| ("class", what))?;
        }
        Ok(User {
            mc_service_id,
            identity: UserIdentity { impi: self.impi, impu: self.impu },
            class: self.class,
            may_migrate: self.may_migrate,
            token: self.token.map_or(TokenDigest::OF_NO_TOKEN, |token| token.0),
        })
    }
}

fn check_class(class: &str) -> Result<(), &'static str> {
    match class.len() {
        0 => Err("has a class without a name"),
        1..=CLASS_OCTETS_MAX => Ok(()),
        _ => Err("has a class of more than 64 octets"),
    }
}

/// What is kept of a bearer token.
pub(super) struct Token(pub(super) TokenDigest);

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = Token;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bearer token")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Token, E> {
                BearerToken::parse(text).map(|token| Token(token.digest())).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// A user, without token.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct UserView {
    /// The MC service ID.
    #[schema(value_type = String)]
    pub(super) mc_service_id: McServiceId,
    /// The private identity in the SIP database.
    #[schema(value_type = String)]
    pub(super) impi: Impi,
    /// The public identity that belongs to it.
    #[schema(value_type = String)]
    pub(super) impu: Impu,
    /// The class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) class: Option<Box<str>>,
    /// Whether the user may migrate at all.
    pub(super) may_migrate: bool,
}

/// An agreement with a partner.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgreementBody {
    /// When it begins to hold: seconds since the Unix epoch, or a date and time of RFC 3339; at once if
    /// left out.
    #[schema(value_type = Option<u64>)]
    valid_from: Option<Moment>,
    /// When it ends: seconds since the Unix epoch, or a date and time of RFC 3339.
    #[schema(value_type = u64, example = 1_924_992_000)]
    valid_until: Moment,
    /// Whether real identities are hidden from the partner; true if left out. Outbound only.
    hide_identities: Option<bool>,
}

impl AgreementBody {
    /// The value for the role.
    ///
    /// # Errors
    ///
    /// The field that is wrong, and what is wrong with it.
    pub(super) fn into_agreement(
        self,
        key: AgreementKey,
    ) -> Result<Agreement, (&'static str, &'static str)> {
        if let Users::Class(class) = &key.users {
            check_class(class).map_err(|what| ("users", what))?;
        }
        let outbound = key.direction == Direction::Outbound;
        if !outbound && self.hide_identities == Some(true) {
            return Err(("hide_identities", "is for outbound agreements"));
        }
        let valid_from = self.valid_from.map_or(Timestamp::default(), |from| from.0);
        if self.valid_until.0 <= valid_from {
            return Err(("valid_until", "is not after valid_from"));
        }
        Ok(Agreement {
            key,
            valid_from,
            valid_until: self.valid_until.0,
            hide_identities: self.hide_identities.unwrap_or(outbound),
        })
    }
}

/// A point in time, given as seconds since the Unix epoch or as text of RFC 3339.
struct Moment(Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl de::Visitor<'_> for Either {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since the Unix epoch, or a date and time of RFC 3339")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Moment, E> {
                Ok(Moment(Timestamp::from_secs(seconds)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
                let unexpected = de::Unexpected::Str(text);
                // A fraction of a second is cut off.
                let moment = Timestamp::parse_rfc3339(text);
                let moment = moment.map(|at| Moment(Timestamp::from_secs(at.as_secs())));
                moment.ok_or_else(|| E::invalid_value(unexpected, &self))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// An agreement.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct AgreementView {
    /// Its number, never used twice.
    id: u64,
    /// The MC system ID of the partner.
    #[schema(value_type = String)]
    partner: McSystemId,
    /// Outbound: our users may go there. Inbound: their users may come here.
    #[schema(value_type = DirectionName)]
    direction: Direction,
    /// `everybody`, `class:NAME` or `user:MC-SERVICE-ID`.
    users: String,
    /// When it begins to hold, seconds since the Unix epoch.
    valid_from: u64,
    /// When it ends, seconds since the Unix epoch.
    valid_until: u64,
    /// Whether real identities are hidden from the partner; outbound only.
    #[serde(skip_serializing_if = "Option::is_none")]
    hide_identities: Option<bool>,
}

impl AgreementView {
    pub(super) fn new(AgreementId(id): AgreementId, agreement: &Agreement) -> Self {
        let key = &agreement.key;
        Self {
            id,
            partner: key.partner.clone(),
            direction: key.direction,
            users: match &key.users {
                Users::Everybody => "everybody".to_owned(),
                Users::Class(class) => format!("class:{class}"),
                Users::User(user) => format!("user:{}", user.as_str()),
            },
            valid_from: agreement.valid_from.as_secs(),
            valid_until: agreement.valid_until.as_secs(),
            hide_identities: (key.direction == Direction::Outbound)
                .then_some(agreement.hide_identities),
        }
    }
}

/// Longest body with a system configuration, octets: the longest document, each octet of it escaped, and
/// the rest.
const SYSTEM_CONFIGURATION_OCTETS_MAX: usize = 6 * DOCUMENT_OCTETS_MAX + 16_384;

json_bodies! {
    UserBody: 16_384,
    AgreementBody: 16_384,
    SystemConfigurationBody: SYSTEM_CONFIGURATION_OCTETS_MAX,
    UserProfileBody: SYSTEM_CONFIGURATION_OCTETS_MAX,
}

/// What UEs are told of a system. Unlike a UE or a partner, this interface knows every field there is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SystemConfigurationBody {
    /// Grows with each change.
    revision: u64,
    /// Where the SIP core is, in order of preference.
    #[schema(min_items = 1, max_items = 16)]
    sip_core: Vec<SipCoreAddressBody>,
    /// The initial MC service UE configuration document.
    #[schema(value_type = String)]
    document: Arc<InitialUeConfiguration>,
}

/// Where a SIP core can be reached.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SipCoreAddressBody {
    /// Over what.
    transport: SipTransport,
    /// Address and port.
    #[schema(value_type = String, example = "192.0.2.1:5060")]
    address: SocketAddr,
}

impl From<SystemConfigurationBody> for SystemConfiguration {
    fn from(body: SystemConfigurationBody) -> Self {
        let SystemConfigurationBody { revision, sip_core, document } = body;
        let address =
            |SipCoreAddressBody { transport, address }| SipCoreAddress { transport, address };
        Self { revision, sip_core: sip_core.into_iter().map(address).collect(), document }
    }
}

/// A user profile.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserProfileBody {
    /// Grows with each change.
    pub(super) revision: u64,
    /// The user profile document.
    pub(super) document: String,
}

/// A user profile.
#[derive(Serialize, ToSchema)]
pub(super) struct UserProfileView {
    /// Grows with each change.
    revision: u64,
    /// The document; only with `?secrets=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<String>,
}

impl UserProfileView {
    pub(super) fn new(
        StoredProfile { revision, profile }: StoredProfile,
        with_secrets: bool,
    ) -> Self {
        Self { revision, document: with_secrets.then(|| profile.as_str().to_owned()) }
    }
}

/// What UEs are told of a system.
#[derive(Serialize, ToSchema)]
pub(super) struct SystemConfigurationView {
    /// Grows with each change.
    revision: u64,
    /// Where the SIP core is, in order of preference.
    sip_core: Vec<SipCoreAddress>,
    /// The initial UE configuration; only with `?secrets=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    document: Option<Arc<InitialUeConfiguration>>,
}

impl SystemConfigurationView {
    pub(super) fn new(found: SystemConfiguration, with_secrets: bool) -> Self {
        let SystemConfiguration { revision, sip_core, document } = found;
        Self { revision, sip_core, document: with_secrets.then_some(document) }
    }
}

/// What UEs are or were told of a system, and how it came to be in force.
#[derive(Serialize, ToSchema)]
pub(super) struct ConfigurationVersionView {
    /// Grows with each change.
    revision: u64,
    /// Where the SIP core is, in order of preference.
    sip_core: Vec<SipCoreAddress>,
    /// Since when it has been in force; unknown of what was stored before versions were kept.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Who brought it into force: the MC service ID of an administrator, `policy` or `operator`.
    #[schema(example = "sip:bob@b.example")]
    decided_by: Option<String>,
    /// The transaction that brought it, if administrators of two systems have agreed on it.
    transaction: Option<TransactionView>,
    /// The initial UE configuration; only with `?secrets=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    document: Option<Arc<InitialUeConfiguration>>,
}

impl ConfigurationVersionView {
    pub(super) fn new(found: ConfigurationVersion, with_secrets: bool) -> Self {
        let ConfigurationVersion { revision, sip_core, document, provenance, .. } = found;
        let decided_by = provenance.as_ref().map(|it| match &it.decided_by {
            DecidedBy::Operator => "operator".to_owned(),
            DecidedBy::Policy => "policy".to_owned(),
            DecidedBy::User(user) => user.as_str().to_owned(),
        });
        Self {
            revision,
            sip_core,
            at: provenance.as_ref().map(|it| it.at),
            decided_by,
            transaction: provenance.and_then(|it| it.transaction).map(TransactionView::from),
            document: with_secrets.then_some(document),
        }
    }
}

/// A transaction among those of all systems.
#[derive(Serialize, ToSchema)]
struct TransactionView {
    /// The system that began it.
    #[schema(value_type = String, example = "sip:b.example")]
    origin: McSystemId,
    /// Its name there, a UUID.
    #[schema(value_type = String)]
    transaction: TransactionId,
}

impl From<TransactionKey> for TransactionView {
    fn from(TransactionKey { origin, transaction }: TransactionKey) -> Self {
        Self { origin, transaction }
    }
}
