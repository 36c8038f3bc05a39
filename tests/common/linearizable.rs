//! Whether a concurrent history could have come from a sequential model (Wing and Gong's search, with a
//! memory of what was tried).
#![allow(dead_code, unreachable_pub, reason = "a part of several test binaries")]

use std::collections::BTreeSet;

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

/// Most operations in one history: the bits of the set of those done.
pub const HISTORY_MAX: usize = 128;

/// Whether some order of `history` that respects real time explains every result. `step` gives the state
/// after an operation, or `None` if the result is impossible in this state.
pub fn is_explained<State: Clone + Ord, Op, Out>(
    initial: State,
    history: &[Operation<Op, Out>],
    step: impl Fn(&State, &Op, &Out) -> Option<State>,
) -> bool {
    let mut explained = false;
    search(initial, history, step, |_| {
        explained = true;
        false
    });
    explained
}

/// The states that the history can end in; empty if no order explains it.
pub fn final_states<State: Clone + Ord, Op, Out>(
    initial: State,
    history: &[Operation<Op, Out>],
    step: impl Fn(&State, &Op, &Out) -> Option<State>,
) -> BTreeSet<State> {
    let mut finals = BTreeSet::new();
    search(initial, history, step, |state| {
        finals.insert(state);
        true
    });
    finals
}

/// Gives every final state to `found`, until that says to stop.
fn search<State: Clone + Ord, Op, Out>(
    initial: State,
    history: &[Operation<Op, Out>],
    step: impl Fn(&State, &Op, &Out) -> Option<State>,
    mut found: impl FnMut(State) -> bool,
) {
    assert!(history.len() <= HISTORY_MAX, "history too long");
    let all = if history.len() == HISTORY_MAX { u128::MAX } else { (1 << history.len()) - 1 };
    let mut tried = BTreeSet::new();
    let mut open = vec![(0_u128, initial)];
    while let Some((done, state)) = open.pop() {
        if done == all {
            if found(state) {
                continue;
            }
            return;
        }
        let pending = || history.iter().enumerate().filter(|(at, _)| done >> at & 1 == 0);
        let first_return = pending().map(|(_, operation)| operation.returned).min().unwrap();
        for (at, operation) in pending().filter(|(_, operation)| operation.called < first_return) {
            if let Some(next) = step(&state, &operation.op, &operation.out) {
                let reached = (done | 1 << at, next);
                if tried.insert(reached.clone()) {
                    open.push(reached);
                }
            }
        }
    }
}
