//! What an ACM server hears from the functional alias controlling server of its own system (TS 23.280 8.1.5, 10.13):
//! who has which alias activated.
//!
//! The ACM server subscribes; the controlling server answers with everything that is active and then tells every
//! change. While the feed is down nothing is taken as active.

use crate::identity::{FunctionalAlias, McServiceId};

/// Users that one alias may be active for.
pub const HOLDERS_MAX: usize = 1_024;
/// Aliases that may be active.
pub const ALIASES_MAX: usize = 65_536;

/// What the controlling server tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The subscription holds: these are active, and no others.
    Up(Vec<(FunctionalAlias, Vec<McServiceId>)>),
    /// The controlling server cannot be reached, or the subscription has ended.
    Down,
    /// A user activated an alias that others may hold, too.
    Activated(FunctionalAlias, McServiceId),
    /// A user deactivated an alias.
    Deactivated(FunctionalAlias, McServiceId),
    /// A user took an alias over: whoever held it before does not any more.
    TakenOver(FunctionalAlias, McServiceId),
}
