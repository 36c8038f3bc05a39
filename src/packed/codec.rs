//! How the fields of a record become octets: numbers in as few as they need, texts with their length,
//! texts that repeat as the number of a kept one.

use std::{str, sync::Arc};

use super::words::Words;
use crate::{
    identity::{IDENTITY_OCTETS_MAX, Impi, Impu, SipDatabaseId},
    time::Timestamp,
};

/// Writes the fields of a record, one after the other.
#[derive(Debug)]
pub struct Writer<'a> {
    pub(super) octets: &'a mut Vec<u8>,
    pub(super) words: &'a Words,
}

/// Reads the fields of a record in the order in which they were written. `None` tells that the octets are
/// not those of such a record; what a [`Writer`] wrote always reads.
#[derive(Debug)]
pub struct Reader<'a> {
    pub(super) octets: &'a [u8],
    pub(super) words: &'a Words,
}

impl Writer<'_> {
    /// Writes a number that is small most of the time.
    pub fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.octets.push(low_octet(number) | 0x80);
            number >>= 7;
        }
        self.octets.push(low_octet(number));
    }

    /// Writes a number that uses all of its 64 bits.
    pub fn number_64(&mut self, number: u64) {
        self.octets.extend_from_slice(&number.to_be_bytes());
    }

    /// Writes a point in time.
    pub fn time(&mut self, time: Timestamp) {
        self.number(time.as_micros());
    }

    /// Writes a text that is in no other record.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.octets.extend_from_slice(text.as_bytes());
    }

    /// Writes a text that may be in other records too.
    pub fn word(&mut self, text: &str) {
        if let Some(number) = self.words.number_of(text) {
            return self.number(number as u64 * 2 + 1);
        }
        self.number(text.len() as u64 * 2);
        self.octets.extend_from_slice(text.as_bytes());
    }

    /// Writes a private identity: its user part, then its realm.
    pub fn impi(&mut self, impi: &str) {
        self.identity(impi);
    }

    /// Writes a public identity: scheme and user part, then its host.
    pub fn impu(&mut self, impu: &str) {
        self.identity(impu);
    }

    fn identity(&mut self, identity: &str) {
        let host = memchr::memrchr(b'@', identity.as_bytes()).map_or(identity.len(), |at| at + 1);
        let (user, host) = identity.split_at(host);
        self.text(user);
        self.word(host);
    }
}

impl<'a> Reader<'a> {
    /// Reads a number.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let octet = *self.octets.split_off_first()?;
            number |= u64::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// Reads a number of 64 bits.
    pub fn number_64(&mut self) -> Option<u64> {
        let (octets, rest) = self.octets.split_first_chunk()?;
        self.octets = rest;
        Some(u64::from_be_bytes(*octets))
    }

    /// Reads a point in time.
    pub fn time(&mut self) -> Option<Timestamp> {
        self.number().map(Timestamp::from_micros)
    }

    /// Reads a text.
    pub fn text(&mut self) -> Option<&'a str> {
        let length = self.number()?;
        str::from_utf8(self.octets_of(length)?).ok()
    }

    /// Reads a text that may be in other records too.
    pub fn word(&mut self) -> Option<&'a str> {
        match self.word_form()? {
            Word::Kept(text) => Some(text),
            Word::WrittenOut(octets) => str::from_utf8(octets).ok(),
        }
    }

    /// Reads such a text to be kept: without an allocation, where that is possible.
    pub fn shared_word(&mut self) -> Option<Arc<str>> {
        match self.word_form()? {
            Word::Kept(text) => Some(Arc::clone(text)),
            Word::WrittenOut(octets) => str::from_utf8(octets).ok().map(Arc::from),
        }
    }

    /// Reads a private identity.
    pub fn impi(&mut self) -> Option<Impi> {
        self.identity().map(Impi::from_checked)
    }

    /// Reads a public identity.
    pub fn impu(&mut self) -> Option<Impu> {
        self.identity().map(Impu::from_checked)
    }

    /// Reads the identity of a SIP database, written as a [`Writer::word`].
    pub fn database(&mut self) -> Option<SipDatabaseId> {
        self.shared_word().map(SipDatabaseId::from_checked)
    }

    /// Reads past an identity and tells whether it is `identity`.
    pub fn is_identity(&mut self, identity: &str) -> Option<bool> {
        let (user, host) = self.halves()?;
        Some(identity.as_bytes().strip_prefix(user).is_some_and(|rest| rest == host))
    }

    /// Reads past an identity.
    pub fn skip_identity(&mut self) -> Option<()> {
        self.halves().map(|_| ())
    }

    fn identity(&mut self) -> Option<Arc<str>> {
        let (user, host) = self.halves()?;
        let mut text = [0; IDENTITY_OCTETS_MAX];
        let (head, rest) = text.split_at_mut_checked(user.len())?;
        head.copy_from_slice(user);
        rest.get_mut(..host.len())?.copy_from_slice(host);
        str::from_utf8(text.get(..user.len() + host.len())?).ok().map(Arc::from)
    }

    /// The octets of an identity before its host, and those of the host.
    fn halves(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let length = self.number()?;
        let user = self.octets_of(length)?;
        let host = match self.word_form()? {
            Word::Kept(host) => host.as_bytes(),
            Word::WrittenOut(host) => host,
        };
        Some((user, host))
    }

    fn word_form(&mut self) -> Option<Word<'a>> {
        let number = self.number()?;
        if number % 2 == 0 {
            return self.octets_of(number / 2).map(Word::WrittenOut);
        }
        self.words.text_of(usize::try_from(number / 2).ok()?).map(Word::Kept)
    }

    fn octets_of(&mut self, length: u64) -> Option<&'a [u8]> {
        self.octets.split_off(..usize::try_from(length).ok()?)
    }
}

/// A text that may be in other records too, as it is in this one.
enum Word<'a> {
    Kept(&'a Arc<str>),
    WrittenOut(&'a [u8]),
}

const fn low_octet(number: u64) -> u8 {
    let [.., octet] = number.to_be_bytes();
    octet
}

#[cfg(test)]
mod tests {
    use ahash::RandomState;

    use super::*;

    #[test]
    fn what_was_written_is_read_whether_words_are_kept_by_then_or_not() {
        let words = Words::new(RandomState::with_seeds(1, 2, 3, 4));
        for _ in 0..3 {
            let mut octets = Vec::new();
            let mut writer = Writer { octets: &mut octets, words: &words };
            for number in [0, 127, 128, 300, u64::MAX] {
                writer.number(number);
                writer.number_64(number);
            }
            for text in ["", "call-id@192.0.2.1", &"x".repeat(1_000)] {
                writer.text(text);
                writer.word(text);
            }
            let impus = ["sip:user@b.example", "tel:+39061234"].map(|it| Impu::parse(it).unwrap());
            let impi = Impi::parse(&format!("{}@b.example", "u".repeat(240))).unwrap();
            writer.impi(impi.as_str());
            for impu in &impus {
                writer.impu(impu.as_str());
            }
            writer.word("sipdb.b.example");
            let mut reader = Reader { octets: &octets, words: &words };
            for number in [0, 127, 128, 300, u64::MAX] {
                assert_eq!((reader.number(), reader.number_64()), (Some(number), Some(number)));
            }
            for text in ["", "call-id@192.0.2.1", &"x".repeat(1_000)] {
                assert_eq!((reader.text(), reader.word()), (Some(text), Some(text)));
            }
            assert_eq!(reader.impi(), Some(impi));
            assert_eq!([reader.impu(), reader.impu()], impus.map(Some));
            assert_eq!(reader.database(), SipDatabaseId::parse("sipdb.b.example").ok());
            assert_eq!((reader.octets.len(), reader.number(), reader.text()), (0, None, None));
        }
    }

    #[test]
    fn an_identity_is_compared_as_a_whole() {
        let words = Words::new(RandomState::with_seeds(1, 2, 3, 4));
        let is = |written: &str, asked: &str| {
            let mut octets = Vec::new();
            Writer { octets: &mut octets, words: &words }.impi(written);
            Reader { octets: &octets, words: &words }.is_identity(asked).unwrap()
        };
        for _ in 0..3 {
            assert!(is("user@b.example", "user@b.example"));
            for other in ["user@a.example", "use@b.example", "user@b.exampl", "xuser@b.example", ""]
            {
                assert!(!is("user@b.example", other), "{other}");
            }
        }
    }
}
