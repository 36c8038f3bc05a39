//! A text that is short as a rule.

use std::{
    cmp::Ordering,
    fmt,
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

/// A text of which some characters are always other ones: many are made of it.
pub(crate) struct Pattern {
    sample: ShortText,
    place: usize,
    length: usize,
    /// Where the first eight characters begin and the last eight, if the sample is kept in place and all that they
    /// replace is ASCII.
    places: Option<[usize; 2]>,
}

/// The first eight and the last eight of some characters: two words, which are copied in less time than one character after
/// the other.
pub(crate) type Ends = [[u8; WORD_OCTETS]; 2];

const WORD_OCTETS: usize = 8;

/// In an octet that is not ASCII one of these bits is set.
const NOT_ASCII: u64 = 0x8080_8080_8080_8080;

impl Pattern {
    /// The texts that are as `sample`, but for `length` characters from the octet `place` on.
    pub(super) fn new(sample: &str, place: usize, length: usize) -> Self {
        let end = place + length;
        let fits = (WORD_OCTETS..=2 * WORD_OCTETS).contains(&length)
            && sample.get(place..end).is_some_and(str::is_ascii);
        let sample = ShortText::from(sample);
        let fits = fits && matches!(sample, ShortText::InPlace(_));
        Self { sample, place, length, places: fits.then(|| [place, end - WORD_OCTETS]) }
    }

    /// The text with these characters.
    #[inline]
    pub(super) fn with(&self, ends: &Ends) -> ShortText {
        let [first, last] = ends.map(u64::from_ne_bytes);
        match self.places {
            Some(places) if (first | last) & NOT_ASCII == 0 => self.in_place(places, ends),
            _ => self.whole(ends),
        }
    }

    /// The same with ASCII characters: made where it is returned, for what was just written is copied slowly.
    #[inline]
    #[expect(unsafe_code, reason = "to check that this is a text takes longer than all the rest")]
    fn in_place(&self, places: [usize; 2], ends: &Ends) -> ShortText {
        let mut made = self.sample.clone();
        if let ShortText::InPlace(text) = &mut made {
            // SAFETY: ASCII, which the caller checks, in place of ASCII, which `new` checked, leaves UTF-8.
            let octets = unsafe { text.as_bytes_mut() };
            for (place, end) in places.into_iter().zip(ends) {
                if let Some(to) = octets.get_mut(place..).and_then(<[u8]>::first_chunk_mut) {
                    *to = *end;
                }
            }
        }
        made
    }

    /// The same for a text of any length, with whatever characters.
    #[cold]
    fn whole(&self, ends: &Ends) -> ShortText {
        let [first, last] = ends;
        let own = self.length.saturating_sub(WORD_OCTETS);
        let characters = first.iter().take(own).chain(last).copied().map(char::from);
        let (head, rest) = self.sample.split_at_checked(self.place).unwrap_or_default();
        let tail = rest.get(self.length..).unwrap_or_default();
        head.chars().chain(characters).chain(tail.chars()).collect::<String>().as_str().into()
    }
}

/// The text does not print.
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern").field("length", &self.length).finish_non_exhaustive()
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
    fn a_pattern_gives_its_sample_with_other_characters_however_long_it_is() {
        let ends = [*b"12345678", *b"67890abc"];
        for rest in ["", "b.example", "\u{e9}", &"b".repeat(IN_PLACE_OCTETS), &"\u{e9}".repeat(90)]
        {
            for head in ["", "sip:", "s\u{e9}p-"] {
                let pattern = |sample: &str| {
                    Pattern::new(&format!("{head}{sample}@{rest}"), head.len(), 13).with(&ends)
                };
                let made = format!("{head}1234567890abc@{rest}");
                assert_eq!(*pattern("aaaaaaaaaaaaa"), made, "all ASCII");
                assert_eq!(*pattern("aaaaaaaaaaa\u{e9}"), made, "not all ASCII");
            }
        }
        let latin = [[0xe9; 8]; 2];
        assert_eq!(*Pattern::new("aaaaaaaa@b", 0, 8).with(&latin), "\u{e9}".repeat(8) + "@b");
    }
}
