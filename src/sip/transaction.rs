//! The name of a server transaction (RFC 3261 section 17.2.3), as a number to look it up by.

use std::hash::{BuildHasher, Hasher};

use super::view::{MessageView, StartLine};
use crate::entropy::Entropy;

/// Computes the keys of server transactions. Keyed, so that a peer that chooses branches cannot
/// make two transactions collide.
#[derive(Clone, Debug)]
pub struct TransactionHasher {
    high: ahash::RandomState,
    low: ahash::RandomState,
}

impl TransactionHasher {
    /// Draws the keys.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        Self { high: hasher(entropy), low: hasher(entropy) }
    }

    /// The key of the transaction that a request belongs to: equal for a request and its
    /// retransmissions, different for all others but with a probability of about 2^-128 a pair.
    ///
    /// Over branch, sent-by and method; if the branch is not one of RFC 3261, over Request-URI, To
    /// tag, From tag, Call-ID, `CSeq` and the topmost Via. ACK and CANCEL, which belong to the
    /// transaction of another method, are not served.
    pub fn key(&self, request: &MessageView<'_>) -> u128 {
        let high = hash(&self.high, request);
        let low = hash(&self.low, request);
        u128::from(high) << 64 | u128::from(low)
    }

    /// The key of a text, such as a Call-ID, to tell it from others with the same certainty.
    pub fn key_of_text(&self, text: &str) -> u128 {
        u128::from(self.high.hash_one(text)) << 64 | u128::from(self.low.hash_one(text))
    }
}

fn hasher(entropy: &mut dyn Entropy) -> ahash::RandomState {
    ahash::RandomState::with_seeds(
        entropy.next_u64(),
        entropy.next_u64(),
        entropy.next_u64(),
        entropy.next_u64(),
    )
}

fn hash(state: &ahash::RandomState, request: &MessageView<'_>) -> u64 {
    let mut hasher = state.build_hasher();
    let via = request.top_via();
    write_text(&mut hasher, via.branch.unwrap_or_default());
    write_without_case(&mut hasher, via.host);
    hasher.write_u32(via.port.map_or(u32::MAX, u32::from));
    write_text(&mut hasher, request.method());
    hasher.write_u8(u8::from(via.has_unique_branch()));
    if !via.has_unique_branch() {
        if let StartLine::Request { uri, .. } = request.start_line() {
            write_text(&mut hasher, uri);
        }
        write_text(&mut hasher, request.to_tag().unwrap_or_default());
        write_text(&mut hasher, request.from_tag().unwrap_or_default());
        write_text(&mut hasher, request.call_id());
        hasher.write_u32(request.cseq().number);
        write_text(&mut hasher, via.transport);
        write_text(&mut hasher, via.params);
    }
    hasher.finish()
}

/// Length first, so that no two sequences of texts give the same octets.
fn write_text(hasher: &mut impl Hasher, text: &str) {
    hasher.write_usize(text.len());
    hasher.write(text.as_bytes());
}

/// Host names compare without case.
fn write_without_case(hasher: &mut impl Hasher, text: &str) {
    hasher.write_usize(text.len());
    for octets in text.as_bytes().chunks(32) {
        let mut lower = [0; 32];
        for (lower, octet) in lower.iter_mut().zip(octets) {
            *lower = octet.to_ascii_lowercase();
        }
        hasher.write(&lower);
    }
}
