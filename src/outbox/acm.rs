//! The messages of an ACM server, and of the functional alias controlling server beside it.

use super::{ReplyTo, RequestId, Undeliverable};
use crate::{
    api::{
        acm_client, acm_interconnection, acm_management, alias_management,
        connection_details::SystemConfiguration, functional_alias,
    },
    identity::{McServiceId, McSystemId},
};

/// A message of or to an ACM server, or of the functional alias controlling server of the same system, addressed.
#[derive(Debug)]
pub enum AcmMessage {
    /// To the ACM server of another system.
    Request {
        /// Which system.
        to: McSystemId,
        /// Under which name the answer comes back.
        id: RequestId,
        /// The request.
        request: acm_interconnection::Request,
    },
    /// The answer to the ACM server of another system.
    Answer {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: acm_interconnection::Answer,
    },
    /// The answer to an ACM client.
    Client {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: acm_client::Answer,
    },
    /// Tells a client that is logged on; lost if it is not connected: it asks when it is.
    Notification {
        /// Which log-on.
        session: acm_client::SessionId,
        /// Of which user.
        user: McServiceId,
        /// What it is told.
        notification: acm_client::Notification,
    },
    /// The answer to a management request.
    Management {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: acm_management::Answer,
    },
    /// The configuration server of this system asks what one of its users migrates to a partner with.
    UserConfigurationRequest {
        /// Under which name the answer comes back.
        id: RequestId,
        /// The partner.
        partner: McSystemId,
        /// The user.
        user: McServiceId,
    },
    /// The answer to it.
    UserConfiguration(UserConfigurationReply),
    /// Asks the functional alias controlling server of this system for its feed: everything that is active, and
    /// then every change.
    SubscribeAliases,
    /// The functional alias controlling server tells the ACM server of this system.
    AliasEvent(functional_alias::Event),
    /// The answer to a management request of the functional alias controlling server.
    Aliases {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: alias_management::Answer,
    },
}

/// The answer to an [`AcmMessage::UserConfigurationRequest`].
#[derive(Clone, Debug)]
pub struct UserConfigurationReply {
    /// The name of the request.
    pub id: RequestId,
    /// What the partner has confirmed for this user, if anything; or that it cannot be told now.
    pub outcome: Result<Option<Box<SystemConfiguration>>, Undeliverable>,
}

/// The answer to an [`AcmMessage::Request`].
#[derive(Clone, Debug)]
pub struct AcmReply {
    /// The name of the request.
    pub id: RequestId,
    /// The answer, or that none can be had. What is no answer of the interface, such as a 500, is none.
    pub outcome: Result<acm_interconnection::Answer, Undeliverable>,
}
