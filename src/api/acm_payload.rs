//! What an ACM transaction is about: the contents of TS 23.280 clause 10.17 and TR 23.700-38, and how the digest
//! of one is computed.
//!
//! **Digest.** SHA-256 over fields in a fixed order. Each field is its length in octets as 64 bits, most significant
//! octet first, and then its octets. Texts are UTF-8, in the canonical form of their type; a number is a field of
//! eight octets, most significant first; an optional field is a count of 0 or 1 and then the field; a list is its
//! count and then its elements; a configuration is its revision, its SIP core addresses in text form, and its
//! document as it renders. No serializer has a part in it, so that another implementation can compute the same.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::connection_details::SystemConfiguration;
use crate::{
    identity::{FunctionalAlias, McServiceGroupId, McServiceId},
    step::{Part, Step},
};

/// Users that one transaction names at most.
pub const USERS_MAX: usize = 100_000;
/// Groups that one transaction names at most.
pub const GROUPS_MAX: usize = 10_000;
/// Octets of one payload at most, as its digest counts them: so many users with names of usual length, and a
/// configuration.
pub const PAYLOAD_OCTETS_MAX: u64 = 16 * 1_024 * 1_024;

/// What kind of transaction it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub enum Kind {
    /// Initial configuration for whoever migrates to the system that sends it (XCFG).
    Configuration,
    /// Interconnection groups at home in the system that sends them (GRP).
    Groups,
    /// The initial configuration of users of the system that sends it (UPD).
    Update,
    /// Users of the system that sends them who may migrate (TS 23.280 10.17.5.2).
    AddUsers,
    /// Users of the system that sends them who may no longer migrate (TS 23.280 10.17.5.3).
    RemoveUsers,
    /// Interconnection groups that are no more (extension): nobody has to decide.
    GroupsWithdrawn,
    /// Please send your initial configuration (extension, requirement R-5.16.4-004).
    PleaseSend,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Configuration,
        Self::Groups,
        Self::Update,
        Self::AddUsers,
        Self::RemoveUsers,
        Self::GroupsWithdrawn,
        Self::PleaseSend,
    ];

    /// Its name on the wire and in stored keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Groups => "groups",
            Self::Update => "update",
            Self::AddUsers => "add-users",
            Self::RemoveUsers => "remove-users",
            Self::GroupsWithdrawn => "groups-withdrawn",
            Self::PleaseSend => "please-send",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether a request of this kind must name the user or the alias that it is for.
    pub const fn needs_target(self) -> bool {
        match self {
            Self::Groups | Self::Update | Self::AddUsers | Self::RemoveUsers => true,
            Self::Configuration | Self::GroupsWithdrawn | Self::PleaseSend => false,
        }
    }

    /// A step of the procedure of this kind, where it has one: `xcfg`, `grp` or `upd`.
    pub fn step(self, xcfg: u8, (grp, part): (u8, Option<Part>), upd: u8) -> Option<Step> {
        let step = match self {
            Self::Configuration => Step::xcfg(xcfg),
            Self::Groups => Step::grp(grp, part),
            Self::Update => Step::upd(upd),
            Self::AddUsers | Self::RemoveUsers | Self::GroupsWithdrawn | Self::PleaseSend => {
                return None;
            }
        };
        (step.number > 0).then_some(step)
    }
}

/// What a transaction is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub enum Payload {
    /// XCFG: how UEs reach the system that sends it.
    Configuration(SystemConfiguration),
    /// GRP.
    Groups(Vec<McServiceGroupId>),
    /// UPD.
    Update {
        /// The users that the configuration is for, of the system that sends it.
        users: Vec<McServiceId>,
        /// The configuration under which they shall be served in the system that gets it.
        configuration: SystemConfiguration,
    },
    /// Users who may migrate.
    AddUsers {
        /// The users.
        users: Vec<McServiceId>,
        /// The configuration under which they shall be served.
        #[serde(default)]
        configuration: Option<SystemConfiguration>,
    },
    /// Users who may no longer migrate.
    RemoveUsers {
        /// The users.
        users: Vec<McServiceId>,
    },
    /// Groups that are no more.
    GroupsWithdrawn(Vec<McServiceGroupId>),
    /// Please send.
    PleaseSend,
}

impl Payload {
    /// What kind it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Configuration(_) => Kind::Configuration,
            Self::Groups(_) => Kind::Groups,
            Self::Update { .. } => Kind::Update,
            Self::AddUsers { .. } => Kind::AddUsers,
            Self::RemoveUsers { .. } => Kind::RemoveUsers,
            Self::GroupsWithdrawn(_) => Kind::GroupsWithdrawn,
            Self::PleaseSend => Kind::PleaseSend,
        }
    }

    /// The configuration in it.
    pub const fn configuration(&self) -> Option<&SystemConfiguration> {
        match self {
            Self::Configuration(configuration) | Self::Update { configuration, .. } => {
                Some(configuration)
            }
            Self::AddUsers { configuration, .. } => configuration.as_ref(),
            Self::Groups(_)
            | Self::RemoveUsers { .. }
            | Self::GroupsWithdrawn(_)
            | Self::PleaseSend => None,
        }
    }

    /// The users in it.
    pub fn users(&self) -> &[McServiceId] {
        match self {
            Self::Update { users, .. }
            | Self::AddUsers { users, .. }
            | Self::RemoveUsers { users } => users,
            Self::Configuration(_)
            | Self::Groups(_)
            | Self::GroupsWithdrawn(_)
            | Self::PleaseSend => &[],
        }
    }

    /// The groups in it.
    pub fn groups(&self) -> &[McServiceGroupId] {
        match self {
            Self::Groups(groups) | Self::GroupsWithdrawn(groups) => groups,
            Self::Configuration(_)
            | Self::Update { .. }
            | Self::AddUsers { .. }
            | Self::RemoveUsers { .. }
            | Self::PleaseSend => &[],
        }
    }

    /// For the eyes of a person: secrets of a configuration are masked.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        let configuration = match &mut masked {
            Self::Configuration(configuration) | Self::Update { configuration, .. } => {
                Some(configuration)
            }
            Self::AddUsers { configuration, .. } => configuration.as_mut(),
            Self::Groups(_)
            | Self::RemoveUsers { .. }
            | Self::GroupsWithdrawn(_)
            | Self::PleaseSend => None,
        };
        if let Some(configuration) = configuration {
            configuration.document = configuration.document.masked().into();
        }
        masked
    }
}

/// Who a request is from and for, beside its originator: MC service IDs and functional aliases. A target ID routes
/// the request; an alias beside it is information.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Parties {
    /// The functional alias of the requester, whose MC service ID is the originator of the envelope.
    #[serde(default)]
    pub requester_alias: Option<FunctionalAlias>,
    /// The MC service ID of the user of the partner that the request is for.
    #[serde(default)]
    pub target_id: Option<McServiceId>,
    /// The functional alias in the partner that the request is for.
    #[serde(default)]
    pub target_alias: Option<FunctionalAlias>,
}

/// The SHA-256 of what a request says. It is as secret as what it is computed from.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ContentDigest([u8; 32]);

/// What is measured on the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Measured {
    /// The digest.
    pub digest: ContentDigest,
    /// The octets that it is computed from.
    pub octets: u64,
}

impl ContentDigest {
    /// Computes the digest of a request, and how long what it is computed from is.
    pub fn of(
        originator: &McServiceId,
        parties: &Parties,
        revision: u64,
        payload: &Payload,
    ) -> Measured {
        let mut canonical = Canonical::default();
        canonical.text(payload.kind().as_str());
        canonical.text(originator.as_str());
        let Parties { requester_alias, target_id, target_alias } = parties;
        canonical.optional(requester_alias.as_ref().map(FunctionalAlias::as_str));
        canonical.optional(target_id.as_ref().map(McServiceId::as_str));
        canonical.optional(target_alias.as_ref().map(FunctionalAlias::as_str));
        canonical.number(revision);
        canonical.list(payload.users().iter().map(McServiceId::as_str));
        canonical.list(payload.groups().iter().map(McServiceGroupId::as_str));
        canonical.number(payload.configuration().is_some().into());
        if let Some(configuration) = payload.configuration() {
            canonical.configuration(configuration);
        }
        let Canonical { hash, octets } = canonical;
        Measured { digest: Self(hash.finalize().into()), octets }
    }

    fn to_hex(self) -> String {
        crate::secret::Secret::new(self.0).to_hex().to_string()
    }

    fn from_hex(text: &str) -> Option<Self> {
        crate::secret::Secret::from_hex(text).map(|secret| Self(*secret.expose()))
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentDigest(..)")
    }
}

impl Serialize for ContentDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_hex())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ContentDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 32]>::deserialize(deserializer).map(Self);
        }
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| D::Error::custom("is not 64 hexadecimal digits"))
    }
}

/// Fields with their lengths in front.
#[derive(Default)]
struct Canonical {
    hash: Sha256,
    octets: u64,
}

impl Canonical {
    fn field(&mut self, octets: &[u8]) {
        let length = octets.len() as u64;
        self.hash.update(length.to_be_bytes());
        self.hash.update(octets);
        self.octets = self.octets.saturating_add(8).saturating_add(length);
    }

    fn text(&mut self, text: &str) {
        self.field(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.field(&number.to_be_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.list(text.into_iter());
    }

    fn list<'a>(&mut self, texts: impl Iterator<Item = &'a str> + Clone) {
        self.number(texts.clone().count() as u64);
        texts.for_each(|text| self.text(text));
    }

    fn configuration(&mut self, configuration: &SystemConfiguration) {
        let SystemConfiguration { revision, sip_core, document } = configuration;
        self.number(*revision);
        let addresses: Vec<String> = sip_core.iter().map(ToString::to_string).collect();
        self.list(addresses.iter().map(String::as_str));
        self.text(&Zeroizing::new(document.render()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> McServiceId {
        McServiceId::parse(&format!("sip:{text}@a.example")).unwrap()
    }

    #[test]
    fn the_digest_tells_every_part_of_a_request_apart() {
        let parties = Parties { target_id: Some(name("bob")), ..Parties::default() };
        let users = Payload::RemoveUsers { users: vec![name("carol"), name("dave")] };
        let of = |originator, parties: &Parties, revision, payload: &Payload| {
            ContentDigest::of(&name(originator), parties, revision, payload).digest
        };
        let first = of("alice", &parties, 1, &users);
        assert_eq!(first, of("alice", &parties, 1, &users));
        let other = Payload::RemoveUsers { users: vec![name("dave"), name("carol")] };
        let added =
            Payload::AddUsers { users: vec![name("carol"), name("dave")], configuration: None };
        for (what, digest) in [
            ("originator", of("bob", &parties, 1, &users)),
            ("target", of("alice", &Parties::default(), 1, &users)),
            ("revision", of("alice", &parties, 2, &users)),
            ("order of users", of("alice", &parties, 1, &other)),
            ("kind", of("alice", &parties, 1, &added)),
        ] {
            assert!(first != digest, "{what}");
        }
    }

    #[test]
    fn the_digest_is_that_of_the_documented_encoding() {
        let digest = ContentDigest::of(&name("a"), &Parties::default(), 7, &Payload::PleaseSend);
        let mut octets = Vec::new();
        let mut field = |value: &[u8]| {
            octets.extend_from_slice(&(value.len() as u64).to_be_bytes());
            octets.extend_from_slice(value);
        };
        field(b"please-send");
        field(b"sip:a@a.example");
        for number in [0_u64, 0, 0, 7, 0, 0, 0] {
            field(&number.to_be_bytes());
        }
        let wanted: [u8; 32] = Sha256::digest(&octets).into();
        assert_eq!(digest, Measured { digest: ContentDigest(wanted), octets: octets.len() as u64 });
    }
}
