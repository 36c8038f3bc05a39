//! Server transactions of REGISTER (RFC 3261 clause 17.2.2), one table for all workers.
//!
//! A repeated request gets its earlier answer octet for octet, or nothing while there is none yet;
//! it never reaches the registrar twice. The table also knows the way back to the UE.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use dashmap::Entry;

use crate::{
    entropy::Entropy,
    outbox::{Context, Flow, Message, Note, Role, TimerKey, TimerWhat, Transport},
    sip::{reply::ReplyHead, transaction::TransactionHasher, view::MessageView},
    step::Step,
    store::CommitSeq,
    table::{Table, new_table},
};

/// Most server transactions at a time: Timer J at 250,000 requests a second. Beyond it, 503.
pub const TRANSACTIONS_MAX: usize = 8_000_000;

/// Timer J: how long the answer to a request over UDP is kept (64 * T1).
const TIMER_J: Duration = Duration::from_secs(32);

/// When a 100 is due over UDP: after the client's Timer E has reached T2 (RFC 4320 clause 4.1).
const TRYING_DELAY: Duration = Duration::from_millis(3_500);

/// The table of server transactions.
#[derive(Debug)]
pub(super) struct Transactions {
    hasher: TransactionHasher,
    table: Table<u128, Transaction>,
    count: AtomicUsize,
}

#[derive(Debug)]
struct Transaction {
    flow: Flow,
    state: State,
}

/// The states of RFC 3261 figure 8; Trying and Proceeding are one, since only a timer tells them
/// apart, and Terminated is the absence of an entry.
#[derive(Debug)]
enum State {
    Pending(ReplyHead),
    Completed { octets: Bytes, after: CommitSeq, step: Option<Step> },
}

/// What became of a request that asked for admission.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Admission {
    /// It is new: handle it and answer it.
    New,
    /// It was seen before, or there is no room: it has been dealt with.
    Settled,
}

impl Transactions {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        Self {
            hasher: TransactionHasher::new(entropy),
            table: new_table(entropy),
            count: AtomicUsize::new(0),
        }
    }

    /// The key under which a request is known: topmost branch, sent-by and method.
    pub(super) fn key_of(&self, view: &MessageView<'_>) -> u128 {
        self.hasher.key(view)
    }

    /// Opens a transaction, or deals with a request that has one.
    pub(super) fn admit(
        &self,
        ctx: &mut Context<'_>,
        key: u128,
        flow: Flow,
        head: impl FnOnce() -> ReplyHead,
    ) -> Admission {
        if self.count.load(Ordering::Relaxed) >= TRANSACTIONS_MAX && !self.table.contains_key(&key)
        {
            ctx.out.note(Note::TableFull("transactions"));
            let octets = super::answer::RegisterError::Busy.render(&head());
            ctx.out.send_after(CommitSeq::NOTHING, None, Message::Sip { flow, octets });
            return Admission::Settled;
        }
        match self.table.entry(key) {
            Entry::Occupied(mut entry) => {
                match &entry.get().state {
                    State::Completed { octets, after, step } => {
                        let message = Message::Sip { flow, octets: octets.clone() };
                        ctx.out.send_after(relied_upon_by_a_repeat(*after), *step, message);
                    }
                    // Over another connection when the first one was lost: answer where the UE is now.
                    State::Pending(_) => entry.get_mut().flow = flow,
                }
                Admission::Settled
            }
            Entry::Vacant(entry) => {
                entry.insert(Transaction { flow, state: State::Pending(head()) });
                self.count.fetch_add(1, Ordering::Relaxed);
                if flow.transport == Transport::Udp {
                    ctx.out.arm(ctx.now + TRYING_DELAY, timer(TimerWhat::TransactionTrying(key)));
                }
                Admission::New
            }
        }
    }

    /// Whether a request known by `key` has a transaction.
    pub(super) fn contains(&self, key: u128) -> bool {
        self.table.contains_key(&key)
    }

    /// Sends the final answer, after `after` is durable, and keeps it for repeats. Does nothing if
    /// the transaction has been answered or is gone.
    pub(super) fn reply(
        &self,
        ctx: &mut Context<'_>,
        key: u128,
        after: CommitSeq,
        step: Option<Step>,
        render: impl FnOnce(&ReplyHead) -> Bytes,
    ) {
        let Some(mut transaction) = self.table.get_mut(&key) else { return };
        let State::Pending(head) = &transaction.state else { return };
        let octets = render(head);
        let flow = transaction.flow;
        transaction.state = State::Completed { octets: octets.clone(), after, step };
        drop(transaction);
        ctx.out.send_after(after, step, Message::Sip { flow, octets });
        match flow.transport {
            Transport::Udp => ctx.out.arm(ctx.now + TIMER_J, timer(TimerWhat::TransactionEnd(key))),
            Transport::Tcp => self.end(key), // Timer J is zero on a reliable transport
        }
    }

    /// Forgets a transaction (Timer J).
    pub(super) fn end(&self, key: u128) {
        if self.table.remove(&key).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Sends a 100 if there is no final answer yet.
    pub(super) fn send_trying(&self, ctx: &mut Context<'_>, key: u128) {
        let Some(transaction) = self.table.get(&key) else { return };
        if let State::Pending(head) = &transaction.state {
            let octets = head.reply(100, "Trying").finish();
            let message = Message::Sip { flow: transaction.flow, octets };
            ctx.out.send_after(CommitSeq::NOTHING, None, message);
        }
    }

    pub(super) fn clear(&self) {
        self.table.clear();
        self.count.store(0, Ordering::Relaxed);
    }
}

fn timer(what: TimerWhat) -> TimerKey {
    TimerKey { role: Role::SipCore, what, version: 0 }
}

/// A repeated answer relies on the same records as the first.
fn relied_upon_by_a_repeat(after: CommitSeq) -> CommitSeq {
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is_armed(crate::planted::Bug::RepeatIgnoresCommit) {
        return CommitSeq::NOTHING;
    }
    after
}
