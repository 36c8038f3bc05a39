//! ACM client to the ACM server of its own system (TS 23.280 clauses 10.17.2 and 10.17.3): log-on and log-off, what is
//! pending, decisions, responses, and requests of one's own.
//!
//! Who acts is the user whose credential it is, never one that a body names.

use serde::{Deserialize, Serialize};

use super::{
    acm_interconnection::{
        ElementNames, Refusal, Response, ResultCode, TransactionId, TransactionKey,
    },
    acm_payload::{Kind, Parties, Payload},
};
use crate::{
    identity::{FunctionalAlias, McServiceGroupId, McServiceId, McSystemId},
    time::Timestamp,
};

/// Items of one page at most.
pub const PAGE_ITEMS_MAX: usize = 1_000;
/// Changes of a transaction that are kept.
pub const HISTORY_MAX: usize = 32;

/// What is said of a transaction that is not known, or that the user may not know of.
pub const NO_SUCH_TRANSACTION: &str = "there is no such transaction";

/// What is said of a log-on that is not one of the user.
pub const NO_SUCH_LOG_ON: &str = "there is no such log-on of this user";

/// What is said to who acknowledges a response that is not here.
pub const NO_RESPONSE_YET: &str = "there is no response yet";

/// A log-on of a client. It is no credential.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct SessionId(pub u64);

/// A request of a client.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Logs on (`XCFG-6`, `XCFG-14`, `GRP-6`, `GRP-12`): from now on the client is told what is pending.
    LogOn,
    /// Logs off (`GRP-5`).
    LogOff {
        /// The log-on that ends.
        session: SessionId,
    },
    /// Asks what is pending (`XCFG-8`, `XCFG-16`, `GRP-7b`, `GRP-13b`).
    List {
        /// The number of the last item of the page before.
        after: Option<u64>,
        /// Items at most, up to [`PAGE_ITEMS_MAX`].
        limit: usize,
    },
    /// Asks for one item (`XCFG-9`, `XCFG-17`, `GRP-8`, `GRP-14`, `UPD-5`, `UPD-10`). It stays pending.
    Fetch(TransactionKey),
    /// Decides a request of a partner (`XCFG-11`, `GRP-9`, `UPD-7`).
    Decide {
        /// The request.
        item: TransactionKey,
        /// The decision.
        decision: Decision,
        /// The functional alias under which the user decides.
        alias: Option<FunctionalAlias>,
    },
    /// The response to a request of one's own has been read.
    Acknowledge(TransactionKey),
    /// Begins a transaction (`XCFG-1`, `GRP-1`, `UPD-1`).
    Send(Box<Begin>),
    /// Asks how a transaction of this system stands.
    Follow(TransactionId),
    /// Takes a request back.
    Cancel(TransactionId),
    /// Asks which interconnection groups are known.
    ListGroups {
        /// Those at home in this system; without it those of the system asked.
        home: Option<McSystemId>,
        /// The last of the page before.
        after: Option<McServiceGroupId>,
        /// Groups at most, up to [`PAGE_ITEMS_MAX`].
        limit: usize,
    },
    /// Says that an interconnection group is at home here.
    PutGroup(McServiceGroupId),
    /// Says that an interconnection group is no more. Partners who have been offered it are told.
    WithdrawGroup(McServiceGroupId),
}

/// A transaction to begin.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Begin {
    /// Its name, drawn by the client, so that a repeated request begins no second one. Without it the server draws.
    #[serde(default)]
    pub transaction: Option<TransactionId>,
    /// The partner.
    pub destination: McSystemId,
    /// Who it is from and for, beside the user whose credential it is.
    #[serde(default)]
    pub parties: Parties,
    /// What it is about.
    pub payload: Payload,
    /// Until when it has to be decided; without it as long as is usual here.
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// What a person decided.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub enum Decision {
    /// Yes. Of groups: seen.
    Accept,
    /// No.
    Reject {
        /// For whoever asked, at most [`super::acm_interconnection::TEXT_OCTETS_MAX`] octets.
        reason: Option<String>,
    },
}

/// An answer to a client.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done; nothing to tell.
    Done,
    /// The client is logged on.
    LoggedOn(SessionId),
    /// What is pending.
    Page(Page),
    /// One item.
    Item(Box<Item>),
    /// The decision is the first and holds. Without a result it is being put in force.
    Decided(Option<ResultCode>),
    /// Somebody or something decided before. Without a response that decision is being put in force.
    AlreadyDecided(Option<Box<Response>>),
    /// The transaction has begun.
    Begun(TransactionId),
    /// Interconnection groups.
    Groups(GroupPage),
    /// How a transaction stands.
    Progress(Box<Progress>),
    /// It did not work; nothing changed.
    Refused(Refusal),
    /// The credential is no user's.
    NotAuthenticated,
}

/// Some of the interconnection groups of one system, in their order.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct GroupPage {
    /// The groups.
    pub items: Vec<GroupState>,
    /// What to go on after, if there is more.
    pub next: Option<McServiceGroupId>,
}

/// An interconnection group, as far as it is known.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct GroupState {
    /// The group.
    pub group: McServiceGroupId,
    /// Whether it is no more.
    pub withdrawn: bool,
}

/// Some of what is pending for a user, oldest first.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Page {
    /// The items.
    pub items: Vec<Summary>,
    /// What to go on after, if there is more.
    pub next: Option<u64>,
}

/// A pending item in a list: nothing of what it is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Summary {
    /// Its number in lists: later items have higher ones.
    pub number: u64,
    /// The transaction.
    pub key: TransactionKey,
    /// Its kind.
    pub kind: Kind,
    /// The other system.
    pub partner: McSystemId,
    /// The user who began it.
    pub originator: McServiceId,
    /// When it began.
    pub created: Timestamp,
    /// Until when it has to be decided.
    pub expires: Timestamp,
    /// Its revision.
    pub revision: u64,
    /// How it stands.
    pub state: State,
    /// The result, of a response.
    pub result: Option<ResultCode>,
}

/// A pending item. Secrets in it are masked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Item {
    /// As in the list.
    pub summary: Summary,
    /// Who it is from and for.
    pub parties: Parties,
    /// What it is about, masked; a response may outlive it.
    pub payload: Option<Payload>,
    /// The elements that differ from what is in force.
    pub differing: ElementNames,
    /// Those of its groups that are no more.
    pub withdrawn: Vec<McServiceGroupId>,
    /// The response.
    pub response: Option<Response>,
}

/// How a transaction stands, at the side that began it or at the other one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub enum State {
    /// Begun by a user who may; on its way to the partner.
    Authorised,
    /// On its way; the partner cannot be reached and is tried again.
    Retrying,
    /// Durable at the partner.
    Sent,
    /// A person of the partner must look.
    PendingAtPartner,
    /// Taken back by the requester, which the partner does not know yet.
    Cancelling,
    /// The response is here and has not been read.
    Responded,
    /// The response has been fetched.
    Delivered,
    /// The response has been read.
    Closed,

    /// Of a partner: durable, being assessed.
    Stored,
    /// Of a partner: a user who is logged on has it.
    Assigned,
    /// Of a partner: nobody who could decide is logged on.
    WaitingForLogon,
    /// Of a partner: the alias that it is for is active nowhere.
    WaitingForAlias,
    /// Of a partner: somebody has looked at it.
    Fetched,
    /// Of a partner: decided, being put in force.
    Decided,
    /// Of a partner: decided and in force, on the way back.
    ResponseSent,
    /// Of a partner: over, and the partner knows.
    ResponseAcknowledged,
    /// Of a partner: over; the partner never took the response, as long as it may still ask for it.
    ResponseUndelivered,

    /// In a history only: who fetches the response has logged on.
    LoggedOn,
    /// In a history only: who fetches the response has been told that one is pending.
    Notified,
    /// In a history only: somebody has asked what is pending, the response among it.
    Listed,
}

/// The life of a transaction that this system began.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Progress {
    /// As in the list.
    pub summary: Summary,
    /// What happened, oldest first; at most [`HISTORY_MAX`], the first ones.
    pub history: Vec<Change>,
    /// Attempts to reach the partner since the last that succeeded.
    pub attempts: u32,
    /// The response.
    pub response: Option<Response>,
}

/// A change of a transaction.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// To what.
    pub state: State,
}

/// What a logged-on client is told: pending ACM data notification (`XCFG-7`, `XCFG-15`, `GRP-7a`, `GRP-13a`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Notification {
    /// The user.
    pub mc_service_id: McServiceId,
    /// What kind is pending.
    pub kind: Kind,
    /// Whether responses to requests of this system are pending; else requests of partners.
    pub is_response: bool,
    /// How many.
    pub count: u64,
    /// The number of the last of them: a client that knows it has missed nothing.
    pub last: u64,
}
