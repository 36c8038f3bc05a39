//! What provisioned identities look like, coarsely: so that a generated one, which is as long as all of its form
//! and of one host, need not be looked for among them as a rule.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::identity::{Impi, Impu};

/// Shapes that are told apart.
const SHAPES: usize = 4_096;
const WORD_BITS: usize = u64::BITS as usize;

/// The shapes of identities that were ever provisioned. What was is never taken out: at worst a look-up is made
/// that was not necessary.
#[derive(Debug)]
pub(super) struct Shapes([AtomicU64; SHAPES / WORD_BITS]);

/// The length and the host of an identity, as one of [`SHAPES`] numbers. Different ones may have the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shape(usize);

impl Default for Shapes {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; SHAPES / WORD_BITS])
    }
}

impl Shapes {
    /// Takes note of what is provisioned together. To be called before it is in a table.
    pub(super) fn add<'a>(&self, impi: &Impi, impus: impl IntoIterator<Item = &'a Impu>) {
        self.add_one(Shape::of(impi.as_str()));
        for impu in impus {
            self.add_one(Shape::of(impu.as_str()));
        }
    }

    /// Whether an identity of this shape may have been provisioned.
    pub(super) fn may_have(&self, shape: Shape) -> bool {
        let (word, bit) = shape.place();
        self.0.get(word).is_none_or(|word| word.load(Ordering::Acquire) & bit != 0)
    }

    fn add_one(&self, shape: Shape) {
        let (word, bit) = shape.place();
        if let Some(word) = self.0.get(word) {
            word.fetch_or(bit, Ordering::Release);
        }
    }
}

impl Shape {
    /// The shape of an identity: of equal length and equal text from the `@` on, equal shapes.
    pub(super) fn of(identity: &str) -> Self {
        let host = identity.rsplit_once('@').map_or("", |(_, host)| host);
        let mix = |hash: u64, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        let hash = host.bytes().fold(mix(0xcbf2_9ce4_8422_2325, 0) ^ identity.len() as u64, mix);
        Self(usize::try_from(mix(hash, 0) >> 32).unwrap_or(0) % SHAPES)
    }

    const fn place(self) -> (usize, u64) {
        (self.0 / WORD_BITS, 1 << (self.0 % WORD_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_long_and_of_the_same_host_may_be_there() {
        let shapes = Shapes::default();
        let shape = |user: &str, host: &str| Shape::of(&format!("{user}@{host}"));
        assert!(!shapes.may_have(shape("in-abc", "b.example")));
        shapes.add(&Impi::parse("u-0123@b.example").unwrap(), [&Impu::parse("tel:+39").unwrap()]);
        assert!(shapes.may_have(shape("in-abc", "b.example")));
        assert!(!shapes.may_have(shape("in-abcd", "b.example")));
        assert!(!shapes.may_have(shape("in-abc", "c.example")));
        let others =
            (1..=200).filter(|length| shapes.may_have(shape(&"x".repeat(*length), "c.example")));
        assert!(others.count() < 3, "hosts are told apart at most lengths");
    }
}
