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
    /// The text that these parts make.
    pub(super) fn concat(parts: [&str; 3]) -> Self {
        let mut text = ArrayString::new();
        if parts.into_iter().all(|part| text.try_push_str(part).is_ok()) {
            return Self::InPlace(text);
        }
        Self::Elsewhere(parts.concat().into())
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
            let (head, tail) = text.split_at(octets / 3);
            assert!(ShortText::concat([head, "", tail]) == one);
        }
    }
}
