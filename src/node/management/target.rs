//! What a PUT of the management interface is about, for clients that want to know before they send it
//! whether it is well-formed.

use super::{acm, configuration, database};
use crate::{
    identity::{Impi, McServiceId, McSystemId},
    node::http::{Problem, parse},
};

/// What a PUT is about. In the order in which a system is filled.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::node) enum Target {
    /// A pool, by its name.
    Pool(String),
    /// A subscriber, by its private identity.
    Subscriber(String),
    /// A subscriber with a password, by its private identity.
    DigestSubscriber(String),
    /// A user, by its MC service ID.
    User(String),
    /// What UEs are told of a system, by its MC system ID.
    SystemConfiguration(String),
    /// An agreement, by partner, direction and users.
    Agreement(String, String, String),
    /// A user of ACM clients, by its MC service ID.
    AcmUser(String),
}

impl Target {
    /// The same with identities in canonical form, so that two are equal if the system takes them for one.
    pub(in crate::node) fn canonical(&self) -> Self {
        let user = |id: &str| McServiceId::parse(id).map_or(id.to_owned(), |id| id.as_str().into());
        let system =
            |id: &str| McSystemId::parse(id).map_or(id.to_owned(), |id| id.as_str().into());
        match self {
            Self::Pool(name) => Self::Pool(name.clone()),
            Self::Subscriber(id) => {
                Self::Subscriber(Impi::parse(id).map_or(id.clone(), |id| id.as_str().into()))
            }
            Self::DigestSubscriber(id) => {
                Self::DigestSubscriber(Impi::parse(id).map_or(id.clone(), |id| id.as_str().into()))
            }
            Self::User(id) => Self::User(user(id)),
            Self::AcmUser(id) => Self::AcmUser(user(id)),
            Self::SystemConfiguration(id) => Self::SystemConfiguration(system(id)),
            Self::Agreement(partner, direction, users) => {
                let one = users.strip_prefix("user:").map(|id| format!("user:{}", user(id)));
                let users = one.unwrap_or_else(|| users.clone());
                Self::Agreement(system(partner), direction.clone(), users)
            }
        }
    }

    /// The place of its kind in the order in which a system is filled.
    pub(in crate::node) const fn kind(&self) -> u8 {
        match self {
            Self::Pool(_) => 0,
            Self::Subscriber(_) => 1,
            Self::DigestSubscriber(_) => 2,
            Self::User(_) => 3,
            Self::SystemConfiguration(_) => 4,
            Self::Agreement(..) => 5,
            Self::AcmUser(_) => 6,
        }
    }

    /// The path of the request.
    pub(in crate::node) fn path(&self) -> String {
        match self {
            Self::Pool(name) => format!("/v1/pools/{}", escape(name)),
            Self::Subscriber(impi) => format!("/v1/subscribers/{}", escape(impi)),
            Self::DigestSubscriber(impi) => format!("/v1/digest-subscribers/{}", escape(impi)),
            Self::User(id) => format!("/v1/users/{}", escape(id)),
            Self::AcmUser(id) => format!("/v1/acm/users/{}", escape(id)),
            Self::SystemConfiguration(id) => format!("/v1/system-configurations/{}", escape(id)),
            Self::Agreement(partner, direction, users) => {
                let (partner, users) = (escape(partner), escape(users));
                format!("/v1/agreements/{partner}/{}/{users}", escape(direction))
            }
        }
    }

    /// Where to send many of these by one request, if that can be.
    pub(in crate::node) const fn path_of_many(&self) -> Option<&'static str> {
        match self {
            Self::Subscriber(_) => Some("/v1/subscribers"),
            Self::User(_) => Some("/v1/users"),
            Self::Pool(_)
            | Self::DigestSubscriber(_)
            | Self::SystemConfiguration(_)
            | Self::Agreement(..)
            | Self::AcmUser(_) => None,
        }
    }

    /// Appends the line that this is in a request about many, to which `body` belongs.
    pub(in crate::node) fn append_row(&self, body: &[u8], rows: &mut Vec<u8>) {
        let (name, id, rest) = match self {
            Self::Subscriber(id) => ("impi", id, "subscriber"),
            Self::User(id) => ("mc_service_id", id, "user"),
            Self::Pool(_)
            | Self::DigestSubscriber(_)
            | Self::SystemConfiguration(_)
            | Self::Agreement(..)
            | Self::AcmUser(_) => return,
        };
        // The body is JSON of our own making, and has no line end in it.
        let id = serde_json::Value::from(id.as_str());
        rows.extend_from_slice(format!("{{\"{name}\":{id},\"{rest}\":").as_bytes());
        rows.extend_from_slice(body);
        rows.extend_from_slice(b"}\n");
    }

    /// Whether a request with this body is well-formed.
    ///
    /// # Errors
    ///
    /// What the system would answer.
    pub(in crate::node) fn validate(&self, body: &[u8]) -> Result<(), Problem> {
        match self {
            Self::Pool(name) => database::pool_request(name.clone(), parse(body)?).map(drop),
            Self::Subscriber(impi) => database::subscriber_request(impi, parse(body)?).map(drop),
            Self::DigestSubscriber(impi) => {
                // The domain is the system's: any will do to see whether the rest is well-formed.
                database::digest_subscriber_request(impi, parse(body)?, "example").map(drop)
            }
            Self::User(id) => configuration::user_request(id, parse(body)?).map(drop),
            Self::AcmUser(id) => acm::user_request(id, parse(body)?).map(drop),
            Self::SystemConfiguration(id) => {
                configuration::system_configuration_request(id, parse(body)?).map(drop)
            }
            Self::Agreement(partner, direction, users) => {
                let key = (partner.clone(), direction.clone(), users.clone());
                configuration::agreement_request(key, parse(body)?).map(drop)
            }
        }
    }
}

/// Escapes one segment of a path (RFC 3986 section 2.3).
pub(in crate::node) fn escape(segment: &str) -> String {
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~@".contains(octet);
    let escaped = segment.bytes().map(|octet| match octet {
        octet if plain(&octet) => char::from(octet).to_string(),
        octet => format!("%{octet:02X}"),
    });
    escaped.collect()
}
