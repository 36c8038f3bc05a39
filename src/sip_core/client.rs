//! Client transactions of requests other than INVITE (RFC 3261 clause 17.1.2): those to application servers.
//!
//! A request over UDP is repeated by Timer E, and any is given up by Timer F. Few are under way for long, so all of one
//! age stand in one row ([`Patience`]), with one timer for the first.

use std::time::Duration;

use bytes::Bytes;

use super::{originating::Forwarded, third_party::Told};
use crate::{
    entropy::Entropy,
    outbox::{Context, Message, Note, Role, SipTarget, TimerKey, TimerWhat, Transport},
    patience::Patience,
    store::CommitSeq,
    table::{Bound, Table, new_table},
};

/// Most requests to application servers under way at a time.
pub const CLIENT_TRANSACTIONS_MAX: usize = 100_000;

/// Octets of a request above which UDP is not used (RFC 3261 clause 18.1.1).
const DATAGRAM_OCTETS_MAX: usize = 1_300;

/// Timer F: 64 * T1.
const TIMER_F: Duration = Duration::from_secs(32);

/// Timer E: T1, then twice as long each time up to T2.
const TIMER_E: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// How every branch begins (RFC 3261 clause 8.1.1.7).
const MAGIC_COOKIE: &str = "z9hG4bK";

/// The requests that wait for their final answer.
#[derive(Debug)]
pub(super) struct ClientTransactions {
    /// By the number in their branch.
    under_way: Table<u64, UnderWay>,
    bound: Bound,
    ends: Patience<u64>,
    repeats: [Patience<u64>; TIMER_E.len()],
}

/// One request. It names a user: nothing of it prints.
struct UnderWay {
    octets: Bytes,
    /// What has to be durable before it leaves.
    after: CommitSeq,
    to: SipTarget,
    purpose: Purpose,
    end: u64,
    /// In which row it waits to be repeated, and its number there.
    repeat: Option<(u8, u64)>,
}

/// What a request was sent for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// To tell a server of a registration.
    ThirdParty(Told),
    /// To pass on what a user asks.
    Forwarded(Forwarded),
}

/// No more requests can be under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

impl ClientTransactions {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        Self {
            under_way: new_table(entropy),
            bound: Bound::new(CLIENT_TRANSACTIONS_MAX),
            ends: Patience::new(TIMER_F),
            repeats: TIMER_E.map(Patience::new),
        }
    }

    /// Sends a request to `to`, over TCP if it is too long for UDP, after `after` is durable. `build` writes it for a
    /// branch and a transport.
    pub(super) fn begin(
        &self,
        ctx: &mut Context<'_>,
        after: CommitSeq,
        mut to: SipTarget,
        purpose: Purpose,
        build: impl Fn(&str, &str) -> Bytes,
    ) -> Result<(), Full> {
        if !self.bound.take() {
            ctx.out.note(Note::TableFull("requests to application servers"));
            return Err(Full);
        }
        let number = ctx.entropy.next_u64();
        let branch = format!("{MAGIC_COOKIE}{number:016x}");
        let mut octets = build(&branch, transport_name(to.transport));
        if to.transport == Transport::Udp && octets.len() > DATAGRAM_OCTETS_MAX {
            to.transport = Transport::Tcp;
            octets = build(&branch, transport_name(to.transport));
        }
        let (end, timer) = self.ends.add(ctx.now, number);
        if let Some(at) = timer {
            ctx.out.arm(at, END_TIMER);
        }
        let repeat = (to.transport == Transport::Udp).then(|| self.repeat_later(ctx, 0, number));
        let message = Message::SipRequest { to, octets: octets.clone() };
        ctx.out.send_after(after, None, message);
        self.under_way.insert(number, UnderWay { octets, after, to, purpose, end, repeat });
        Ok(())
    }

    /// A provisional answer came for a branch: from now on the request is repeated every T2 (RFC 3261 clause 17.1.2.2).
    pub(super) fn slow_down(&self, ctx: &mut Context<'_>, branch: &str) {
        let Some(number) = number_of(branch) else { return };
        let Some(mut waiting) = self.under_way.get_mut(&number) else { return };
        if let Some((row, place)) = waiting.repeat.take() {
            self.forget_repeat(row, place);
            waiting.repeat = Some(self.repeat_later(ctx, u8::MAX, number));
        }
    }

    /// Takes out the request that a final answer with this branch is for.
    pub(super) fn take(&self, branch: &str) -> Option<Purpose> {
        let waiting = self.remove(number_of(branch)?)?;
        self.ends.take(waiting.end);
        if let Some((row, place)) = waiting.repeat {
            self.forget_repeat(row, place);
        }
        Some(waiting.purpose)
    }

    /// Timer E of those that were repeated so often.
    pub(super) fn repeat(&self, ctx: &mut Context<'_>, row: u8) {
        let Some(repeats) = self.repeats.get(usize::from(row)) else { return };
        let (due, timer) = repeats.take_due(ctx.now);
        for (_, number) in due {
            let Some(mut waiting) = self.under_way.get_mut(&number) else { continue };
            waiting.repeat = Some(self.repeat_later(ctx, row.saturating_add(1), number));
            let message = Message::SipRequest { to: waiting.to, octets: waiting.octets.clone() };
            ctx.out.send_after(waiting.after, None, message);
        }
        if let Some(at) = timer {
            ctx.out.arm(at, repeat_timer(row));
        }
    }

    /// Timer F: takes out those that have had their time.
    pub(super) fn take_ended(&self, ctx: &mut Context<'_>) -> Vec<Purpose> {
        let (due, timer) = self.ends.take_due(ctx.now);
        if let Some(at) = timer {
            ctx.out.arm(at, END_TIMER);
        }
        let ended = due.into_iter().filter_map(|(_, number)| {
            let waiting = self.remove(number)?;
            if let Some((row, place)) = waiting.repeat {
                self.forget_repeat(row, place);
            }
            Some(waiting.purpose)
        });
        ended.collect()
    }

    pub(super) fn clear(&self) {
        self.under_way.clear();
        self.bound.reset();
        self.ends.clear();
        self.repeats.iter().for_each(Patience::clear);
    }

    fn remove(&self, number: u64) -> Option<UnderWay> {
        let (_, waiting) = self.under_way.remove(&number)?;
        self.bound.give();
        Some(waiting)
    }

    fn repeat_later(&self, ctx: &mut Context<'_>, row: u8, number: u64) -> (u8, u64) {
        let row = row.min(LAST_ROW);
        let Some(repeats) = self.repeats.get(usize::from(row)) else { return (row, 0) };
        let (place, timer) = repeats.add(ctx.now, number);
        if let Some(at) = timer {
            ctx.out.arm(at, repeat_timer(row));
        }
        (row, place)
    }

    fn forget_repeat(&self, row: u8, place: u64) {
        if let Some(repeats) = self.repeats.get(usize::from(row)) {
            repeats.take(place);
        }
    }
}

impl std::fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnderWay({} octets to {:?})", self.octets.len(), self.to)
    }
}

const LAST_ROW: u8 = 3;
const _: () = assert!(TIMER_E.len() == LAST_ROW as usize + 1);

const END_TIMER: TimerKey =
    TimerKey { role: Role::SipCore, what: TimerWhat::SipRequestsEnd, version: 0 };

const fn repeat_timer(row: u8) -> TimerKey {
    TimerKey { role: Role::SipCore, what: TimerWhat::SipRequestsRepeat(row), version: 0 }
}

fn number_of(branch: &str) -> Option<u64> {
    let digits = branch.strip_prefix(MAGIC_COOKIE).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

const fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    }
}
