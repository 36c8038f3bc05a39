//! What two systems have stored about each other, compared.

use super::{Holder, Ledger, Tables, Violation, grant_key};
use crate::{api::migration_identity::Direction, identity::SipDatabaseId, store::RecordKind};

/// One of two systems that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its SIP database.
    pub database: &'a SipDatabaseId,
    /// What it has stored.
    pub tables: &'a Tables,
    /// What its clients know.
    pub ledger: &'a Ledger,
}

/// Checks that the tables of two quiet systems fit together, seen from the partner's side: call it both ways.
///
/// # Errors
///
/// A [`Violation`] if an inbound pair stands for nothing that its primary ever lent or for what it lent and
/// was never asked to take back, or if a registration belongs to no binding.
pub fn check_agreement(primary: Side<'_>, partner: Side<'_>) -> Result<(), Violation> {
    for ((direction, impi), binding) in &partner.tables.bindings {
        let Holder { user, other } = &binding.holder;
        if *direction != Direction::Inbound || other != primary.database {
            continue;
        }
        let grant = grant_key(&user.impi, partner.database);
        let stands = primary.tables.stands_for(user, partner.database)
            || primary.ledger.may_be_released(Direction::Outbound, &user.impi)
            || primary.ledger.may_be_deleted(RecordKind::Grant, &grant);
        if !stands {
            let rule = "an inbound pair stands for one that its primary lent";
            return Err(Violation::new(rule, &impi.as_str()));
        }
    }
    for impi in partner.tables.registrations.keys() {
        let inbound = (Direction::Inbound, impi.clone());
        let known = partner.tables.bindings.contains_key(&inbound)
            || partner.tables.subscribers.contains_key(impi)
            || partner.ledger.may_be_released(Direction::Inbound, impi);
        if !known {
            return Err(Violation::new("a registration belongs to a binding", &impi.as_str()));
        }
    }
    Ok(())
}
