//! What each partner takes up of the tables that all partners share: none fills one of them for the others.

use std::collections::BTreeMap;

use super::{AcmServer, PAYLOADS_OCTETS_MAX, STRAYS_MAX, ordered::Ordered};
use crate::identity::McSystemId;

/// What partners share.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Shared {
    /// Transactions that they began.
    Transactions,
    /// Requests of theirs that are over and never were transactions: refused at once.
    Refusals,
    /// Octets of the payloads of transactions.
    Octets,
    /// Their users who were added for migration.
    Users,
    /// Groups at home there.
    Groups,
    /// Answers that belong to nothing.
    Strays,
}

/// How much each of them has.
#[derive(Debug, Default)]
pub(super) struct Shares(BTreeMap<(McSystemId, Shared), usize>);

impl Shares {
    fn of(&self, partner: &McSystemId, what: Shared) -> usize {
        self.0.get(&(partner.clone(), what)).copied().unwrap_or(0)
    }

    pub(super) fn take(&mut self, partner: &McSystemId, what: Shared, count: usize) {
        *self.0.entry((partner.clone(), what)).or_default() += count;
    }

    pub(super) fn give(&mut self, partner: &McSystemId, what: Shared, count: usize) {
        let key = (partner.clone(), what);
        let left = self.of(partner, what).saturating_sub(count);
        if left == 0 {
            self.0.remove(&key);
        } else {
            self.0.insert(key, left);
        }
    }
}

impl AcmServer {
    /// Whether a partner may take up so much more.
    pub(super) fn has_share(
        &self,
        turn: &Ordered,
        partner: &McSystemId,
        what: Shared,
        count: usize,
    ) -> bool {
        let config = &self.config;
        let whole = match what {
            Shared::Transactions => config.transactions_max,
            Shared::Refusals => config.refusals_max,
            Shared::Octets => PAYLOADS_OCTETS_MAX,
            Shared::Users => config.migrants_max,
            Shared::Groups => config.groups_max,
            Shared::Strays => STRAYS_MAX,
        };
        let most = (whole.saturating_mul(config.partner_share) / 100).max(1);
        turn.shares.of(partner, what).saturating_add(count) <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_no_entry_any_more() {
        let (a, b) = ("sip:a.example", "sip:b.example");
        let [a, b] = [a, b].map(|id| McSystemId::parse(id).unwrap());
        let mut shares = Shares::default();
        shares.take(&a, Shared::Groups, 3);
        shares.take(&b, Shared::Groups, 1);
        shares.give(&a, Shared::Groups, 1);
        assert_eq!((shares.of(&a, Shared::Groups), shares.of(&b, Shared::Groups)), (2, 1));
        shares.give(&a, Shared::Groups, 2);
        assert_eq!(shares.0.len(), 1);
    }
}
