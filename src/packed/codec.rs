//! How the fields of a record become octets: numbers in as few as they need, texts with their length and of
//! few different characters several to an octet, texts that repeat as the number of a kept one.

use std::{str, sync::Arc};

use super::{
    characters::{Alphabet, Alphabets, NUMBER_CHARACTERS, PACKED_MAX},
    leb128,
    words::{Word, Words},
};
use crate::{
    identity::{IDENTITY_OCTETS_MAX, Impi, Impu, SipDatabaseId},
    time::Timestamp,
};

/// The shortest part of an identity that is worth having apart from what is before it.
const GENERATED_MIN: usize = 8;

/// The shortest text that is packed: of a shorter one an octet would be saved.
const PACKED_MIN: usize = 4;

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

/// What the first octet of a text says of the others: the form in its upper three bits, a number below, if that
/// is less than [`SHORT`]; else [`SHORT`], and what is to be added follows.
mod form {
    /// The number is that of a kept text.
    pub(super) const KEPT: u8 = 0;
    /// The number is that of the octets that follow.
    pub(super) const WHOLE: u8 = 1;
    /// The number is that of the characters of an alphabet.
    pub(super) const HEXADECIMAL: u8 = 2;
    pub(super) const NUMERIC: u8 = 3;
    pub(super) const GENERATED: u8 = 4;
    /// In place of a public identity: [`super::SCHEME`] and the private one before it. The number is none.
    pub(super) const SAME: u8 = 5;
}

const SHORT: u8 = 31;

/// [`NUMBER_CHARACTERS`], which a first octet has room for.
const GENERATED_SHORT: u8 = 13;
const _: () = assert!(GENERATED_SHORT as usize == NUMBER_CHARACTERS && GENERATED_SHORT < SHORT);

/// The number, if the first octet has room for it.
#[inline]
fn short(number: usize) -> Option<u8> {
    u8::try_from(number).ok().filter(|number| *number < SHORT)
}

/// The first octet of a text, with a short number.
const fn first_octet(form: u8, number: u8) -> u8 {
    form << 5 | number
}

/// What most public identities have before the private one.
const SCHEME: &str = "sip:";

/// Octets of a version that may be put in later: whatever it is, and for some thousand years of commits.
const VERSION_OCTETS: usize = 7;

/// Where in a row its version is.
#[derive(Clone, Copy, Debug)]
pub struct VersionPlace(usize);

impl VersionPlace {
    pub(super) fn put(self, version: u64, octets: &mut [u8]) {
        if let Some(to) = octets.get_mut(self.0..).and_then(<[u8]>::first_chunk_mut) {
            *to = version_octets(version);
        }
    }
}

fn version_octets(version: u64) -> [u8; VERSION_OCTETS] {
    let [_, octets @ ..] = version.to_be_bytes();
    octets
}

impl Writer<'_> {
    /// Writes the number of the commit that wrote the record, or room for it.
    #[inline]
    pub fn version(&mut self, version: u64) -> VersionPlace {
        let place = VersionPlace(self.octets.len());
        self.octets.extend_from_slice(&version_octets(version));
        place
    }

    /// Writes a number that is small most of the time.
    #[inline]
    pub fn number(&mut self, number: u64) {
        leb128::append(number, self.octets);
    }

    /// Writes a number that uses all of its 64 bits.
    pub fn number_64(&mut self, number: u64) {
        self.octets.extend_from_slice(&number.to_be_bytes());
    }

    /// Writes a point in time: in seven octets, for some thousand years.
    pub fn time(&mut self, time: Timestamp) {
        let [_, octets @ ..] = time.as_micros().min(FAR).to_be_bytes();
        self.octets.extend_from_slice(&octets);
        if time.as_micros() >= FAR {
            self.number_64(time.as_micros());
        }
    }

    /// Writes a text that is in no other record.
    pub fn text(&mut self, text: &str) {
        let mut alphabets = Alphabets::ALL;
        if (PACKED_MIN..=PACKED_MAX).contains(&text.len()) {
            text.bytes().for_each(|octet| alphabets.narrow(octet));
        }
        self.text_of(alphabets, text);
    }

    /// Writes a text all of whose characters are in these alphabets.
    fn text_of(&mut self, alphabets: Alphabets, text: &str) {
        match alphabets.best(text.len()).filter(|_| text.len() >= PACKED_MIN) {
            Some(alphabet) => self.packed(alphabet, text),
            None => self.whole(text),
        }
    }

    fn whole(&mut self, text: &str) {
        self.head(form::WHOLE, text.len());
        self.octets.extend_from_slice(text.as_bytes());
    }

    /// Writes a text that may be in other records too.
    pub fn word(&mut self, text: &str) {
        match self.words.number_of(text) {
            Some(number) => self.head(form::KEPT, number),
            None => self.text(text),
        }
    }

    /// Writes a private identity.
    pub fn impi(&mut self, impi: &str) {
        self.identity(impi);
    }

    /// Writes a public identity.
    pub fn impu(&mut self, impu: &str) {
        self.identity(impu);
    }

    /// Writes a private and a public identity that belong together.
    pub fn pair(&mut self, impi: &str, impu: &str) {
        self.identity(impi);
        if impu.strip_prefix(SCHEME) == Some(impi) {
            self.head(form::SAME, 0);
        } else {
            self.identity(impu);
        }
    }

    /// Writes an identity of which is known that it is the characters of `number`
    /// ([`ends_of`](super::ends_of)) between two texts that others have too.
    #[inline]
    pub fn generated(&mut self, before: &Word, number: u64, after: &Word) {
        if let Some(before) = self.words.number_of_word(before).and_then(short)
            && let Some(after) = self.words.number_of_word(after).and_then(short)
        {
            // As one value: so it is written for every pair that is lent.
            let head = u128::from(first_octet(form::GENERATED, GENERATED_SHORT));
            let (before, after) = (first_octet(form::KEPT, before), first_octet(form::KEPT, after));
            let (before, packed) = (u128::from(before), Alphabet::packed_number(number));
            let all = before << 88 | head << 80 | packed << 8 | u128::from(after);
            let [_, _, _, _, octets @ ..] = all.to_be_bytes();
            return self.octets.extend_from_slice(&octets);
        }
        self.same_word(before);
        self.head(form::GENERATED, NUMBER_CHARACTERS);
        let [_, _, _, _, _, _, _, octets @ ..] = Alphabet::packed_number(number).to_be_bytes();
        self.octets.extend_from_slice(&octets);
        self.same_word(after);
    }

    /// As [`Self::word`], for who writes this one always.
    #[inline]
    pub fn same_word(&mut self, word: &Word) {
        match self.words.number_of_word(word) {
            Some(number) => self.head(form::KEPT, number),
            None => self.text(word.as_str()),
        }
    }

    /// Writes what an identity begins with, if something follows that was generated; its user part; its host
    /// with the `@` before it.
    fn identity(&mut self, identity: &str) {
        // Users are short: to set a vectorized search up would take longer than this.
        let (mut head, mut host, mut alphabets) = (0, identity.len(), Alphabets::ALL);
        for (at, octet) in identity.bytes().enumerate() {
            match octet {
                b'-' | b':' => (head, alphabets) = (at + 1, Alphabets::ALL),
                b'@' => {
                    host = at;
                    break;
                }
                _ => alphabets.narrow(octet),
            }
        }
        let (user, host) = identity.split_at(host);
        let (head, rest) = user.split_at(head);
        if head.is_empty() {
            self.head(form::WHOLE, 0);
            self.text_of(alphabets, user);
        } else if rest.len() >= GENERATED_MIN
            && let Some(alphabet) = alphabets.best(rest.len())
        {
            self.word(head);
            self.packed(alphabet, rest);
        } else {
            self.head(form::WHOLE, 0);
            self.text(user);
        }
        self.word(host);
    }

    fn packed(&mut self, alphabet: Alphabet, text: &str) {
        let form = match alphabet {
            Alphabet::Hexadecimal => form::HEXADECIMAL,
            Alphabet::Numeric => form::NUMERIC,
            Alphabet::Generated => form::GENERATED,
        };
        self.head(form, text.len());
        alphabet.pack(text, self.octets);
    }

    #[inline]
    fn head(&mut self, form: u8, number: usize) {
        if let Some(number) = short(number) {
            self.octets.push(first_octet(form, number));
        } else {
            self.octets.push(first_octet(form, SHORT));
            self.number((number - usize::from(SHORT)) as u64);
        }
    }
}

/// A time that takes more than seven octets, or is their highest value.
const FAR: u64 = (1 << 56) - 1;

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

    /// Reads what [`Writer::version`] wrote.
    pub fn version(&mut self) -> Option<u64> {
        self.seven()
    }

    /// Reads a number of 64 bits.
    pub fn number_64(&mut self) -> Option<u64> {
        self.some().map(u64::from_be_bytes)
    }

    /// Reads a point in time.
    pub fn time(&mut self) -> Option<Timestamp> {
        let micros = self.seven()?;
        let micros = if micros < FAR { micros } else { self.number_64()? };
        Some(Timestamp::from_micros(micros))
    }

    /// Reads a text.
    pub fn text(&mut self) -> Option<String> {
        String::from_utf8(self.piece()?.with(<[u8]>::to_vec)).ok()
    }

    /// Reads a text and gives its octets to `to`.
    pub fn text_with<T>(&mut self, to: impl FnOnce(&[u8]) -> T) -> Option<T> {
        Some(self.piece()?.with(to))
    }

    /// Reads past a text and tells whether it is `text`.
    pub fn is_text(&mut self, text: &str) -> Option<bool> {
        Some(self.piece()?.with(|it| it == text.as_bytes()))
    }

    /// Reads a text to be kept: without an allocation, where that is possible.
    pub fn shared_text(&mut self) -> Option<Arc<str>> {
        match self.piece()? {
            Piece::Kept(text) => Some(Arc::clone(text)),
            piece @ (Piece::Whole(_) | Piece::Packed { .. }) => {
                piece.with(|octets| str::from_utf8(octets).ok().map(Arc::from))
            }
        }
    }

    /// Reads a private identity.
    pub fn impi(&mut self) -> Option<Impi> {
        self.identity(Impi::from_checked)
    }

    /// Reads a public identity.
    pub fn impu(&mut self) -> Option<Impu> {
        self.identity(Impu::from_checked)
    }

    /// Reads the identity of a SIP database, written as a [`Writer::word`].
    pub fn database(&mut self) -> Option<SipDatabaseId> {
        self.shared_text().map(SipDatabaseId::from_checked)
    }

    /// Reads past an identity and tells whether it is `identity`.
    pub fn is_identity(&mut self, identity: &str) -> Option<bool> {
        let mut rest = Some(identity.as_bytes());
        for _ in 0..3 {
            let piece = self.piece()?;
            rest = rest.and_then(|rest| piece.with(|piece| rest.strip_prefix(piece)));
        }
        Some(rest == Some(b""))
    }

    /// Reads what was written as a pair.
    pub fn pair(&mut self) -> Option<(Impi, Impu)> {
        let impi = self.impi()?;
        let impu = if self.is_same() { with_scheme(&impi)? } else { self.impu()? };
        Some((impi, impu))
    }

    /// Reads past a pair and tells whether it is this one.
    pub fn is_pair(&mut self, impi: &str, impu: &str) -> Option<bool> {
        let is_impi = self.is_identity(impi)?;
        let is_impu = if self.is_same() {
            impu.strip_prefix(SCHEME) == Some(impi)
        } else {
            self.is_identity(impu)?
        };
        Some(is_impi && is_impu)
    }

    /// Reads that a public identity is the private one with a scheme, if it is.
    fn is_same(&mut self) -> bool {
        let is_same = self.octets.first() == Some(&(form::SAME << 5));
        if is_same {
            self.octets = self.octets.get(1..).unwrap_or_default();
        }
        is_same
    }

    /// Reads past an identity.
    pub fn skip_identity(&mut self) -> Option<()> {
        (0..3).try_for_each(|_| self.piece().map(drop))
    }

    fn identity<T>(&mut self, from_checked: impl FnOnce(&str) -> T) -> Option<T> {
        let mut octets = [0; IDENTITY_OCTETS_MAX];
        let mut length = 0;
        for _ in 0..3 {
            length += self.piece()?.with(|piece| {
                let to = octets.get_mut(length..length + piece.len())?;
                to.copy_from_slice(piece);
                Some(to.len())
            })?;
        }
        str::from_utf8(octets.get(..length)?).ok().map(from_checked)
    }

    #[inline]
    fn piece(&mut self) -> Option<Piece<'a>> {
        let (form, number) = self.head()?;
        let alphabet = match form {
            form::KEPT => return self.words.text_of(number).map(Piece::Kept),
            form::HEXADECIMAL => Alphabet::Hexadecimal,
            form::NUMERIC => Alphabet::Numeric,
            form::GENERATED => Alphabet::Generated,
            _ => return self.octets.split_off(..number).map(Piece::Whole),
        };
        let octets = self.octets.split_off(..alphabet.octets_of(number))?;
        (number <= PACKED_MAX).then_some(Piece::Packed { alphabet, length: number, octets })
    }

    fn head(&mut self) -> Option<(u8, usize)> {
        let first = *self.octets.split_off_first()?;
        let (form, number) = (first >> 5, first & SHORT);
        if number < SHORT {
            return Some((form, number.into()));
        }
        let more = usize::try_from(self.number()?).ok()?;
        Some((form, more.checked_add(SHORT.into())?))
    }

    /// Reads a number of seven octets.
    fn seven(&mut self) -> Option<u64> {
        let mut octets = [0; 8];
        octets.last_chunk_mut().zip(self.some::<7>()).map(|(to, seven)| *to = seven)?;
        Some(u64::from_be_bytes(octets))
    }

    fn some<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.octets.split_first_chunk()?;
        self.octets = rest;
        Some(*octets)
    }
}

/// A text, or a part of an identity, as it is in a record.
enum Piece<'a> {
    Kept(&'a Arc<str>),
    Whole(&'a [u8]),
    Packed { alphabet: Alphabet, length: usize, octets: &'a [u8] },
}

impl Piece<'_> {
    /// Gives the octets of the text to `to`; unpacked on the stack, if need be.
    #[inline]
    fn with<T>(self, to: impl FnOnce(&[u8]) -> T) -> T {
        let (alphabet, length, octets) = match self {
            Self::Kept(text) => return to(text.as_bytes()),
            Self::Whole(text) => return to(text),
            Self::Packed { alphabet, length, octets } => (alphabet, length, octets),
        };
        let mut characters = [0; PACKED_MAX];
        alphabet.unpack(octets, &mut characters);
        to(characters.get(..length).unwrap_or_default())
    }
}

/// The public identity that is a private one with a scheme.
fn with_scheme(impi: &Impi) -> Option<Impu> {
    let impi = impi.as_str();
    let mut octets = [0; IDENTITY_OCTETS_MAX];
    let octets = octets.get_mut(..SCHEME.len() + impi.len())?;
    let (scheme, rest) = octets.split_at_mut(SCHEME.len());
    scheme.copy_from_slice(SCHEME.as_bytes());
    rest.copy_from_slice(impi.as_bytes());
    str::from_utf8(octets).ok().map(Impu::from_checked)
}

#[cfg(test)]
mod tests {
    use ahash::RandomState;

    use super::{super::characters::ends_of, *};

    #[test]
    fn what_was_written_is_read_whether_words_are_kept_by_then_or_not() {
        let words = Words::new(RandomState::with_seeds(1, 2, 3, 4));
        let times = [0, 1_800_000_000_123_456, FAR - 1, FAR, FAR + 1, u64::MAX];
        let times = times.map(Timestamp::from_micros);
        let long = "x".repeat(1_000);
        let texts =
            ["", "call-id@192.0.2.1", "192.0.2.1:5060", "0badcafe0badcafe0badcafe0badcafe1", &long];
        for _ in 0..3 {
            let mut octets = Vec::new();
            let mut writer = Writer { octets: &mut octets, words: &words };
            for number in [0, 127, 128, 300, u64::MAX] {
                writer.number(number);
                writer.number_64(number);
            }
            for text in texts {
                writer.text(text);
                writer.word(text);
            }
            for time in times {
                writer.time(time);
            }
            let impus = ["sip:user@b.example", "sip:mig-abcdefghijkmn@b.example", "tel:+39061234"]
                .map(|it| Impu::parse(it).unwrap());
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
            for text in texts {
                assert_eq!(reader.text().as_deref(), Some(text));
                assert_eq!(reader.is_text(text), Some(true));
            }
            assert_eq!(times.map(|_| reader.time()), times.map(Some));
            assert_eq!(reader.impi(), Some(impi));
            assert_eq!([(); 3].map(|()| reader.impu()), impus.map(Some));
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
            for identity in ["user@b.example", "mig-abcdefghijkmn@b.example"] {
                assert!(is(identity, identity));
                let (one, another) = (format!("x{identity}"), identity.replace("@b", "@a"));
                let (less, shorter) = (identity.replace("r@", "@"), identity.replace("n@", "@"));
                for other in [&one, &another, &less, &shorter, "", "user@b.exampl"] {
                    assert_eq!(is(identity, other), identity == other, "{other}");
                }
            }
        }
    }

    #[test]
    fn a_pair_is_read_and_compared_as_it_was_written() {
        let words = Words::new(RandomState::with_seeds(1, 2, 3, 4));
        let long = format!("{}@b.example", "u".repeat(240));
        let pairs = [
            ("user@b.example", "sip:user@b.example"),
            ("user@b.example", "sip:other@b.example"),
            ("user@b.example", "sips:user@b.example"),
            ("user@b.example", "tel:+39061234"),
            ("mig-abcdefghijkmn@b.example", "sip:mig-abcdefghijkmn@b.example"),
            (&long, "sip:user@b.example"),
        ];
        for _ in 0..3 {
            for (impi, impu) in pairs {
                let mut octets = Vec::new();
                Writer { octets: &mut octets, words: &words }.pair(impi, impu);
                let reader = || Reader { octets: &octets, words: &words };
                let read = reader().pair().unwrap();
                assert_eq!((read.0.as_str(), read.1.as_str()), (impi, impu));
                for (other_impi, other_impu) in pairs {
                    let is_it = (impi, impu) == (other_impi, other_impu);
                    assert_eq!(reader().is_pair(other_impi, other_impu), Some(is_it));
                }
            }
        }
    }

    #[test]
    fn a_generated_identity_is_written_without_a_look_at_its_characters() {
        let words = Words::new(RandomState::with_seeds(1, 2, 3, 4));
        let [first, last] = ends_of(u64::MAX / 3);
        let characters = [&first[..5], &last].concat();
        for (before, after) in [("mig-", "@b.example"), ("", "-x@b.example")] {
            let identity = format!("{before}{}{after}", str::from_utf8(&characters).unwrap());
            let (before, after) = (Word::new(before), Word::new(after));
            for _ in 0..3 {
                let mut octets = Vec::new();
                let mut writer = Writer { octets: &mut octets, words: &words };
                writer.generated(&before, u64::MAX / 3, &after);
                let mut reader = Reader { octets: &octets, words: &words };
                assert_eq!(reader.impi(), Impi::parse(&identity).ok());
            }
        }
    }
}
