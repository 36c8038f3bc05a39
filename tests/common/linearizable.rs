//! Whether a concurrent history could have come from a sequential model (Wing and Gong's search).
#![allow(unreachable_pub, reason = "a part of several test binaries")]

use std::collections::HashSet;
use std::hash::Hash;

/// One operation: when it was called, when it returned, what it was and what it gave.
#[derive(Clone, Debug)]
pub struct Operation<Op, Out> {
    /// A tick of a clock that all threads share, taken before the call.
    pub called: u64,
    /// A tick taken after the return.
    pub returned: u64,
    /// What was asked.
    pub op: Op,
    /// What came back.
    pub out: Out,
}

/// Most operations in one history.
pub const HISTORY_MAX: usize = 64;

/// Looks for an order of `history` that respects real time and in which `step` explains every result.
/// `step` gives the state after the operation, or `None` if the result is impossible in this state.
/// Returns the states the history can end in; empty if it is not linearizable.
pub fn final_states<State, Op, Out>(
    initial: State,
    history: &[Operation<Op, Out>],
    step: impl Fn(&State, &Op, &Out) -> Option<State>,
) -> Vec<State>
where
    State: Clone + Eq + Hash,
{
    assert!(history.len() <= HISTORY_MAX, "history too long");
    let all = if history.len() == 64 { u64::MAX } else { (1 << history.len()) - 1 };
    let mut seen = HashSet::new();
    let mut finals = HashSet::new();
    let mut open = vec![(0_u64, initial)];
    while let Some((done, state)) = open.pop() {
        if done == all {
            finals.insert(state);
            continue;
        }
        if !seen.insert((done, state.clone())) {
            continue;
        }
        let pending = || history.iter().enumerate().filter(|(at, _)| done & (1 << at) == 0);
        let first_return = pending().map(|(_, operation)| operation.returned).min().unwrap();
        for (at, operation) in pending().filter(|(_, operation)| operation.called < first_return) {
            if let Some(next) = step(&state, &operation.op, &operation.out) {
                open.push((done | 1 << at, next));
            }
        }
    }
    finals.into_iter().collect()
}
