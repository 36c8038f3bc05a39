//! Active aliases, page by page.

use std::ops::Bound;

use super::active::Active;
use crate::{
    api::alias_management::{ActiveAlias, Answer, PAGE_HOLDERS_MAX, PAGE_MAX, Page, Refusal},
    identity::FunctionalAlias,
};

impl Active {
    /// The aliases after `after`, up to `limit` of them.
    pub(super) fn page(
        &self,
        after: Option<&FunctionalAlias>,
        limit: usize,
    ) -> Result<Answer, Refusal> {
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Refusal::Limit);
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut following = self.aliases.range::<FunctionalAlias, _>((from, Bound::Unbounded));
        let mut items: Vec<ActiveAlias> = Vec::new();
        let mut holders = 0;
        while items.len() < limit
            && holders < PAGE_HOLDERS_MAX
            && let Some((alias, held)) = following.next()
        {
            holders += held.len();
            let held = held.iter().map(|held| held.holder.clone()).collect();
            items.push(ActiveAlias { alias: alias.clone(), holders: held });
        }
        let last = items.last().map(|item| item.alias.clone());
        let next = following.next().and(last);
        Ok(Answer::Page(Page { items, next }))
    }
}
