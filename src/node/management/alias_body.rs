//! What the operations about functional aliases take from a query, and what they answer.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::alias_management::{ActiveAlias, Holder, Page},
    identity::{FunctionalAlias, McServiceId},
};

/// How a user comes to hold an alias.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[into_params(parameter_in = Query)]
pub(super) struct ActivationQuery {
    /// Whether the user takes it over from all who hold it; false if left out.
    #[serde(default)]
    #[param(required = false)]
    pub(super) take_over: bool,
    /// Whether others may activate it, too; true if left out.
    #[serde(default = "yes")]
    #[param(required = false)]
    pub(super) shared: bool,
}

const fn yes() -> bool {
    true
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The `next` of the page before; the first page if left out.
    pub(super) after: Option<String>,
    /// Aliases on the page; there may be fewer although more follow.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000, default = 100)]
    pub(super) limit: Option<String>,
}

/// That a user holds an alias.
#[derive(Serialize, ToSchema)]
pub(super) struct ActivatedView {
    /// Who held it before and does not any more, in the order of activation.
    #[schema(value_type = Vec<String>)]
    pub(super) displaced: Vec<McServiceId>,
}

/// One page of the active aliases.
#[derive(Serialize, ToSchema)]
pub(super) struct AliasPageView {
    /// In the order of the aliases.
    items: Vec<ActiveAliasView>,
    /// Where the next page begins: give it as `after`. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<FunctionalAlias>,
}

/// An alias and all who hold it.
#[derive(Serialize, ToSchema)]
pub(super) struct ActiveAliasView {
    /// The alias.
    #[schema(value_type = String, example = "sip:driver@a.example")]
    alias: FunctionalAlias,
    /// In the order of activation.
    holders: Vec<HolderView>,
}

/// A user who has an alias activated.
#[derive(Serialize, ToSchema)]
pub(super) struct HolderView {
    /// The user.
    #[schema(value_type = String, example = "sip:alice@a.example")]
    user: McServiceId,
    /// Whether others may activate it, too.
    shared: bool,
    /// Since when, seconds since the Unix epoch.
    since: u64,
}

impl From<Page> for AliasPageView {
    fn from(Page { items, next }: Page) -> Self {
        Self { items: items.into_iter().map(ActiveAliasView::from).collect(), next }
    }
}

impl From<ActiveAlias> for ActiveAliasView {
    fn from(ActiveAlias { alias, holders }: ActiveAlias) -> Self {
        let holders = holders.into_iter().map(|Holder { user, shared, since }| HolderView {
            user,
            shared,
            since: since.as_secs(),
        });
        Self { alias, holders: holders.collect() }
    }
}
