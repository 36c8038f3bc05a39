//! Passwords of users, as a server keeps them: Argon2id (RFC 9106), written as the PHC string format does.
//!
//! A computation takes some tens of milliseconds and as many MiB, on purpose. So no role does it: it asks the world to.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    entropy::Entropy,
    secret::{Secret, SecretText},
};

/// Longest password, octets.
pub const PASSWORD_OCTETS_MAX: usize = 256;

const SALT_OCTETS: usize = 16;
const HASH_OCTETS: usize = 32;

/// What a computation takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cost {
    /// Memory, KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes of it.
    pub lanes: u32,
}

impl Cost {
    /// The first choice of OWASP: 19 MiB, two passes.
    pub const USUAL: Self = Self { memory: 19 * 1_024, passes: 2, lanes: 1 };

    /// The most that a stored hash may demand: 256 MiB, 16 passes, 4 lanes.
    const MOST: Self = Self { memory: 256 * 1_024, passes: 16, lanes: 4 };

    /// Whether a computation can have these: Argon2 needs 8 KiB for each lane.
    pub const fn is_possible(self) -> bool {
        let Self { memory, passes, lanes } = self;
        let most = Self::MOST;
        passes >= 1
            && passes <= most.passes
            && lanes >= 1
            && lanes <= most.lanes
            && memory >= 8 * lanes
            && memory <= most.memory
    }
}

/// What is kept of a password. Never prints.
#[derive(Clone, Eq, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash {
    cost: Cost,
    salt: [u8; SALT_OCTETS],
    hash: Secret<HASH_OCTETS>,
}

/// A text that is no hash of a password, or one that costs too much.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "is no $argon2id$v=19$ string with 16 octets of salt and 32 of hash, within 256 MiB, 16 passes and 4 lanes"
)]
pub struct InvalidHash;

impl PasswordHash {
    /// Computes what is kept of `password`. Slow.
    ///
    /// # Errors
    ///
    /// [`InvalidHash`] for a cost that no computation can have.
    pub fn compute(
        password: &SecretText,
        cost: Cost,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, InvalidHash> {
        let mut salt = [0; SALT_OCTETS];
        entropy.fill(&mut salt);
        let hash = compute(password, cost, &salt).ok_or(InvalidHash)?;
        Ok(Self { cost, salt, hash })
    }

    /// What no password has: to be compared with the password of a user who does not exist, which takes as long as for
    /// one who does.
    pub fn of_nobody(cost: Cost, entropy: &mut dyn Entropy) -> Self {
        let (mut salt, mut hash) = ([0; SALT_OCTETS], [0; HASH_OCTETS]);
        entropy.fill(&mut salt);
        entropy.fill(&mut hash);
        Self { cost, salt, hash: Secret::new(hash) }
    }

    /// Whether `password` is the one. Slow, and as slow if it is not.
    pub fn is_of(&self, password: &SecretText) -> bool {
        let computed = compute(password, self.cost, &self.salt);
        computed.is_some_and(|hash| hash.expose().ct_eq(self.hash.expose()).into())
    }

    /// Reads the PHC string format.
    ///
    /// # Errors
    ///
    /// [`InvalidHash`].
    pub fn parse(text: &str) -> Result<Self, InvalidHash> {
        parse(text).ok_or(InvalidHash)
    }

    fn to_phc(&self) -> String {
        let Cost { memory, passes, lanes } = self.cost;
        let (salt, hash) = (
            BASE64_STANDARD_NO_PAD.encode(self.salt),
            Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(self.hash.expose())),
        );
        format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${}", *hash)
    }
}

fn parse(text: &str) -> Option<PasswordHash> {
    let rest = text.strip_prefix("$argon2id$v=19$")?;
    let mut parts = rest.split('$');
    let (cost, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    let mut numbers = cost.split(',');
    let mut number = |name: &str| numbers.next()?.strip_prefix(name)?.parse().ok();
    let cost = Cost { memory: number("m=")?, passes: number("t=")?, lanes: number("p=")? };
    if parts.next().is_some() || numbers.next().is_some() || !cost.is_possible() {
        return None;
    }
    let salt = BASE64_STANDARD_NO_PAD.decode(salt).ok()?.try_into().ok()?;
    let hash = Zeroizing::new(BASE64_STANDARD_NO_PAD.decode(hash).ok()?);
    let hash = Secret::new(hash.as_slice().try_into().ok()?);
    Some(PasswordHash { cost, salt, hash })
}

fn compute(password: &SecretText, cost: Cost, salt: &[u8]) -> Option<Secret<HASH_OCTETS>> {
    let Cost { memory, passes, lanes } = cost;
    let params = Params::new(memory, passes, lanes, Some(HASH_OCTETS)).ok()?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = Zeroizing::new([0; HASH_OCTETS]);
    argon.hash_password_into(password.expose().as_bytes(), salt, &mut *hash).ok()?;
    Some(Secret::new(*hash))
}

impl TryFrom<String> for PasswordHash {
    type Error = InvalidHash;

    fn try_from(text: String) -> Result<Self, InvalidHash> {
        Self::parse(&Zeroizing::new(text))
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> Self {
        hash.to_phc()
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;

    impl Entropy for Ones {
        fn fill(&mut self, octets: &mut [u8]) {
            octets.fill(1);
        }
    }

    const LEAST: Cost = Cost { memory: 8, passes: 1, lanes: 1 };

    #[test]
    fn a_hash_is_of_its_password_alone_and_reads_as_it_is_written() {
        let hash = PasswordHash::compute(&SecretText::new("tiger"), LEAST, &mut Ones).unwrap();
        let again = PasswordHash::parse(&hash.to_phc()).unwrap();
        for hash in [hash, again] {
            assert!(hash.is_of(&SecretText::new("tiger")));
            assert!(!hash.is_of(&SecretText::new("Tiger")) && !hash.is_of(&SecretText::default()));
            assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
        }
        assert!(!PasswordHash::of_nobody(LEAST, &mut Ones).is_of(&SecretText::new("tiger")));
    }

    /// As `echo -n password | argon2 somesaltsomesalt -id -t 2 -k 64 -p 1 -l 32 -e` writes it.
    #[test]
    fn a_hash_of_the_reference_implementation_is_known() {
        let text = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$Gpj7qOY5RCXJvcMzqcdQqvgR3wcPX7SleI4c9NtXk6E";
        let hash = PasswordHash::parse(text).unwrap();
        assert!(hash.is_of(&SecretText::new("password")));
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        let good = PasswordHash::of_nobody(LEAST, &mut Ones).to_phc();
        for (part, other) in [
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("m=8", "m=7"),
            ("m=8", "m=262145"),
            ("t=1", "t=17"),
            ("p=1", "p=5"),
            ("p=1", "p=1,x=1"),
            ("AQEB", "AQE"),
        ] {
            assert_eq!(
                PasswordHash::parse(&good.replacen(part, other, 1)),
                Err(InvalidHash),
                "{other}"
            );
        }
        assert!(PasswordHash::parse(&good).is_ok());
        assert_eq!(PasswordHash::parse(&format!("{good}$")), Err(InvalidHash));
    }
}
