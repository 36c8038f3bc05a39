//! Octets that must not be printed, compared in variable time, or left in memory.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing, optimization_barrier};

/// A secret of exactly `N` octets: zeroized on drop, compared in constant time, never printed.
#[derive(Clone)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        erase(&mut self.0);
    }
}

impl<const N: usize> ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> Secret<N> {
    /// Takes the octets in.
    pub const fn new(octets: [u8; N]) -> Self {
        Self(octets)
    }

    /// Reads exactly `2 * N` hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 2 * N || !text.is_ascii() {
            return None;
        }
        let mut octets = Zeroizing::new([0; N]);
        for (octet, pair) in octets.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let mut digits = pair.iter().map(|digit| char::from(*digit).to_digit(16));
            let (high, low) = (digits.next()??, digits.next()??);
            *octet = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self::new(*octets))
    }

    /// Writes `2 * N` hexadecimal digits in lower case.
    pub fn to_hex(&self) -> Zeroizing<String> {
        // Never grown, so that no copy is left behind.
        let mut text = Zeroizing::new(String::with_capacity(2 * N));
        for nibble in self.0.iter().flat_map(|octet| [octet >> 4, octet & 15]) {
            text.extend(char::from_digit(nibble.into(), 16));
        }
        text
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

/// Erases octets, as many at a time as the processor can: `zeroize` would do so one by one, and a vector has
/// some hundred of them.
fn erase<const N: usize>(octets: &mut [u8; N]) {
    *octets = [0; N];
    optimization_barrier(octets);
}

/// A secret whose length is a property of the value: RES of 4 to 16 octets, CK and IK of 16 or 32. Zeroized
/// on drop, compared in constant time, never printed.
#[derive(Clone)]
pub struct SecretBytes(Octets);

/// Octets of a secret. Those of a vector have no allocation of their own.
#[derive(Clone)]
enum Octets {
    Short { octets: [u8; SHORT_OCTETS_MAX], length: u8 },
    Long(Box<[u8]>),
}

const SHORT_OCTETS_MAX: usize = 32;

impl SecretBytes {
    /// Copies the octets in.
    pub fn new(octets: &[u8]) -> Self {
        let mut short = [0; SHORT_OCTETS_MAX];
        Self(match (short.get_mut(..octets.len()), u8::try_from(octets.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(octets);
                Octets::Short { octets: short, length }
            }
            _ => Octets::Long(octets.into()),
        })
    }

    /// Gives the octets to an algorithm or to the wire. Nothing else should need them.
    pub fn expose(&self) -> &[u8] {
        match &self.0 {
            Octets::Short { octets, length } => {
                octets.get(..usize::from(*length)).unwrap_or_default()
            }
            Octets::Long(octets) => octets,
        }
    }
}

impl Default for SecretBytes {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        match &mut self.0 {
            Octets::Short { octets, .. } => erase(octets),
            Octets::Long(octets) => octets.zeroize(),
        }
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl PartialEq for SecretBytes {
    /// Constant time for equal lengths; the length itself is not secret.
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} octets)", self.expose().len())
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
    fn hexadecimal_digits_are_read_exactly() {
        let read = |text| Secret::<2>::from_hex(text).map(|amf| *amf.expose());
        assert_eq!(read("80fF"), Some([0x80, 0xff]));
        for wrong in ["", "80f", "80ff0", "80fg", "+0ff", "8\u{e4}f"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(*Secret::new([0x80, 0xff, 0x0a]).to_hex(), "80ff0a");
    }

    #[test]
    fn a_secret_of_any_length_is_kept_as_it_is() {
        for length in [0, 1, 8, 31, 32, 33, 255, 256, 300] {
            let octets: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let secret = SecretBytes::new(&octets);
            assert_eq!(secret.expose(), octets);
            assert!(secret == secret.clone());
            assert!(secret != SecretBytes::new(&[octets.as_slice(), &[0]].concat()));
        }
    }

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
