//! What has expired goes away: one timer for the first of all.

use std::time::Duration;

use super::{
    IdentityServer,
    record::Stored,
    state::{End, State},
};
use crate::{
    outbox::{Context, Role, TimerKey, TimerWhat},
    store::Mutation,
    time::Timestamp,
};

/// Records that one call lets go, so that it does not take long.
const AT_ONCE: usize = 1_000;

/// When to try again what the storage does not take, or a key that cannot be made.
const RETRY: Duration = Duration::from_secs(1);

impl IdentityServer {
    /// Takes up what was loaded: makes a key if there is none, and arms the timer.
    pub fn handle_loaded(&self, ctx: &mut Context<'_>) {
        self.state().loaded = ctx.now;
        self.go_on(ctx);
    }

    /// Lets go what has expired, and makes a key when it is time for one.
    pub(super) fn go_on(&self, ctx: &mut Context<'_>) {
        let state = &mut self.state();
        state.armed = None;
        self.forget_keys(ctx, state);
        let key_due = self.keep_keys(ctx, state).unwrap_or(ctx.now + RETRY);
        self.let_go(ctx, state);
        arm(ctx, state, key_due);
        wake(ctx, state);
    }

    fn let_go(&self, ctx: &mut Context<'_>, state: &mut State) {
        if !ctx.out.storage_available() {
            return;
        }
        for _ in 0..AT_ONCE {
            let Some((at, end)) = state.ends.first().cloned().filter(|(at, _)| *at <= ctx.now)
            else {
                return;
            };
            let deletion: Option<Mutation> = match &end {
                End::Family(id) => state.remove_family(*id).map(|record| record.delete()),
                End::Issued(id) => state.remove_issued(id).map(|record| record.delete()),
                End::Presented(issuer, id) => {
                    state.remove_presented(issuer, id).map(|record| record.delete())
                }
            };
            state.ends.remove(&(at, end));
            if let Some(deletion) = deletion {
                // It was available at the beginning of the call, which does not change within it.
                let _ = self.commit(ctx, [deletion]);
            }
        }
    }
}

/// Arms the timer for the first that expires, unless it is armed for that or something earlier.
pub(super) fn wake(ctx: &mut Context<'_>, state: &mut State) {
    if let Some((first, _)) = state.ends.first() {
        let at = if *first <= ctx.now { ctx.now + RETRY } else { *first };
        arm(ctx, state, at);
    }
}

fn arm(ctx: &mut Context<'_>, state: &mut State, at: Timestamp) {
    if state.armed.is_none_or(|armed| at < armed) {
        state.armed = Some(at);
        let timer = TimerKey { role: Role::Idms, what: TimerWhat::IdmsDue, version: 0 };
        ctx.out.arm(at, timer);
    }
}
