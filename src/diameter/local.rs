//! Who we are to Diameter peers, and the identifiers that must not repeat across connections.

use std::{
    fmt::{self, Write},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::{entropy::Entropy, time::Timestamp};

/// Longest `DiameterIdentity`, octets: that of a domain name.
pub const DIAMETER_IDENTITY_OCTETS_MAX: usize = 253;

/// Most addresses in Host-IP-Address; more are not advertised.
pub const HOST_ADDRESSES_MAX: usize = 16;

/// A host or realm of Diameter: an FQDN in lower case (RFC 6733 section 4.3.1).
///
/// Compares as domain names do, without case.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DiameterIdentity(Arc<str>);

impl DiameterIdentity {
    /// Parses an FQDN.
    ///
    /// # Errors
    ///
    /// [`InvalidDiameterIdentity`] unless it is 1 to 253 octets of labels: letters, digits, `-`
    /// and `_`, separated by dots.
    pub fn parse(fqdn: &str) -> Result<Self, InvalidDiameterIdentity> {
        let label_fits = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
        };
        let labels = fqdn.strip_suffix('.').unwrap_or(fqdn);
        if fqdn.len() > DIAMETER_IDENTITY_OCTETS_MAX || !labels.split('.').all(label_fits) {
            return Err(InvalidDiameterIdentity);
        }
        Ok(Self(fqdn.to_ascii_lowercase().into()))
    }

    /// The FQDN, for the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A system is no person: its identity prints.
impl fmt::Debug for DiameterIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DiameterIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for DiameterIdentity {
    type Err = InvalidDiameterIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Text that is no FQDN. The fault of who supplied it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is no FQDN of at most 253 octets")]
pub struct InvalidDiameterIdentity;

/// Who sends: Origin-Host and Origin-Realm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Origin-Host.
    pub host: DiameterIdentity,
    /// Origin-Realm.
    pub realm: DiameterIdentity,
}

/// This Diameter node, the same on all of its connections.
///
/// It draws the Session-Ids and End-to-End Identifiers, which may not repeat on any connection.
#[derive(Debug)]
pub struct LocalNode {
    origin: Origin,
    host_addresses: Vec<IpAddr>,
    origin_state_id: u32,
    session: AtomicU64,
    end_to_end: AtomicU32,
}

impl LocalNode {
    /// Creates the node. `host_addresses` are advertised to peers, at least one. Identifiers start
    /// from the time, so that those of a restarted node are new (RFC 6733 sections 3 and 8.8).
    pub fn new(
        origin: Origin,
        mut host_addresses: Vec<IpAddr>,
        now: Timestamp,
        entropy: &mut dyn Entropy,
    ) -> Self {
        host_addresses.truncate(HOST_ADDRESSES_MAX);
        let [.., s0, s1, s2, s3] = now.as_secs().to_be_bytes();
        let seconds = u32::from_be_bytes([s0, s1, s2, s3]);
        let [r0, r1, r2, r3, ..] = entropy.next_u64().to_be_bytes();
        let random = u32::from_be_bytes([r0, r1, r2, r3]);
        Self {
            origin,
            host_addresses,
            origin_state_id: seconds,
            session: AtomicU64::new(u64::from(seconds) << 32),
            end_to_end: AtomicU32::new(seconds << 20 | random >> 12),
        }
    }

    /// Origin-Host and Origin-Realm.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The addresses of Host-IP-Address.
    pub fn host_addresses(&self) -> &[IpAddr] {
        &self.host_addresses
    }

    /// Origin-State-Id: seconds since the Unix epoch at the start of this node.
    pub const fn origin_state_id(&self) -> u32 {
        self.origin_state_id
    }

    /// Draws a Session-Id, `<DiameterIdentity>;<high 32 bits>;<low 32 bits>` (RFC 6733 section 8.8), and puts it
    /// in the place of what is in `session_id`.
    pub fn next_session_id(&self, session_id: &mut String) {
        let number = self.session.fetch_add(1, Ordering::Relaxed);
        session_id.clear();
        session_id.push_str(self.origin.host.as_str());
        // A String takes everything.
        let _ = write!(session_id, ";{};{}", number >> 32, number & 0xffff_ffff);
    }

    /// Draws an End-to-End Identifier, unique for this Origin-Host for at least 4 minutes at up to
    /// 17 million requests a second.
    pub fn next_end_to_end(&self) -> u32 {
        self.end_to_end.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;

    impl Entropy for Ones {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0xff);
        }
    }

    #[test]
    fn an_identity_is_an_fqdn_and_compares_without_case() {
        assert_eq!(
            DiameterIdentity::parse("HSS.Primary.example").unwrap(),
            DiameterIdentity::parse("hss.primary.example").unwrap()
        );
        for broken in ["", ".", "a..b", "a b", "a;b", "a@b", &"a".repeat(254)] {
            assert_eq!(DiameterIdentity::parse(broken), Err(InvalidDiameterIdentity), "{broken}");
        }
    }

    #[test]
    fn identifiers_start_from_the_time_and_count_up() {
        let origin = Origin { host: "a.b".parse().unwrap(), realm: "b".parse().unwrap() };
        let node = LocalNode::new(origin, Vec::new(), Timestamp::from_secs(0x1234_5678), &mut Ones);
        let mut session_id = String::from("earlier");
        node.next_session_id(&mut session_id);
        assert_eq!(session_id, "a.b;305419896;0");
        node.next_session_id(&mut session_id);
        assert_eq!(session_id, "a.b;305419896;1");
        assert_eq!(node.next_end_to_end(), 0x678f_ffff);
        assert_eq!(node.next_end_to_end(), 0x6790_0000);
    }
}
