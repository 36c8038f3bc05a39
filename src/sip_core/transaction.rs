//! Server transactions of REGISTER (RFC 3261 clause 17.2.2), one table for all workers.
//!
//! A repeated request gets its earlier answer octet for octet, or nothing while there is none yet;
//! it never reaches the registrar twice. The table also knows the way back to the UE.
//!
//! Transactions that are not answered yet are few, and are kept in a table of their own. Those that are answered
//! are many, for each is kept for as long as a repeat of its request may come ([`answers`]).

mod answers;
mod places;

use std::{
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    entropy::Entropy,
    outbox::{Context, Flow, Message, Note, Role, TimerKey, TimerWhat, Transport},
    patience::Patience,
    sip::{render::Chunk, reply::ReplyHead, transaction::TransactionHasher, view::MessageView},
    step::Step,
    store::CommitSeq,
    table::{Table, new_table},
    time::Timestamp,
};
use bytes::Bytes;
use dashmap::Entry;

use self::answers::{Answers, Kept};
use super::{ToTag, originating::Whence};

/// Most server transactions at a time: Timer J at 250,000 requests a second. Beyond it, 503.
pub const TRANSACTIONS_MAX: usize = 8_000_000;

/// Timer J: how long the answer to a request over UDP is kept (64 * T1).
const TIMER_J: Duration = Duration::from_secs(32);

/// When a 100 is due over UDP: after the client's Timer E has reached T2 (RFC 4320 clause 4.1).
const TRYING_DELAY: Duration = Duration::from_millis(3_500);

/// Shards of the answered transactions.
const SHARDS: usize = 64;

/// How often ended transactions are looked for while none begins.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// Blocks of ended transactions that a new one removes at most.
const ENDS_PER_REPLY: usize = 1;

/// Blocks of ended transactions of one shard that a timer call removes at most, and when the next call comes if there
/// are more.
const ENDS_PER_SWEEP: usize = 16;
const SWEEP_GOES_ON_AFTER: Duration = Duration::from_millis(20);

/// The table of server transactions.
#[derive(Debug)]
pub(super) struct Transactions {
    hasher: TransactionHasher,
    /// Those without a final answer: the state Trying, or Proceeding, of RFC 3261 figure 8.
    pending: Table<u128, Pending>,
    /// Those over UDP that get a 100 if it takes longer.
    trying: Patience<u128>,
    /// The state Completed, by the low bits of the key.
    answered: Box<[Shard]>,
    count: AtomicUsize,
    /// Whether a timer comes that looks for ended transactions.
    is_swept: AtomicBool,
}

#[derive(Debug)]
struct Pending {
    flow: Flow,
    /// Where the request came from.
    source: SocketAddr,
    tag: ToTag,
    head: ReplyHead,
    /// Its number in `trying`; zero if it is not there.
    trying: u64,
}

/// One shard, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Answers>);

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
            pending: new_table(entropy),
            trying: Patience::new(TRYING_DELAY),
            answered: (0..SHARDS).map(|_| Shard::default()).collect(),
            count: AtomicUsize::new(0),
            is_swept: AtomicBool::new(false),
        }
    }

    /// The key under which a request is known: topmost branch, sent-by and method.
    pub(super) fn key_of(&self, view: &MessageView<'_>) -> u128 {
        self.hasher.key(view)
    }

    /// The key of a text of a request: see [`TransactionHasher::key_of_text`].
    pub(super) fn key_of_text(&self, text: &str) -> u128 {
        self.hasher.key_of_text(text)
    }

    /// Opens a transaction, or deals with a request that has one.
    pub(super) fn admit(
        &self,
        ctx: &mut Context<'_>,
        key: u128,
        flow: Flow,
        (view, source): (&MessageView<'_>, SocketAddr),
    ) -> Admission {
        // Locked for as long as it takes to find out, or an answer could come in between.
        match self.pending.entry(key) {
            // Over another connection when the first one was lost: answer where the UE is now.
            Entry::Occupied(mut entry) => {
                entry.get_mut().flow = flow;
                entry.get_mut().source = source;
            }
            Entry::Vacant(entry) => {
                if let Some(kept) = self.shard(key).find(key, ctx.now) {
                    let parts = &mut ctx.out.parts;
                    let head = ReplyHead::new_in(parts, view, source, kept.tag.as_str());
                    let messages = &mut ctx.out.messages;
                    let octets = head.complete_in(messages, kept.status_line, kept.fields);
                    let (after, step) = (relied_upon_by_a_repeat(kept.after), kept.step);
                    ctx.out.send_after(after, step, Message::Sip { flow, octets });
                    return Admission::Settled;
                }
                let tag = ToTag::draw(ctx.entropy);
                let head = ReplyHead::new_in(&mut ctx.out.parts, view, source, tag.as_str());
                if self.count.fetch_add(1, Ordering::Relaxed) < TRANSACTIONS_MAX {
                    let trying = self.await_trying(ctx, key, flow.transport);
                    entry.insert(Pending { flow, source, tag, head, trying });
                    return Admission::New;
                }
                self.count.fetch_sub(1, Ordering::Relaxed);
                refuse(ctx, flow, &head);
            }
        }
        Admission::Settled
    }

    /// Where a request comes from that is not answered yet.
    pub(super) fn whence(&self, key: u128) -> Option<Whence> {
        self.pending.get(&key).map(|pending| Whence::of(pending.flow, pending.source))
    }

    /// Whether a request known by `key` has a transaction.
    pub(super) fn contains(&self, key: u128, now: Timestamp) -> bool {
        self.pending.contains_key(&key) || self.shard(key).find(key, now).is_some()
    }

    /// Sends the final answer, after `after` is durable, and keeps it for repeats. Does nothing if
    /// the transaction has been answered or is gone.
    pub(super) fn reply(
        &self,
        ctx: &mut Context<'_>,
        key: u128,
        after: CommitSeq,
        step: Option<Step>,
        render: impl FnOnce(&ReplyHead, &mut Chunk) -> Bytes,
    ) {
        let Entry::Occupied(pending) = self.pending.entry(key) else { return };
        let octets = render(&pending.get().head, &mut ctx.out.messages);
        let Pending { flow, tag, head, .. } = pending.get();
        let flow = *flow;
        match flow.transport {
            Transport::Udp => {
                let (status_line, fields) = head.added_to(&octets);
                let kept = Kept { tag: *tag, after, step, status_line, fields };
                let mut shard = self.shard(key);
                let removed = shard.remove_ended(ctx.now, ENDS_PER_REPLY);
                shard.push(key, ctx.now + TIMER_J, &kept);
                drop(shard);
                self.count.fetch_sub(removed, Ordering::Relaxed);
                self.sweep_after(ctx, SWEEP_PAUSE + TIMER_J);
            }
            // Timer J is zero on a reliable transport.
            Transport::Tcp | Transport::Tls => drop(self.count.fetch_sub(1, Ordering::Relaxed)),
        }
        let Pending { trying, .. } = pending.remove();
        self.trying.take(trying);
        ctx.out.send_after(after, step, Message::Sip { flow, octets });
    }

    /// Forgets a request that gets no answer.
    pub(super) fn ignore(&self, key: u128) {
        if let Some((_, Pending { trying, .. })) = self.pending.remove(&key) {
            self.trying.take(trying);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets transactions that are over (Timer J).
    pub(super) fn end_answered(&self, ctx: &mut Context<'_>) {
        let (mut removed, mut has_more, mut is_empty) = (0, false, true);
        for shard in &self.answered {
            let mut shard = shard.lock();
            removed += shard.remove_ended(ctx.now, ENDS_PER_SWEEP);
            has_more |= shard.has_ended(ctx.now);
            is_empty &= shard.is_empty();
        }
        self.count.fetch_sub(removed, Ordering::Relaxed);
        self.is_swept.store(false, Ordering::SeqCst);
        if has_more {
            self.sweep_after(ctx, SWEEP_GOES_ON_AFTER);
        } else if !is_empty {
            self.sweep_after(ctx, SWEEP_PAUSE);
        }
    }

    /// Sends a 100 to those who have waited long for a final answer.
    pub(super) fn send_trying(&self, ctx: &mut Context<'_>) {
        let (due, timer) = self.trying.take_due(ctx.now);
        for (_, key) in due {
            let Some(pending) = self.pending.get(&key) else { continue };
            let octets = pending.head.reply(100, "Trying").finish();
            let message = Message::Sip { flow: pending.flow, octets };
            drop(pending);
            ctx.out.send_after(CommitSeq::NOTHING, None, message);
        }
        if let Some(at) = timer {
            ctx.out.arm(at, TRYING_TIMER);
        }
    }

    pub(super) fn clear(&self) {
        self.pending.clear();
        self.trying.clear();
        for shard in &self.answered {
            *shard.lock() = Answers::default();
        }
        self.count.store(0, Ordering::Relaxed);
    }

    /// Asks for a 100 in good time; returns the number to take that back with.
    fn await_trying(&self, ctx: &mut Context<'_>, key: u128, transport: Transport) -> u64 {
        if transport != Transport::Udp {
            return 0;
        }
        let (number, timer) = self.trying.add(ctx.now, key);
        if let Some(at) = timer {
            ctx.out.arm(at, TRYING_TIMER);
        }
        number
    }

    /// Has ended transactions looked for, unless they are already.
    fn sweep_after(&self, ctx: &mut Context<'_>, pause: Duration) {
        if !self.is_swept.load(Ordering::SeqCst) && !self.is_swept.swap(true, Ordering::SeqCst) {
            ctx.out.arm(ctx.now + pause, END_TIMER);
        }
    }

    fn shard(&self, key: u128) -> MutexGuard<'_, Answers> {
        let number = (key % SHARDS as u128) as usize;
        #[expect(clippy::expect_used, reason = "there are so many shards")]
        self.answered.get(number).expect("a shard").lock()
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is no room for one more transaction.
fn refuse(ctx: &mut Context<'_>, flow: Flow, head: &ReplyHead) {
    ctx.out.note(Note::TableFull("transactions"));
    let octets = super::answer::RegisterError::Busy.render(head, &mut ctx.out.messages);
    ctx.out.send_after(CommitSeq::NOTHING, None, Message::Sip { flow, octets });
}

const TRYING_TIMER: TimerKey =
    TimerKey { role: Role::SipCore, what: TimerWhat::TransactionsTrying, version: 0 };

const END_TIMER: TimerKey =
    TimerKey { role: Role::SipCore, what: TimerWhat::TransactionsEnd, version: 0 };

/// A repeated answer relies on the same records as the first.
fn relied_upon_by_a_repeat(after: CommitSeq) -> CommitSeq {
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is_armed(crate::planted::Bug::RepeatIgnoresCommit) {
        return CommitSeq::NOTHING;
    }
    after
}
