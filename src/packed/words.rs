//! Texts that repeat from record to record, each kept once.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use ahash::RandomState;

/// Texts that one [`Words`] keeps. What comes later is written out in the records.
pub const WORDS_MAX: usize = 4_096;
/// Longest text kept, octets.
pub const WORD_OCTETS_MAX: usize = 512;

/// A number costs an octet or two; a shorter text is not worth one.
const WORD_OCTETS_MIN: usize = 3;

/// The texts that repeat: domains, server names, names of pools, parameters of contacts.
///
/// A text is kept when it is seen for the second time, so that what never repeats, such as the
/// identifier of a device, leaves the place to what does. Nothing kept is ever dropped: a number, once in
/// a record, stays good.
#[derive(Debug)]
pub(super) struct Words {
    hasher: RandomState,
    /// Hashes of texts seen once, each in the place that it selects.
    seen: Box<[AtomicU32]>,
    numbers: RwLock<HashMap<Arc<str>, usize, RandomState>>,
    texts: Box<[OnceLock<Arc<str>>]>,
}

impl Words {
    /// Keeps nothing yet.
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            seen: (0..WORDS_MAX).map(|_| AtomicU32::new(0)).collect(),
            numbers: RwLock::new(HashMap::with_hasher(hasher.clone())),
            texts: (0..WORDS_MAX).map(|_| OnceLock::new()).collect(),
            hasher,
        }
    }

    /// The number of `text`, if it is kept or is from now on.
    pub(super) fn number_of(&self, text: &str) -> Option<usize> {
        if !(WORD_OCTETS_MIN..=WORD_OCTETS_MAX).contains(&text.len()) {
            return None;
        }
        let numbers = self.numbers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get(text) {
            return Some(*number);
        }
        let has_room = numbers.len() < self.texts.len();
        drop(numbers);
        (has_room && self.is_seen_again(text)).then(|| self.keep(text)).flatten()
    }

    /// The text of a number.
    pub(super) fn text_of(&self, number: usize) -> Option<&Arc<str>> {
        self.texts.get(number)?.get()
    }

    fn is_seen_again(&self, text: &str) -> bool {
        let hash = self.hasher.hash_one(text);
        let [.., a, b, c, d] = hash.to_be_bytes();
        let seen = u32::from_be_bytes([a, b, c, d]) | 1; // zero is nothing
        let place = usize::try_from(hash >> 32).unwrap_or(0) % WORDS_MAX;
        self.seen.get(place).is_some_and(|last| last.swap(seen, Ordering::Relaxed) == seen)
    }

    fn keep(&self, text: &str) -> Option<usize> {
        let mut numbers = self.numbers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get(text) {
            return Some(*number); // another worker was faster
        }
        let number = numbers.len();
        let text: Arc<str> = text.into();
        self.texts.get(number)?.set(Arc::clone(&text)).ok()?;
        numbers.insert(text, number);
        Some(number)
    }
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
        assert_eq!(words.numbers.read().unwrap().len(), WORDS_MAX);
        assert!(words.text_of(WORDS_MAX).is_none());
    }
}
