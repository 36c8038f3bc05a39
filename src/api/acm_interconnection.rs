//! ACM server to ACM server of another system: the transactions of TS 23.280 clause 10.17 and TR 23.700-38 with the
//! envelope that their tables lack, three separate acknowledgements (stored, pending, decided), and cancellation.
//!
//! Every request is safe to repeat: whoever has no answer sends it again.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::acm_payload::{ContentDigest, Kind, Parties, Payload};
use crate::{
    entropy::Entropy,
    identity::{FunctionalAlias, McServiceId, McSystemId},
    time::Timestamp,
};

/// Longest free text that goes with a result, octets.
pub const TEXT_OCTETS_MAX: usize = 1_024;
/// Elements or identities that a result names at most: the first ones.
pub const ELEMENTS_MAX: usize = 64;

/// The name of a transaction: a UUID (RFC 9562), drawn by who begins it.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TransactionId([u8; 16]);

/// A text that is no UUID.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "is no UUID: write 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12 with hyphens between"
)]
pub struct InvalidTransactionId;

impl TransactionId {
    /// Draws a random one (version 4).
    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        let mut octets = [0; 16];
        entropy.fill(&mut octets);
        let number = u128::from_be_bytes(octets);
        let version = number & !(0xf << 76) | 4 << 76;
        Self((version & !(3 << 62) | 2 << 62).to_be_bytes())
    }
}

impl FromStr for TransactionId {
    type Err = InvalidTransactionId;

    fn from_str(text: &str) -> Result<Self, InvalidTransactionId> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let digits = groups.concat();
        if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
            return Err(InvalidTransactionId);
        }
        let number = u128::from_str_radix(&digits, 16).map_err(|_| InvalidTransactionId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0);
        let part = |shift: u32, bits: u32| (number >> shift) & ((1 << bits) - 1);
        write!(f, "{:08x}-{:04x}-", part(96, 32), part(80, 16))?;
        write!(f, "{:04x}-{:04x}-{:012x}", part(64, 16), part(48, 16), part(0, 48))
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionId({self})")
    }
}

impl Serialize for TransactionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for TransactionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 16]>::deserialize(deserializer).map(Self);
        }
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|error| D::Error::custom(format_args!("transaction {error}")))
    }
}

/// A transaction among all systems: two systems may draw the same UUID, one of them on purpose.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct TransactionKey {
    /// The system that began it.
    pub origin: McSystemId,
    /// Its name there.
    pub transaction: TransactionId,
}

/// What every request of a transaction has around it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Envelope {
    /// The transaction.
    pub transaction: TransactionId,
    /// The system that began it. The credential must be this system's.
    pub origin: McSystemId,
    /// The system that it is for.
    pub destination: McSystemId,
    /// The user who acts: the requester.
    pub originator: McServiceId,
    /// When it began.
    pub created: Timestamp,
    /// Until when it has to be decided.
    pub expires: Timestamp,
    /// Grows with each transaction of its kind from this origin to this destination; that of the configuration
    /// where there is one.
    pub revision: u64,
    /// The digest of what the request says.
    pub digest: ContentDigest,
}

impl Envelope {
    /// The transaction among those of all systems.
    pub fn key(&self) -> TransactionKey {
        TransactionKey { origin: self.origin.clone(), transaction: self.transaction }
    }
}

/// A request of an ACM server to that of another system.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub enum Request {
    /// Please decide this (`XCFG-3`, `GRP-3`, `UPD-3`).
    Submit(Box<Submission>),
    /// A person must look at a transaction that the receiver began (`XCFG-5`, `UPD-4`).
    Pending(TransactionKey),
    /// A transaction that the receiver began is decided (`XCFG-12`, `GRP-10`, `UPD-8`).
    Decided(Box<Response>),
    /// Whoever began this takes it back. The envelope goes along, for this may arrive before the request.
    Cancel(Box<Cancellation>),
}

/// A request to decide something.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Submission {
    /// The envelope.
    pub envelope: Envelope,
    /// Who it is from and for.
    pub parties: Parties,
    /// What it is about.
    #[cfg_attr(feature = "node", schema(value_type = Payload))]
    pub payload: Arc<Payload>,
}

/// A request to forget about another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Cancellation {
    /// The envelope of the request that is taken back.
    pub envelope: Envelope,
    /// Its kind.
    pub kind: Kind,
}

/// What was decided. It stays as it is. Fields that a later release adds are passed over: partners need not be of one
/// release.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Response {
    /// The transaction.
    pub key: TransactionKey,
    /// The system that decided.
    pub system: McSystemId,
    /// The user who handled it; none where policy did, or time.
    pub handler_id: Option<McServiceId>,
    /// The functional alias of that user.
    pub handler_alias: Option<FunctionalAlias>,
    /// The user whom the response is for: the requester.
    pub target_id: McServiceId,
    /// The result.
    pub result: ResultCode,
    /// For people: a reason, at most [`TEXT_OCTETS_MAX`] octets.
    pub text: Option<String>,
    /// The elements or identities that the result is about, at most [`ELEMENTS_MAX`].
    pub elements: ElementNames,
    /// When.
    pub decided: Timestamp,
}

/// The result of a transaction. The specification has no list; the names on the wire are ours.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub enum ResultCode {
    /// Accepted and in force.
    Ok,
    /// Accepted for those that it can be; the others are named.
    OkPartial,
    /// The groups have been seen.
    Received,
    /// The user does not want the groups.
    Declined,
    /// A person said no.
    RejectedByUser,
    /// Policy said no.
    RejectedByPolicy,
    /// The user may not.
    NotAuthorised,
    /// No such partner.
    UnknownPartner,
    /// The systems are not interconnected.
    NoInterconnection,
    /// No such user in the partner.
    UnknownTargetUser,
    /// No such group.
    UnknownGroup,
    /// A group is at home elsewhere.
    NotGroupHome,
    /// The request contradicts itself or the interface.
    InvalidData,
    /// Something newer is in force.
    StaleRevision,
    /// The same transaction with another content is there already.
    Conflict,
    /// Nobody decided in time.
    Expired,
    /// Whoever asked took it back.
    Cancelled,
    /// Too much is waiting; try again.
    Busy,
    /// Trouble of the system that decides.
    Internal,
}

impl ResultCode {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::OkPartial => "ok-partial",
            Self::Received => "received",
            Self::Declined => "declined",
            Self::RejectedByUser => "rejected-by-user",
            Self::RejectedByPolicy => "rejected-by-policy",
            Self::NotAuthorised => "not-authorised",
            Self::UnknownPartner => "unknown-partner",
            Self::NoInterconnection => "no-interconnection",
            Self::UnknownTargetUser => "unknown-target-user",
            Self::UnknownGroup => "unknown-group",
            Self::NotGroupHome => "not-group-home",
            Self::InvalidData => "invalid-data",
            Self::StaleRevision => "stale-revision",
            Self::Conflict => "conflict",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Busy => "busy",
            Self::Internal => "internal",
        }
    }

    /// Whether the request took effect, for some at least.
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Ok | Self::OkPartial | Self::Received)
    }

    /// Whether the same request may work later: whoever is refused so asks again.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Busy | Self::Internal)
    }
}

/// What an ACM server answers at once.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub enum Answer {
    /// It is durable here (`GRP-4b`).
    Stored,
    /// It is durable here and a person must look.
    Pending,
    /// It is decided.
    Decided(Box<Response>),
    /// It is not taken, and nothing was stored.
    Refused(Refusal),
    /// The credential is no peer system's, or another's than the request is from. Nothing is said about the request:
    /// it is sent again when the operators have mended that.
    NotAuthenticated,
}

/// Names of elements, or identities: those that a result is about. Identities are personal data, so that no more than
/// their number prints.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct ElementNames(pub Vec<String>);

impl std::ops::Deref for ElementNames {
    type Target = Vec<String>;

    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}

impl fmt::Debug for ElementNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ElementNames({})", self.0.len())
    }
}

impl FromIterator<String> for ElementNames {
    /// Takes the first [`ELEMENTS_MAX`].
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(names.into_iter().take(ELEMENTS_MAX).collect())
    }
}

/// Why a request is not taken.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{text}")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Refusal {
    /// The result that it comes to.
    pub code: ResultCode,
    /// For people: what is wrong and what to do.
    pub text: String,
    /// The elements or identities that are wrong, at most [`ELEMENTS_MAX`].
    pub elements: ElementNames,
}

impl Refusal {
    /// Refuses, naming nothing.
    pub fn new(code: ResultCode, text: &str) -> Self {
        Self { code, text: text.to_owned(), elements: ElementNames::default() }
    }

    /// Refuses because of `elements`, the first of which are named.
    pub fn of<T: fmt::Display>(
        code: ResultCode,
        text: &str,
        elements: impl IntoIterator<Item = T>,
    ) -> Self {
        let elements = elements.into_iter().map(|it| it.to_string()).collect();
        Self { code, text: text.to_owned(), elements }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;

    impl Entropy for Ones {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0xff);
        }
    }

    #[test]
    fn a_transaction_id_is_a_uuid_of_version_4() {
        let id = TransactionId::draw(&mut Ones);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in
            ["", "ffffffff-ffff-4fff-bfff-fffffffffff", "fffffffffffff-4fff-bfff-ffffffffffff"]
        {
            assert_eq!(wrong.parse::<TransactionId>(), Err(InvalidTransactionId), "{wrong}");
        }
    }

    #[test]
    fn results_have_names_with_hyphens_on_the_wire() {
        for (code, name) in [
            (ResultCode::Ok, "\"ok\""),
            (ResultCode::OkPartial, "\"ok-partial\""),
            (ResultCode::NotGroupHome, "\"not-group-home\""),
            (ResultCode::UnknownTargetUser, "\"unknown-target-user\""),
        ] {
            assert_eq!(serde_json::to_string(&code).unwrap(), name);
            assert_eq!(name.trim_matches('"'), code.as_str());
        }
    }
}
