//! The management interface of a functional alias controlling server (TS 23.280 10.13): users activate, deactivate and
//! take over functional aliases. Every request may be repeated.

use super::functional_alias::{ACTIVATIONS_MAX, ALIASES_MAX, HOLDERS_MAX};
use crate::{
    identity::{FunctionalAlias, McServiceId},
    time::Timestamp,
};

/// Aliases on a page unless the request says otherwise.
pub const PAGE_DEFAULT: usize = 100;
/// Most aliases on a page.
pub const PAGE_MAX: usize = 1_000;
/// Holders after which a page ends, however many aliases were asked for.
pub const PAGE_HOLDERS_MAX: usize = 10_000;

/// A management request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// A user activates an alias, beside those who hold it and share it.
    Activate(Activation),
    /// A user activates an alias in the place of all who hold it.
    TakeOver(Activation),
    /// A user does not hold an alias any more.
    Deactivate {
        /// The alias.
        alias: FunctionalAlias,
        /// The user.
        user: McServiceId,
    },
    /// Asks which aliases are active, in their order.
    List {
        /// The last alias before the page; the first page without it.
        after: Option<FunctionalAlias>,
        /// Aliases on the page, 1 to [`PAGE_MAX`].
        limit: usize,
    },
}

/// Who is to hold which alias.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Activation {
    /// The alias.
    pub alias: FunctionalAlias,
    /// The user, of this system.
    pub user: McServiceId,
    /// Whether others may activate it, too.
    pub shared: bool,
}

/// A management answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The user holds the alias.
    Active {
        /// Who held it before and does not any more, in the order of activation.
        displaced: Vec<McServiceId>,
    },
    /// The user does not hold the alias.
    Inactive,
    /// What is active.
    Page(Page),
    /// It did not work; nothing changed.
    Refused(Refusal),
}

/// A part of all active aliases.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// In the order of the aliases.
    pub items: Vec<ActiveAlias>,
    /// Where the next page begins; nothing on the last one.
    pub next: Option<FunctionalAlias>,
}

/// An alias and all who hold it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActiveAlias {
    /// The alias.
    pub alias: FunctionalAlias,
    /// In the order of activation.
    pub holders: Vec<Holder>,
}

/// A user who has an alias activated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// The user.
    pub user: McServiceId,
    /// Whether others may activate it, too.
    pub shared: bool,
    /// Since when.
    pub since: Timestamp,
}

/// Why a request is refused. It continues a sentence that begins with [`Refusal::field`], where there is one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The user is at home elsewhere.
    #[error("is in no domain of this system")]
    ForeignUser,
    /// Somebody else holds it who does not share it, or it is not to be shared with those who hold it.
    #[error("is held by others, and not shared")]
    Held,
    /// [`HOLDERS_MAX`] users hold it.
    #[error("has {HOLDERS_MAX} holders, and may not have more")]
    TooManyHolders,
    /// [`ALIASES_MAX`] are active.
    #[error("is one too many: {ALIASES_MAX} are active")]
    TooManyAliases,
    /// [`ACTIVATIONS_MAX`] are in force.
    #[error("the aliases have {ACTIVATIONS_MAX} holders, and may not have more")]
    TooManyActivations,
    /// The page has no size, or too large a one.
    #[error("is no number from 1 to {PAGE_MAX}")]
    Limit,
    /// The storage takes no changes now.
    #[error("the storage takes no changes now")]
    Unavailable,
}

impl Refusal {
    /// The part of the request that is wrong, if one is.
    pub const fn field(self) -> Option<&'static str> {
        match self {
            Self::ForeignUser => Some("user"),
            Self::Held | Self::TooManyHolders | Self::TooManyAliases => Some("alias"),
            Self::Limit => Some("limit"),
            Self::TooManyActivations | Self::Unavailable => None,
        }
    }

    /// What to do.
    pub const fn fix(self) -> &'static str {
        match self {
            Self::ForeignUser => "name a user of this system, or ask the user's own system",
            Self::Held => "take it over, or have those deactivate it who hold it",
            Self::TooManyHolders => "deactivate it for somebody else, or take it over",
            Self::TooManyAliases => "deactivate one that is not needed",
            Self::TooManyActivations => "deactivate what is not needed",
            Self::Limit => "ask for fewer, and for the rest by pages",
            Self::Unavailable => "ask again later",
        }
    }
}
