//! What two stopped systems have stored, compared with what they acknowledged and with each other.

use std::sync::Mutex;

use migcore::{
    node::storage::{EmbeddedEngine, Keys},
    sim::{
        Violation,
        ledger::{Side, Tables, check_agreement},
    },
    store::Engine as _,
};

use crate::{
    history::{History, now, timestamp},
    server::Server,
    user::{CONTACTS, HOME, PARTNER, User},
};

/// Reads what a stopped system has stored.
pub fn read(system: &Server) -> Tables {
    let keys = Keys::find(Some(&system.key_path())).unwrap();
    let mut engine = EmbeddedEngine::open(&system.data_path(), keys).unwrap();
    let tables = Mutex::new(Tables::default());
    engine.replay(&|record| tables.lock().unwrap().take(&record)).unwrap();
    tables.into_inner().unwrap()
}

/// Everything in the tables of A and B that contradicts what their clients were told, or each other.
pub fn check(history: &History, [a, b]: &[Tables; 2]) -> Vec<Violation> {
    let now = timestamp();
    let mut violations = Vec::new();
    for (system, tables) in [a, b].into_iter().enumerate() {
        violations.extend(history.ledger(system).check(now, tables).err());
        violations.extend(tables.check().err());
    }
    let [home, partner] = [HOME, PARTNER].map(|domain| format!("sipdb.{domain}").parse().unwrap());
    let (of_a, of_b) = (history.ledger(0), history.ledger(1));
    let home = Side { database: &home, tables: a, ledger: &of_a };
    let partner = Side { database: &partner, tables: b, ledger: &of_b };
    violations.extend(check_agreement(home, partner).err());
    violations.extend(check_agreement(partner, home).err());
    violations
}

/// Compares the ends of all registrations with those that the users were told, and that nobody is
/// registered with a contact that no user has.
pub fn check_contacts(history: &History, users: &mut [User], b: &Tables) {
    for user in users {
        let Some(impi) = user.inbound().map(|pair| pair.impi.clone()) else { continue };
        let stored = b.registrations.get(&impi).map(|it| &*it.contacts).unwrap_or_default();
        for slot in 0..CONTACTS {
            let uri = user.contact_uri(slot);
            let found = stored.iter().find(|contact| contact.uri == uri);
            let found = found.map(|it| (it.cseq, it.expires_at.as_micros()));
            history.compared.add();
            if let Err((kind, words)) = user.contacts[slot].observe_stored(found, now()) {
                history.violation(kind, format!("user {}, contact {slot}: {words}", user.number));
            }
        }
    }
}
