//! A text that is short as a rule.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use arrayvec::ArrayString;

/// Octets of a text that is kept in place: a public identity made of an IMSI fits (TS 23.003 clause 13.4B), and
/// all of it is one cache line.
const IN_PLACE_OCTETS: usize = 56;

/// A text that stands where it is kept, if it fits: to make, copy or compare it takes neither an allocation nor a
/// fetch from elsewhere.
#[derive(Clone)]
pub(super) enum ShortText {
    InPlace(ArrayString<IN_PLACE_OCTETS>),
    Elsewhere(Arc<str>),
}

impl From<&str> for ShortText {
    fn from(text: &str) -> Self {
        match ArrayString::from(text) {
            Ok(text) => Self::InPlace(text),
            Err(_) => Self::Elsewhere(text.into()),
        }
    }
}

impl ShortText {
    /// This text with `characters` from `place` on, or `None` if it is kept elsewhere, ends before, or one of those or
    /// of what they replace is not ASCII.
    #[inline]
    #[expect(unsafe_code, reason = "to check that this is a text takes longer than all the rest")]
    pub(super) fn with<const N: usize>(&self, place: usize, characters: &[u8; N]) -> Option<Self> {
        let Self::InPlace(text) = self else { return None };
        let mut text = *text;
        // SAFETY: ASCII in place of ASCII, which is checked before, leaves UTF-8.
        let replaced = unsafe { text.as_bytes_mut() }.get_mut(place..)?.first_chunk_mut()?;
        let all = |octets: &[u8; N]| octets.iter().fold(0, |all, octet| all | octet);
        if !(all(characters) | all(replaced)).is_ascii() {
            return None;
        }
        *replaced = *characters;
        Some(Self::InPlace(text))
    }
}

impl Deref for ShortText {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::InPlace(text) => text,
            Self::Elsewhere(text) => text,
        }
    }
}

impl PartialEq for ShortText {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ShortText {}

impl PartialOrd for ShortText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShortText {
    fn cmp(&self, other: &Self) -> Ordering {
        str::cmp(self, other)
    }
}

/// As the hash of a `str`, by which tables are searched.
impl Hash for ShortText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_wherever_it_is_kept() {
        for octets in [0, 1, IN_PLACE_OCTETS - 1, IN_PLACE_OCTETS, IN_PLACE_OCTETS + 1, 253] {
            let text = "x".repeat(octets);
            let (one, other) = (ShortText::from(text.as_str()), ShortText::from(text.as_str()));
            assert!(*one == *text && one == other && one.cmp(&other) == Ordering::Equal);
            assert_eq!(matches!(one, ShortText::InPlace(_)), octets <= IN_PLACE_OCTETS);
            assert!(one < ShortText::from(format!("{text}y").as_str()));
        }
    }

    #[test]
    fn only_ascii_replaces_only_ascii_and_only_in_place() {
        let text = ShortText::from("sip:aaa@b.example");
        assert!(text.with(4, b"xyz") == Some(ShortText::from("sip:xyz@b.example")));
        assert!(text.with(14, b"xyz") == Some(ShortText::from("sip:aaa@b.examxyz")));
        assert!(text.with(15, b"xyz").is_none() && text.with(99, b"xyz").is_none());
        assert!(text.with(4, &[b'x', 0x80, b'z']).is_none());
        assert!(ShortText::from("sip:a\u{e9}@b.example").with(4, b"xyz").is_none());
        assert!(ShortText::from("a".repeat(IN_PLACE_OCTETS + 1).as_str()).with(0, b"x").is_none());
    }
}
