//! The functional alias controlling server of an MC system: who has which alias activated.
//!
//! Source: 3GPP TS 23.280 clauses 8.1.5 and 10.13. A small one: there are no profiles that say who may activate what,
//! and no SIP towards clients; an operator speaks for them. It is there so that the ACM server of the same system finds
//! whom a request for an alias goes to (10.17.6, step 4).
//!
//! **Order of commits.** Changes are made one after the other, by whoever holds `active`. Every message waits for the
//! latest commit of this role (`latest`), and so for all that it may disclose.

mod active;
mod list;
mod load;
mod stored;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::stored::StoredRecord;

use self::active::Active;
use crate::{
    api::{
        alias_management::{Answer, Refusal, Request},
        functional_alias::{ACTIVATIONS_MAX, ALIASES_MAX, Change, Event, HOLDERS_MAX},
    },
    outbox::{AcmMessage, Context, Message, ReplyTo},
    store::{CommitSeq, Mark, Mutation},
};

/// How a functional alias controlling server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The domains of this system's users, in lower case.
    pub domains: Vec<String>,
    /// See [`HOLDERS_MAX`].
    pub holders_max: usize,
    /// See [`ALIASES_MAX`].
    pub aliases_max: usize,
    /// See [`ACTIVATIONS_MAX`].
    pub activations_max: usize,
}

impl Config {
    /// The controlling server of a system with this domain, all else as usual.
    pub fn new(domain: &str) -> Self {
        Self {
            domains: vec![domain.to_ascii_lowercase()],
            holders_max: HOLDERS_MAX,
            aliases_max: ALIASES_MAX,
            activations_max: ACTIVATIONS_MAX,
        }
    }
}

/// The functional alias controlling server role. Shared by all workers.
#[derive(Debug)]
pub struct AliasServer {
    config: Config,
    active: Mutex<Active>,
    /// The latest commit.
    latest: Mark,
}

impl AliasServer {
    /// Creates a server with which no alias is active.
    pub fn new(config: Config) -> Self {
        Self { config, active: Mutex::default(), latest: Mark::default() }
    }

    /// Answers a management request.
    pub fn handle_management(&self, ctx: &mut Context<'_>, to: ReplyTo, request: Request) {
        let active = &mut self.active();
        let answer = match request {
            Request::Activate(activation) => self.activate(ctx, active, activation, false),
            Request::TakeOver(activation) => self.activate(ctx, active, activation, true),
            Request::Deactivate { alias, user } => self.deactivate(ctx, active, alias, user),
            Request::List { after, limit } => active.page(after.as_ref(), limit),
        };
        let answer = answer.unwrap_or_else(Answer::Refused);
        self.send(ctx, AcmMessage::Aliases { to, answer });
    }

    /// The ACM server of this system subscribes: it is told what is active, and from now on every change.
    pub fn handle_subscription(&self, ctx: &mut Context<'_>) {
        let active = &mut self.active();
        active.is_subscribed = true;
        let event = Event::Up { number: active.latest_change.as_u64(), active: active.holders() };
        self.send(ctx, AcmMessage::AliasEvent(event));
    }

    /// Makes changes durable, together.
    fn commit(
        &self,
        ctx: &mut Context<'_>,
        mutations: impl IntoIterator<Item = Mutation>,
    ) -> Result<CommitSeq, Refusal> {
        if !ctx.out.storage_available() {
            return Err(Refusal::Unavailable);
        }
        let seq = ctx.out.commit(mutations);
        self.latest.raise(seq);
        Ok(seq)
    }

    /// Tells who subscribed of the change that commit `seq` made.
    fn tell(&self, ctx: &mut Context<'_>, active: &mut Active, seq: CommitSeq, change: Change) {
        let follows = std::mem::replace(&mut active.latest_change, seq).as_u64();
        if active.is_subscribed {
            let event = Event::Changed { number: seq.as_u64(), follows, change };
            self.send(ctx, AcmMessage::AliasEvent(event));
        }
    }

    /// Sends what relies on nothing newer than the latest commit.
    fn send(&self, ctx: &mut Context<'_>, message: AcmMessage) {
        ctx.out.send_after(self.latest.get(), None, Message::Acm(message));
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
