//! CSC-4, UE to the configuration management server of its own system: messages A1 (`MIG-1`) and A2
//! (`MIG-13`) of TR 23.781 solution 2.

use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    identity::{McServiceId, McSystemId, Plmn, UserIdentity},
    time::Timestamp,
    token::BearerToken,
    ue_configuration::InitialUeConfiguration,
};

/// SIP core addresses in one answer.
pub const SIP_CORE_ADDRESSES_MAX: usize = 16;

/// Highest tracking area code: 24 bits.
pub const TRACKING_AREA_MAX: u32 = (1 << 24) - 1;

/// Highest cell identity: an NCI of 36 bits.
pub const CELL_MAX: u64 = (1 << 36) - 1;

/// A1: get partner MC system connection details request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Request {
    /// The user. The access token must be this user's, and good for configuration management.
    #[cfg_attr(feature = "node", schema(value_type = String, example = "sip:alice@a.example"))]
    pub mc_service_id: McServiceId,
    /// Where the UE is.
    pub location: Location,
    /// The partner MC system that the user wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "node", schema(value_type = Option<String>, example = "sip:b.example"))]
    pub partner: Option<McSystemId>,
    /// Whether the wish is strict: refuse instead of choosing another partner by location (extension).
    #[serde(default)]
    pub strict: bool,
}

/// Whom a request is from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credential {
    /// This user: an access token of this system's identity management server says so, and has been verified.
    User(McServiceId),
    /// Whoever has this static token, where the system takes such tokens.
    Static(BearerToken),
}

/// Where a UE is (TS 23.280 10.9), or a part of the area that a partner covers.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Location {
    /// The PLMN that serves the UE: MCC and MNC, 5 or 6 digits.
    #[cfg_attr(feature = "node", schema(value_type = String, pattern = "^[0-9]{5,6}$", example = "20801"))]
    pub plmn: Plmn,
    /// The tracking area code, 24 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "node", schema(maximum = 16_777_215))]
    pub tracking_area: Option<u32>,
    /// The cell identity: ECI of 28 or NCI of 36 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "node", schema(maximum = 68_719_476_735_u64))]
    pub cell: Option<u64>,
}

/// What a configuration management server answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// A2.
    Details(Box<Details>),
    /// It did not work.
    Refused(Refusal),
}

/// A2: get partner MC system connection details response. The UE needs nothing else.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Details {
    /// The partner that was chosen.
    #[cfg_attr(feature = "node", schema(value_type = String, example = "sip:b.example"))]
    pub mc_system_id: McSystemId,
    /// Why this partner.
    pub reason: Reason,
    /// The inbound migration SIP private and public user identity.
    #[cfg_attr(feature = "node", schema(value_type = super::schema::UserIdentity))]
    pub identity: UserIdentity,
    /// Until when both systems keep the identities, unless they are used or asked for again; seconds since
    /// the Unix epoch.
    #[serde(with = "super::seconds")]
    #[cfg_attr(feature = "node", schema(value_type = u64))]
    pub valid_until: Timestamp,
    /// What to configure before registering.
    pub configuration: SystemConfiguration,
}

/// What a UE is told of one MC system, with its revision. Fields that a later release adds are passed over:
/// partners and UEs need not be of one release.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct SystemConfiguration {
    /// Grows with each change.
    pub revision: u64,
    /// Where the SIP core is, in order of preference: what the PDN would tell as its P-CSCF list.
    #[cfg_attr(feature = "node", schema(max_items = 16))]
    pub sip_core: Vec<SipCoreAddress>,
    /// The initial MC service UE configuration data (TS 23.280 table A.6-1): an
    /// `application/vnd.3gpp.mcptt-ue-init-config+xml` document.
    #[cfg_attr(feature = "node", schema(value_type = String))]
    pub document: Arc<InitialUeConfiguration>,
}

/// Where a SIP core can be reached.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct SipCoreAddress {
    /// Over what.
    pub transport: SipTransport,
    /// Address and port.
    #[cfg_attr(feature = "node", schema(value_type = String, example = "192.0.2.1:5060"))]
    pub address: SocketAddr,
}

/// Why a text is no [`SipCoreAddress`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidSipCoreAddress {
    /// No transport in front.
    #[error("begins with none of udp:, tcp: and tls:")]
    NoTransport,
    /// What follows is no address with a port.
    #[error("has no address and port after its transport")]
    NoAddress,
}

impl FromStr for SipCoreAddress {
    type Err = InvalidSipCoreAddress;

    /// Reads `udp:`, `tcp:` or `tls:`, address and port.
    fn from_str(text: &str) -> Result<Self, InvalidSipCoreAddress> {
        let (transport, address) = match text.split_once(':') {
            Some(("udp", address)) => (SipTransport::Udp, address),
            Some(("tcp", address)) => (SipTransport::Tcp, address),
            Some(("tls", address)) => (SipTransport::Tls, address),
            _ => return Err(InvalidSipCoreAddress::NoTransport),
        };
        let address = address.parse().map_err(|_| InvalidSipCoreAddress::NoAddress)?;
        Ok(Self { transport, address })
    }
}

impl fmt::Display for SipCoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            SipTransport::Udp => "udp",
            SipTransport::Tcp => "tcp",
            SipTransport::Tls => "tls",
        };
        write!(f, "{transport}:{}", self.address)
    }
}

/// What a SIP core is spoken to over.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub enum SipTransport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream over TLS.
    Tls,
}

/// Why a partner was chosen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub enum Reason {
    /// The user asked for it.
    Requested,
    /// It covers the location; the user asked for none.
    Location,
    /// It covers the location; the user may not use the one asked for.
    RequestedNotAllowed,
}

/// Why there are no connection details. Everything allocated on the way is released again, unless the
/// partner may hold something: then a repeat goes on with the same identities.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No such user, or the token is not the user's.
    #[error("the bearer token is not this user's")]
    NotAuthenticated,
    /// The user may not migrate (`MIG-2`).
    #[error("this user may not migrate")]
    NotAuthorised,
    /// A strict wish for a partner that this system has no agreement with for this user (`MIG-3`).
    #[error("this user may not use the partner asked for")]
    PartnerNotAllowed,
    /// No partner that this user may use covers the location (`MIG-3`).
    #[error("no partner that this user may use covers the location")]
    NoPartner,
    /// The partner refused the user (`MIG-8`).
    #[error("the partner refused the user")]
    RefusedByPartner,
    /// No identity is free here (`MIG-5`) or at the partner (`MIG-10`).
    #[error("no migration identity is free now")]
    Exhausted,
    /// The partner did not answer (`MIG-7`, `MIG-12`), or had trouble of its own.
    #[error("the partner did not answer")]
    PartnerUnreachable,
    /// Neither the partner sent its configuration nor is one stored here (NOTE 3).
    #[error("the partner's initial UE configuration is not known")]
    NotConfigured,
    /// This system is not able to take changes, or has too much to do.
    #[error("this system cannot do it now")]
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Plmn;

    #[test]
    fn what_a_later_release_adds_to_an_answer_is_passed_over() {
        let plmn = Plmn::parse("20801").unwrap();
        let document = InitialUeConfiguration::for_domain("b.example", plmn).unwrap();
        let answer = serde_json::json!({
            "mc_system_id": "sip:b.example",
            "reason": "location",
            "identity": { "impi": "mig-1@b.example", "impu": "sip:mig-2@b.example" },
            "valid_until": 1_800_000_000,
            "new": 1,
            "configuration": {
                "revision": 1,
                "new": {},
                "sip_core": [{ "transport": "udp", "address": "192.0.2.1:5060", "new": [] }],
                "document": document.render(),
            },
        });
        let details: Details = serde_json::from_value(answer).unwrap();
        assert_eq!(details.configuration.sip_core.len(), 1);
        assert_eq!(*details.configuration.document, document);
    }
}
