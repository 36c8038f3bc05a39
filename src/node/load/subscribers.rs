//! The subscribers that a load is made of: packed, a million of them in some tens of megabytes.

mod file;

use std::{ops::Range, path::Path};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use self::file::{LineProblem, SubscribersError};
use crate::{
    aka::opc_from_op,
    identity::{Impi, Impu, McServiceId},
    secret::Secret,
    token::BearerToken,
};

/// Most subscribers of one run.
pub(super) const SUBSCRIBERS_MAX: usize = 20_000_000;

/// Most domains of one run.
pub(super) const DOMAINS_MAX: usize = 65_535;

/// All subscribers of a run.
pub(super) struct Subscribers {
    names: Names,
    /// Request-URIs without `sip:`.
    domains: Vec<Box<str>>,
    keys: Vec<Keys>,
    /// The OP of each, up to the first whose OPc was given instead.
    ops: Vec<Secret<16>>,
    users: Users,
}

/// What subscribers are to a configuration management server.
enum Users {
    /// Names and tokens follow from the number and this seed.
    Generated(u64),
    /// As a file has them, up to the first that is none.
    Listed(Vec<(McServiceId, BearerToken)>),
}

/// What an ISIM holds that never changes.
pub(super) struct Keys {
    pub(super) k: Secret<16>,
    pub(super) opc: Secret<16>,
}

enum Names {
    /// All alike but for their number.
    Template { impi: Template, impu: Template },
    /// Each its own.
    Listed { text: String, spans: Vec<Span> },
}

/// Where the names of a subscriber are: the private identity, and right behind it the public one.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    impi: u8,
    impu: u8,
    domain: u16,
}

/// A text with `{n}` in it, which stands for a number.
#[derive(Clone, Debug)]
struct Template {
    before: Box<str>,
    after: Box<str>,
}

/// The texts of one subscriber, in buffers that are used again.
#[derive(Default)]
pub(super) struct NameBuffers {
    pub(super) impi: String,
    pub(super) impu: String,
}

/// How generated subscribers are called.
#[derive(Clone, Debug)]
pub(super) struct Generated {
    /// How many.
    pub(super) count: usize,
    /// What keys are derived from.
    pub(super) seed: u64,
    /// Their domain.
    pub(super) domain: String,
}

/// A subscriber to be added.
struct New<'a> {
    impi: &'a Impi,
    impu: &'a Impu,
    domain: &'a str,
    k: Secret<16>,
    operator: Operator,
    user: Option<(McServiceId, BearerToken)>,
}

/// The operator's part of the key.
enum Operator {
    Op(Secret<16>),
    Opc(Secret<16>),
}

impl Subscribers {
    /// Reads a file: a table as `migcore provision load` takes it, or an injection file of SIPp.
    ///
    /// # Errors
    ///
    /// [`SubscribersError`] names the line.
    pub(super) fn read(path: &Path) -> Result<Self, SubscribersError> {
        file::read(path)
    }

    /// Generates subscribers `load-N@DOMAIN` whose keys follow from a seed.
    ///
    /// # Errors
    ///
    /// [`SubscribersError::Domain`] if the domain makes no identities.
    pub(super) fn generate(wanted: &Generated) -> Result<Self, SubscribersError> {
        let Generated { count, seed, domain } = wanted;
        let longest = format!("load-{}@{domain}", u32::MAX);
        let impi = Impi::parse(&longest).map_err(SubscribersError::Domain)?;
        Impu::parse(&format!("sip:{longest}")).map_err(SubscribersError::Domain)?;
        let domain = impi.realm();
        let template =
            |before: &str| Template { before: before.into(), after: format!("@{domain}").into() };
        let keys = (0..*count as u64).map(|number| derive(*seed, number)).collect();
        Ok(Self {
            names: Names::Template { impi: template("load-"), impu: template("sip:load-") },
            domains: vec![domain.into()],
            keys,
            ops: Vec::new(),
            users: Users::Generated(*seed),
        })
    }

    const fn empty() -> Self {
        let names = Names::Listed { text: String::new(), spans: Vec::new() };
        let users = Users::Listed(Vec::new());
        Self { names, domains: Vec::new(), keys: Vec::new(), ops: Vec::new(), users }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The domain of all of them.
    ///
    /// # Errors
    ///
    /// [`SubscribersError::SeveralDomains`] if there is more than one.
    pub(super) fn domain_of_all(&self) -> Result<&str, SubscribersError> {
        match &*self.domains {
            [domain] => Ok(domain),
            _ => Err(SubscribersError::SeveralDomains),
        }
    }

    /// The keys of subscriber `number`.
    pub(super) fn keys(&self, number: u32) -> Option<&Keys> {
        self.keys.get(number as usize)
    }

    /// The OP of subscriber `number`, if it was given.
    pub(super) fn op(&self, number: u32) -> Option<&Secret<16>> {
        self.ops.get(number as usize)
    }

    /// The name and the token of subscriber `number` at a configuration management server, if it is a user.
    pub(super) fn user(&self, number: u32) -> Option<(McServiceId, BearerToken)> {
        match &self.users {
            Users::Listed(users) => users.get(number as usize).cloned(),
            Users::Generated(seed) => {
                let mut names = NameBuffers::default();
                self.name(number, &mut names);
                // Not the public identity: a partner is told this name, and not that identity.
                let id = McServiceId::parse(&format!("sip:officer-{}", names.impi)).ok()?;
                let digits = Secret::new(derived("token", *seed, u64::from(number))).to_hex();
                Some((id, BearerToken::parse(&digits).ok()?))
            }
        }
    }

    /// Writes the names of subscriber `number`; returns its domain.
    pub(super) fn name(&self, number: u32, names: &mut NameBuffers) -> &str {
        names.impi.clear();
        names.impu.clear();
        let domain = match &self.names {
            Names::Template { impi, impu } => {
                impi.write(number, &mut names.impi);
                impu.write(number, &mut names.impu);
                0
            }
            Names::Listed { text, spans } => {
                let Some(span) = spans.get(number as usize) else { return "" };
                names.impi.push_str(text.get(span.impi()).unwrap_or_default());
                names.impu.push_str(text.get(span.impu()).unwrap_or_default());
                usize::from(span.domain)
            }
        };
        self.domains.get(domain).map_or("", |domain| domain)
    }

    fn add(&mut self, new: New<'_>) -> Result<(), SubscribersError> {
        let Names::Listed { text, spans } = &mut self.names else { return Ok(()) };
        if spans.len() == SUBSCRIBERS_MAX {
            return Err(SubscribersError::TooMany);
        }
        let known = self.domains.iter().rposition(|domain| **domain == *new.domain);
        let domain = known.unwrap_or(self.domains.len());
        if known.is_none() {
            self.domains.push(new.domain.into());
        }
        let domain = u16::try_from(domain).map_err(|_| SubscribersError::TooManyDomains)?;
        let start = u32::try_from(text.len()).map_err(|_| SubscribersError::TooMany)?;
        // Identities have at most 253 octets.
        let length = |name: &str| u8::try_from(name.len()).map_err(|_| SubscribersError::TooMany);
        let (impi, impu) = (length(new.impi.as_str())?, length(new.impu.as_str())?);
        text.push_str(new.impi.as_str());
        text.push_str(new.impu.as_str());
        spans.push(Span { start, impi, impu, domain });
        let opc = match new.operator {
            Operator::Opc(opc) => opc,
            Operator::Op(op) => {
                let opc = opc_from_op(&new.k, &op);
                if self.ops.len() == self.keys.len() {
                    self.ops.push(op);
                }
                opc
            }
        };
        if let (Users::Listed(users), Some(user)) = (&mut self.users, new.user)
            && users.len() == self.keys.len()
        {
            users.push(user);
        }
        self.keys.push(Keys { k: new.k, opc });
        Ok(())
    }

    /// Ends adding.
    fn finish(mut self) -> Self {
        if let Names::Listed { text, spans } = &mut self.names {
            text.shrink_to_fit();
            spans.shrink_to_fit();
        }
        self.keys.shrink_to_fit();
        self.ops.shrink_to_fit();
        self
    }
}

impl Span {
    fn impi(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + usize::from(self.impi)
    }

    fn impu(self) -> Range<usize> {
        let start = self.impi().end;
        start..start + usize::from(self.impu)
    }
}

impl Template {
    fn write(&self, number: u32, out: &mut String) {
        out.push_str(&self.before);
        let mut digits = [0; 10];
        out.push_str(decimal(number, &mut digits));
        out.push_str(&self.after);
    }
}

/// A number in decimal digits.
pub(super) fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &str {
    let mut at = digits.len();
    for digit in digits.iter_mut().rev() {
        at -= 1;
        // Below 10.
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(digits.get(at..).unwrap_or_default()).unwrap_or_default()
}

/// The keys of a generated subscriber.
fn derive(seed: u64, number: u64) -> Keys {
    let octets = Zeroizing::new(derived("keys", seed, number));
    let ([k, opc], _) = octets.as_chunks::<16>() else { unreachable!("32 octets are two keys") };
    Keys { k: Secret::new(*k), opc: Secret::new(*opc) }
}

/// Octets that follow from what they are for, a seed and a number.
fn derived(purpose: &str, seed: u64, number: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"migcore load ");
    hash.update(purpose);
    hash.update(seed.to_be_bytes());
    hash.update(number.to_be_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_subscribers_repeat_by_seed_and_differ_by_number() {
        let wanted = Generated { count: 3, seed: 1, domain: "A.example".to_owned() };
        let one = Subscribers::generate(&wanted).unwrap();
        let again = Subscribers::generate(&wanted).unwrap();
        let other = Subscribers::generate(&Generated { seed: 2, ..wanted }).unwrap();
        let k = |of: &Subscribers, number| *of.keys(number).unwrap().k.expose();
        assert_eq!(k(&one, 1), k(&again, 1));
        assert!(k(&one, 1) != k(&one, 2) && k(&one, 1) != k(&other, 1));
        let mut names = NameBuffers::default();
        assert_eq!(one.name(2, &mut names), "a.example");
        assert_eq!((&*names.impi, &*names.impu), ("load-2@a.example", "sip:load-2@a.example"));
        let bad = Generated { count: 1, seed: 0, domain: "no domain".to_owned() };
        assert!(Subscribers::generate(&bad).is_err());
    }

    #[test]
    fn numbers_are_written_in_decimal_digits() {
        for number in [0, 9, 10, 4_294_967_295] {
            assert_eq!(decimal(number, &mut [0; 10]), number.to_string());
        }
    }
}
