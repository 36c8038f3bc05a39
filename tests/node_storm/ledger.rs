//! Who was lent which pair of identities, as seen on the wire and by the users.

use std::{collections::BTreeMap, sync::Mutex};

use migcore::{api::migration_identity::Direction, identity::UserIdentity};

/// Everything lent so far, and what was wrong with it.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// By private or public identity.
    lent: BTreeMap<(Direction, String), Lending>,
    /// What each user holds now.
    held: BTreeMap<(String, Direction), UserIdentity>,
    released: Vec<(Direction, UserIdentity)>,
    violations: Vec<String>,
}

#[derive(Debug)]
struct Lending {
    user: String,
    is_released: bool,
}

impl Ledger {
    /// Takes down that `user` was seen to have `pair`. Generated identities belong to one user, once.
    pub fn lend(&self, direction: Direction, user: &str, pair: &UserIdentity) {
        let mut entries = self.0.lock().unwrap();
        for identity in [pair.impi.as_str(), pair.impu.as_str()] {
            let lending = entries
                .lent
                .entry((direction, identity.to_owned()))
                .or_insert_with(|| Lending { user: user.to_owned(), is_released: false });
            let was = if lending.user != user {
                format!("lent to {} before", lending.user)
            } else if lending.is_released {
                "released before".to_owned()
            } else {
                continue;
            };
            let violation = format!("{direction:?} {identity} of {user} was {was}");
            entries.violations.push(violation);
        }
        let held = entries.held.insert((user.to_owned(), direction), pair.clone());
        if held.as_ref().is_some_and(|held| held != pair) {
            let violation = format!("{user} got another {direction:?} pair than the one it holds");
            entries.violations.push(violation);
        }
    }

    /// Takes down that the pair of `user` was released, and returns it.
    pub fn release(&self, direction: Direction, user: &str) -> Option<UserIdentity> {
        let mut entries = self.0.lock().unwrap();
        let pair = entries.held.remove(&(user.to_owned(), direction))?;
        for identity in [pair.impi.as_str(), pair.impu.as_str()] {
            if let Some(lending) = entries.lent.get_mut(&(direction, identity.to_owned())) {
                lending.is_released = true;
            }
        }
        entries.released.push((direction, pair.clone()));
        Some(pair)
    }

    /// The pairs that were released.
    pub fn released(&self, direction: Direction) -> Vec<UserIdentity> {
        let entries = self.0.lock().unwrap();
        let released = entries.released.iter().filter(|(it, _)| *it == direction);
        released.map(|(_, pair)| pair.clone()).collect()
    }

    /// The pairs that users hold, one each.
    pub fn held(&self, direction: Direction) -> Vec<UserIdentity> {
        let entries = self.0.lock().unwrap();
        let held = entries.held.iter().filter(|((_, it), _)| *it == direction);
        held.map(|(_, pair)| pair.clone()).collect()
    }

    /// How many pairs were ever lent.
    pub fn pairs_lent(&self, direction: Direction) -> usize {
        let entries = self.0.lock().unwrap();
        entries.lent.keys().filter(|(lent, _)| *lent == direction).count() / 2
    }

    pub fn violations(&self) -> Vec<String> {
        self.0.lock().unwrap().violations.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, public: &str) -> UserIdentity {
        let impu = format!("sip:{public}@b.example");
        UserIdentity {
            impi: format!("{name}@b.example").parse().unwrap(),
            impu: impu.parse().unwrap(),
        }
    }

    #[test]
    fn an_identity_of_two_users_or_of_one_user_twice_is_noticed() {
        let inbound = Direction::Inbound;
        let ledger = Ledger::default();
        for _ in 0..2 {
            ledger.lend(inbound, "alice", &pair("1", "1"));
            ledger.lend(Direction::Outbound, "bob", &pair("1", "1"));
            ledger.lend(inbound, "bob", &pair("2", "2"));
        }
        assert_eq!(ledger.release(inbound, "bob"), Some(pair("2", "2")));
        ledger.lend(inbound, "bob", &pair("3", "3"));
        assert_eq!(ledger.violations(), [""; 0]);
        assert_eq!((ledger.held(inbound).len(), ledger.pairs_lent(inbound)), (2, 3));
        assert_eq!(ledger.released(inbound), [pair("2", "2")]);

        for (user, pair) in [
            ("carol", pair("4", "1")),
            ("dave", pair("1", "5")),
            ("erin", pair("2", "6")),
            ("bob", pair("7", "7")),
        ] {
            let ledger = &ledger;
            let before = ledger.violations().len();
            ledger.lend(inbound, user, &pair);
            assert_eq!(ledger.violations().len(), before + 1, "{user}: {:?}", ledger.violations());
        }
        ledger.release(inbound, "alice");
        ledger.lend(inbound, "alice", &pair("1", "1"));
        assert_eq!(ledger.violations().len(), 6, "{:?}", ledger.violations());
    }
}
