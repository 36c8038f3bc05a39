//! Texts that repeat from record to record, each kept once.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicU16, AtomicU32, Ordering},
};

use ahash::RandomState;

/// Texts that one table of words keeps. What comes later is written out in the records.
pub const WORDS_MAX: usize = 4_096;
/// Longest text kept, octets.
pub const WORD_OCTETS_MAX: usize = 512;

/// A number costs an octet or two; a shorter text is not worth one.
const WORD_OCTETS_MIN: usize = 3;
/// Places of the hash table, at most half of them taken.
const PLACES: usize = 2 * WORDS_MAX;
/// Numbers that are found without the hash of their text.
const RECENT: usize = 64;

/// The texts that repeat: domains, server names, names of pools, parameters of contacts.
///
/// A text is kept when it is seen for the second time, so that what never repeats, such as the
/// identifier of a device, leaves the place to what does. Nothing kept is ever dropped: a number, once in
/// a record, stays good. So looking one up takes no lock.
#[derive(Debug)]
pub(super) struct Words {
    hasher: RandomState,
    /// One more than the number of the text looked up last of those whose length and octets at three places
    /// select this place: most records have the same few.
    recent: [AtomicU16; RECENT],
    /// Hashes of texts seen once, each in the place that it selects.
    seen: Box<[AtomicU32]>,
    /// One more than the number of a text, in the first place from the one that its hash selects that was
    /// free; zero is free.
    numbers: Box<[AtomicU16]>,
    texts: Box<[OnceLock<Arc<str>>]>,
    /// How many are kept. Locked while one is added.
    kept: Mutex<u16>,
}

impl Words {
    /// Keeps nothing yet.
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            recent: [const { AtomicU16::new(0) }; RECENT],
            seen: (0..WORDS_MAX).map(|_| AtomicU32::new(0)).collect(),
            numbers: (0..PLACES).map(|_| AtomicU16::new(0)).collect(),
            texts: (0..WORDS_MAX).map(|_| OnceLock::new()).collect(),
            kept: Mutex::new(0),
        }
    }

    /// The number of `text`, if it is kept or is from now on.
    #[inline]
    pub(super) fn number_of(&self, text: &str) -> Option<usize> {
        if !(WORD_OCTETS_MIN..=WORD_OCTETS_MAX).contains(&text.len()) {
            return None;
        }
        let recent = self.recent(text)?;
        let number = usize::from(recent.load(Ordering::Relaxed)).wrapping_sub(1);
        if self.text_of(number).is_some_and(|kept| is_same(kept, text)) {
            return Some(number);
        }
        self.look_up(text).inspect(|number| remember(*number, recent))
    }

    /// The number of a text that is always the same.
    #[inline]
    pub(super) fn number_of_word(&self, word: &Word) -> Option<usize> {
        let known = usize::from(word.number.load(Ordering::Acquire)).checked_sub(1);
        debug_assert!(known.is_none_or(|it| self.text_of(it).is_some_and(|it| **it == *word.text)));
        known.or_else(|| self.learn(word))
    }

    #[cold]
    fn learn(&self, word: &Word) -> Option<usize> {
        self.number_of(&word.text).inspect(|number| remember(*number, &word.number))
    }

    /// Where the number of `text` is, if it was looked up lately.
    #[inline]
    fn recent(&self, text: &str) -> Option<&AtomicU16> {
        let (octets, length) = (text.as_bytes(), text.len());
        let [a, b, c] = [1, length / 2, length - 1].map(|at| octets.get(at).copied());
        let [.., d] = length.to_be_bytes();
        let mixed = u32::from_le_bytes([a?, b?, c?, d]).wrapping_mul(0x9e37_79b1);
        self.recent.get(usize::try_from(mixed >> (u32::BITS - RECENT.ilog2())).unwrap_or(0))
    }

    #[inline(never)]
    fn look_up(&self, text: &str) -> Option<usize> {
        let hash = self.hasher.hash_one(text);
        match self.find(hash, text) {
            Ok(number) => Some(number),
            Err(_) if self.is_seen_again(hash) => self.keep(hash, text),
            Err(_) => None,
        }
    }

    /// The text of a number.
    #[inline]
    pub(super) fn text_of(&self, number: usize) -> Option<&Arc<str>> {
        self.texts.get(number)?.get()
    }

    /// The number of `text`, or the place where it would be kept.
    fn find(&self, hash: u64, text: &str) -> Result<usize, Option<&AtomicU16>> {
        let start = usize::try_from(hash % PLACES as u64).unwrap_or(0);
        for place in (start..PLACES).chain(0..start) {
            let Some(place) = self.numbers.get(place) else { break };
            let Some(number) = usize::from(place.load(Ordering::Acquire)).checked_sub(1) else {
                return Err(Some(place));
            };
            if self.text_of(number).is_some_and(|kept| **kept == *text) {
                return Ok(number);
            }
        }
        Err(None)
    }

    fn is_seen_again(&self, hash: u64) -> bool {
        let [a, b, c, d, ..] = hash.to_be_bytes();
        let seen = u32::from_be_bytes([a, b, c, d]) | 1; // zero is nothing
        let place = usize::try_from(hash % WORDS_MAX as u64).unwrap_or(0);
        self.seen.get(place).is_some_and(|last| last.swap(seen, Ordering::Relaxed) == seen)
    }

    fn keep(&self, hash: u64, text: &str) -> Option<usize> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = match self.find(hash, text) {
            Ok(number) => return Some(number), // another worker was faster
            Err(place) => place?,
        };
        let number = usize::from(*kept);
        self.texts.get(number)?.set(text.into()).ok()?;
        *kept += 1;
        place.store(*kept, Ordering::Release); // after the text: whoever finds the number finds that
        Some(number)
    }
}

/// A text that somebody writes in record after record of one table, and of no other one: it knows its number
/// there.
#[derive(Debug)]
pub struct Word {
    text: Box<str>,
    /// One more than the number, or zero.
    number: AtomicU16,
}

impl Word {
    /// A text of which no table knows yet.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), number: AtomicU16::new(0) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// As `==`, of texts that are short and the same as a rule: a call of the library's would take longer than all the rest.
#[inline]
fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let ((ones, _), (others, _)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        _ if one.len() != other.len() => false,
        (Some(last), Some(other_last)) => last == other_last && ones.iter().eq(others),
        _ => one.iter().eq(other),
    }
}

/// Puts the number of a text where it is found without a look at the others.
fn remember(number: usize, at: &AtomicU16) {
    // After the text, as where it is kept.
    at.store(u16::try_from(number + 1).unwrap_or(0), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn a_text_is_kept_when_it_is_seen_again() {
        let words = words();
        assert_eq!(words.number_of("b.example"), None);
        let number = words.number_of("b.example").unwrap();
        assert_eq!(words.number_of("b.example"), Some(number));
        assert_eq!(words.text_of(number).map(|text| &**text), Some("b.example"));
        assert_eq!((words.number_of("ab"), words.number_of("ab")), (None, None), "too short");
        let long = "x".repeat(WORD_OCTETS_MAX + 1);
        assert_eq!((words.number_of(&long), words.number_of(&long)), (None, None), "too long");
    }

    #[test]
    fn what_never_repeats_takes_no_place_and_the_places_are_bounded() {
        let words = words();
        for device in 0..100_000 {
            assert_eq!(words.number_of(&format!("urn:device:{device}")), None);
        }
        for domain in 0..2 * WORDS_MAX {
            let domain = format!("system{domain}.example");
            let again = (words.number_of(&domain), words.number_of(&domain)).1;
            assert!(again.is_none_or(|number| number < WORDS_MAX));
        }
        assert_eq!(usize::from(*words.kept.lock().unwrap()), WORDS_MAX);
        assert!(words.text_of(WORDS_MAX).is_none());
    }
}
