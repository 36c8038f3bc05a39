//! What an ACM server hears from the functional alias controlling server of its own system (TS 23.280 8.1.5, 10.13):
//! who has which alias activated.
//!
//! The ACM server subscribes; the controlling server answers with everything that is active and then tells every
//! change. While the feed is down nothing is taken as active.
//!
//! Events may overtake each other on their way. Each change says which one it follows: who misses one, or gets one too
//! early, subscribes anew.

use crate::identity::{FunctionalAlias, McServiceId};

/// Users that one alias may be active for.
pub const HOLDERS_MAX: usize = 1_024;
/// Aliases that may be active.
pub const ALIASES_MAX: usize = 65_536;
/// Holders of all aliases together.
pub const ACTIVATIONS_MAX: usize = 1_000_000;

/// What the controlling server tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The subscription holds.
    Up {
        /// The latest change that is in `active`.
        number: u64,
        /// These are active, and no others: the holders of each in the order of activation.
        active: Vec<(FunctionalAlias, Vec<McServiceId>)>,
    },
    /// The controlling server cannot be reached, or the subscription has ended.
    Down,
    /// Something is different.
    Changed {
        /// The number of this change; later ones have higher numbers.
        number: u64,
        /// The number of the change before it.
        follows: u64,
        /// The change.
        change: Change,
    },
}

/// A change of who has an alias activated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A user activated an alias that others may hold, too.
    Activated(FunctionalAlias, McServiceId),
    /// A user deactivated an alias.
    Deactivated(FunctionalAlias, McServiceId),
    /// A user took an alias over: whoever held it before does not any more.
    TakenOver(FunctionalAlias, McServiceId),
}
