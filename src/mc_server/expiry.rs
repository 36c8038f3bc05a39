//! What has ended goes away: registrations that nobody told the end of, publications, and what is known of identities
//! that are no longer registered. One timer for the first of all.

use std::time::Duration;

use super::{McServer, state::State};
use crate::{
    outbox::{Context, Role, TimerKey, TimerWhat},
    store::{Mutation, RecordKind},
    time::Timestamp,
};

/// Clients that one call lets go, so that it does not take long.
const AT_ONCE: usize = 1_000;

/// When to try again what the storage does not take.
const RETRY: Duration = Duration::from_secs(1);

impl McServer {
    /// Takes up what was loaded: arms the timer.
    pub fn handle_loaded(&self, ctx: &mut Context<'_>) {
        wake(ctx, &mut self.state());
    }

    /// Lets go what has ended.
    pub(super) fn expire(&self, ctx: &mut Context<'_>) {
        let state = &mut self.state();
        state.armed = None;
        if ctx.out.storage_available() {
            for _ in 0..AT_ONCE {
                let due = state.ends.first().filter(|(at, _)| *at <= ctx.now);
                let Some((_, impu)) = due.cloned() else { break };
                let Some(before) = state.client(&impu).cloned() else { break };
                let mut client = before.clone();
                client.expire(ctx.now);
                let mutation = if client.until <= ctx.now {
                    state.remove(&impu);
                    Mutation::delete(RecordKind::McClient, impu.as_str())
                } else {
                    let mutation = Mutation::put(RecordKind::McClient, impu.as_str(), &client);
                    state.put(&impu, client);
                    mutation
                };
                self.latest.raise(ctx.out.commit([mutation]));
                Self::note_changes(ctx, state, &impu, Some(&before));
            }
        }
        wake(ctx, state);
    }
}

/// Arms the timer for the first that ends, unless it is armed for that or something earlier.
pub(super) fn wake(ctx: &mut Context<'_>, state: &mut State) {
    let Some((first, _)) = state.ends.first() else { return };
    let at: Timestamp = if *first <= ctx.now { ctx.now + RETRY } else { *first };
    if state.armed.is_none_or(|armed| at < armed) {
        state.armed = Some(at);
        let timer = TimerKey { role: Role::McServer, what: TimerWhat::McBindingsEnd, version: 0 };
        ctx.out.arm(at, timer);
    }
}
