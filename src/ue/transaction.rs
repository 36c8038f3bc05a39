//! The client transaction of a request (RFC 3261 clause 17.1.2): retransmission and giving up.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{
    outbox::{Context, Flow, Message, Role, TimerKey, TimerWhat, Transport},
    step::Step,
    store::CommitSeq,
};

/// T1, an estimate of the round-trip time (RFC 3261 clause 17.1.1.1; TS 24.229 has 2 s for radio).
const T1: Duration = Duration::from_millis(500);

/// T2, the longest interval between retransmissions.
const T2: Duration = Duration::from_secs(4);

/// Timer F, after which the transaction is given up: 64 * T1.
const TIMER_F: Duration = Duration::from_secs(32);

/// One request under way. It names the user: only its numbers print.
pub(super) struct ClientTransaction {
    /// Tells this transaction's timers from those of others.
    pub(super) number: u64,
    pub(super) branch: String,
    pub(super) cseq: u32,
    octets: Bytes,
    flow: Flow,
    step: Option<Step>,
    interval: Duration,
}

impl ClientTransaction {
    /// Sends the request and arms Timers E (UDP) and F.
    pub(super) fn start(
        ctx: &mut Context<'_>,
        (number, branch, cseq): (u64, String, u32),
        octets: Bytes,
        flow: Flow,
        step: Option<Step>,
    ) -> Self {
        let transaction = Self { number, branch, cseq, octets, flow, step, interval: T1 };
        transaction.send(ctx);
        ctx.out.arm(ctx.now + TIMER_F, timer(TimerWhat::UeGiveUp, number));
        transaction
    }

    /// Timer E: sends the request once more, and waits twice as long.
    pub(super) fn retransmit(&mut self, ctx: &mut Context<'_>) {
        self.interval = (self.interval * 2).min(T2);
        self.send(ctx);
    }

    /// A provisional answer came: from now on retransmit at T2 (RFC 3261 clause 17.1.2.2).
    pub(super) fn slow_down(&mut self) {
        self.interval = T2;
    }

    fn send(&self, ctx: &mut Context<'_>) {
        let message = Message::Sip { flow: self.flow, octets: self.octets.clone() };
        ctx.out.send_after(CommitSeq::NOTHING, self.step, message);
        if self.flow.transport == Transport::Udp {
            ctx.out.arm(ctx.now + self.interval, timer(TimerWhat::UeRetransmit, self.number));
        }
    }
}

impl fmt::Debug for ClientTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTransaction({}, CSeq {})", self.number, self.cseq)
    }
}

/// A timer of the user agent about `number`.
pub(super) fn timer(what: TimerWhat, number: u64) -> TimerKey {
    TimerKey { role: Role::Ue, what, version: number }
}
