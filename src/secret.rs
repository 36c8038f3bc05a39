//! Octets that must not be printed, compared in variable time, or left in memory.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret of exactly `N` octets: zeroized on drop, compared in constant time, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes the octets in.
    pub const fn new(octets: [u8; N]) -> Self {
        Self(octets)
    }

    /// Gives the octets to an algorithm or to the wire. Nothing else should need them.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({N} octets)")
    }
}

/// A secret whose length is a property of the value: RES of 4 to 16 octets, CK and IK of 16 or 32.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Copies the octets in.
    pub fn new(octets: &[u8]) -> Self {
        Self(octets.to_vec())
    }

    /// Gives the octets to an algorithm or to the wire. Nothing else should need them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for SecretBytes {
    /// Constant time for equal lengths; the length itself is not secret.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} octets)", self.0.len())
    }
}

/// A secret text, such as a password: zeroized on drop, compared in constant time, never printed.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives the text to an algorithm or to the wire. Nothing else should need it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretText {
    /// Constant time for equal lengths; the length itself is not secret.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretText {}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText({} octets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_and_compares_by_value() {
        let key = Secret::new(*b"0123456789abcdef");
        assert_eq!(format!("{key:?}"), "Secret(16 octets)");
        assert!(key == key.clone());
        assert!(key != Secret::new([0; 16]));
        assert_eq!(format!("{:?}", SecretBytes::new(b"abc")), "SecretBytes(3 octets)");
        assert!(SecretBytes::new(b"abc") != SecretBytes::new(b"abcd"));
        assert_eq!(format!("{:?}", SecretText::new("abc")), "SecretText(3 octets)");
        assert!(SecretText::new("abc") == SecretText::new("abc"));
        assert!(SecretText::new("abc") != SecretText::new("abd"));
    }
}
