//! Texts of few different characters: the numbers that devices, addresses and generated identities consist
//! of take four or five bits a character.

#![expect(
    clippy::indexing_slicing,
    reason = "each table has an entry for every index: an octet, or bits that were masked"
)]

/// The longest text that is packed, characters: as many as fit in a small buffer on the way back.
pub(super) const PACKED_MAX: usize = 64;

/// What the characters of a text are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Alphabet {
    /// Identifiers of calls.
    Hexadecimal,
    /// Addresses with their ports, serial numbers, and what such a parameter ends with.
    Numeric,
    /// What identity pools generate.
    Generated,
}

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";
const NUMERIC: &[u8; 16] = b"0123456789.:-@>\"";

/// What identity pools generate: lower case letters and digits without those that people confuse (l, o, 0, 1).
pub const GENERATED: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// How many of [`GENERATED`] tell a number of 64 bits, five bits a character.
pub const NUMBER_CHARACTERS: usize = 13;

/// The two characters of an octet, or of ten bits.
type Pairs<const N: usize> = [[u8; 2]; N];
/// By character: its number in each alphabet, and a bit for each alphabet that it is not of.
type Numbers = [[u8; 4]; 256];

static HEXADECIMAL_PAIRS: Pairs<256> = pairs(HEXADECIMAL);
static NUMERIC_PAIRS: Pairs<256> = pairs(NUMERIC);
static GENERATED_PAIRS: Pairs<1024> = pairs(GENERATED);
static NUMBERS: Numbers = numbers();

/// The alphabets that all characters of a text are in, as far as it has been looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alphabets {
    /// A bit for each alphabet that it is not of.
    others: u8,
}

impl Alphabets {
    /// Of no character.
    pub(super) const ALL: Self = Self { others: 0 };

    /// Goes on to the next character.
    #[inline]
    pub(super) fn narrow(&mut self, character: u8) {
        self.others |= NUMBERS[usize::from(character)][3];
    }

    /// The alphabet that a text of this `length` is best packed by, if it can be.
    #[inline]
    pub(super) fn best(self, length: usize) -> Option<Alphabet> {
        if self.others == 7 || !(2..=PACKED_MAX).contains(&length) {
            return None;
        }
        let all = [Alphabet::Hexadecimal, Alphabet::Numeric, Alphabet::Generated];
        all.into_iter().find(|alphabet| self.others & (1 << alphabet.place()) == 0)
    }
}

impl Alphabet {
    /// Appends `text`, which is of this alphabet.
    pub(super) fn pack(self, text: &str, to: &mut Vec<u8>) {
        let (text, place) = (text.as_bytes(), self.place());
        let number = |character: &u8| NUMBERS[usize::from(*character)][place];
        if self != Self::Generated {
            let (pairs, last) = text.as_chunks::<2>();
            to.extend(pairs.iter().map(|[one, two]| number(one) << 4 | number(two)));
            to.extend(last.first().map(|one| number(one) << 4));
            return;
        }
        for eight in text.chunks(8) {
            let bits = eight.iter().fold(0, |bits, it| bits << 5 | u64::from(number(it)));
            let octets = (bits << (64 - 5 * eight.len())).to_be_bytes();
            to.extend_from_slice(octets.get(..self.octets_of(eight.len())).unwrap_or_default());
        }
    }

    /// How many octets `length` packed characters take.
    pub(super) const fn octets_of(self, length: usize) -> usize {
        match self {
            Self::Hexadecimal | Self::Numeric => length.div_ceil(2),
            Self::Generated => (5 * length).div_ceil(8),
        }
    }

    /// What the thirteen characters of a generated number are packed to: the last nine octets of what is returned.
    pub(super) fn packed_number(number: u64) -> u128 {
        // Eight characters are five octets, the other five are 25 bits of four.
        u128::from(number >> 25) << 32 | u128::from(number << 39) >> 32
    }

    const fn place(self) -> usize {
        match self {
            Self::Hexadecimal => 0,
            Self::Numeric => 1,
            Self::Generated => 2,
        }
    }

    /// Puts the characters that [`Self::pack`] wrote in `octets` at the beginning of `to`.
    pub(super) fn unpack(self, octets: &[u8], to: &mut [u8; PACKED_MAX]) {
        let to = to.as_chunks_mut::<2>().0;
        match self {
            Self::Hexadecimal => unpack_pairs(&HEXADECIMAL_PAIRS, octets, to),
            Self::Numeric => unpack_pairs(&NUMERIC_PAIRS, octets, to),
            Self::Generated => unpack_generated(octets, to),
        }
    }
}

/// A number of 64 bits in [`NUMBER_CHARACTERS`] characters of [`GENERATED`]: the first eight of them and the last eight,
/// which are copied in less time than one after the other.
#[inline]
pub fn ends_of(number: u64) -> [[u8; 8]; 2] {
    let bits = |shift: u32| usize::try_from(number >> shift & 1023).unwrap_or(0);
    let pair = |shift| u64::from(u16::from_le_bytes(GENERATED_PAIRS[bits(shift)]));
    let first = u64::from(GENERATED[bits(60)]) | pair(50) << 8 | pair(40) << 24;
    let [five_six, seven_eight] = [pair(30), pair(20)];
    let first = first | five_six << 40 | seven_eight << 56;
    let last = five_six | seven_eight << 16 | pair(10) << 32 | pair(0) << 48;
    [first.to_le_bytes(), last.to_le_bytes()]
}

fn unpack_pairs(pairs: &Pairs<256>, octets: &[u8], to: &mut [[u8; 2]]) {
    for (to, octet) in to.iter_mut().zip(octets) {
        *to = pairs[usize::from(*octet)];
    }
}

fn unpack_generated(octets: &[u8], to: &mut [[u8; 2]]) {
    for (to, five) in to.as_chunks_mut::<4>().0.iter_mut().zip(octets.chunks(5)) {
        let bits = five.iter().fold(0, |bits, octet| bits << 8 | usize::from(*octet));
        let bits = bits << (8 * (5 - five.len()));
        for (to, shift) in to.iter_mut().zip([30, 20, 10, 0]) {
            *to = GENERATED_PAIRS[bits >> shift & 1023];
        }
    }
}

const fn pairs<const N: usize>(characters: &[u8]) -> Pairs<N> {
    let mut pairs = [[0; 2]; N];
    let mut pair = 0;
    while pair < N {
        pairs[pair] = [characters[pair / characters.len()], characters[pair % characters.len()]];
        pair += 1;
    }
    pairs
}

const fn numbers() -> Numbers {
    let mut numbers = [[0, 0, 0, 7]; 256];
    let alphabets: [&[u8]; 3] = [HEXADECIMAL, NUMERIC, GENERATED];
    let mut place = 0;
    while place < 3 {
        let mut number = 0;
        while number < alphabets[place].len() {
            let character = alphabets[place][number] as usize;
            #[expect(clippy::cast_possible_truncation, reason = "below 32")]
            let of = number as u8;
            numbers[character][place] = of;
            numbers[character][3] &= !(1 << place);
            number += 1;
        }
        place += 1;
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_unpacked_as_it_was_packed_whatever_its_length() {
        let alphabets = [
            (Alphabet::Hexadecimal, &HEXADECIMAL[..]),
            (Alphabet::Numeric, &NUMERIC[..]),
            (Alphabet::Generated, &GENERATED[..]),
        ];
        for (alphabet, characters) in alphabets {
            for length in 2..=PACKED_MAX {
                let repeated = characters.iter().rev().cycle().take(length).copied().collect();
                let text = String::from_utf8(repeated).unwrap();
                let mut octets = Vec::new();
                alphabet.pack(&text, &mut octets);
                assert_eq!(octets.len(), alphabet.octets_of(length));
                let mut characters = [0; PACKED_MAX];
                alphabet.unpack(&octets, &mut characters);
                assert_eq!(&characters[..length], text.as_bytes());
            }
        }
    }

    #[test]
    fn a_number_is_packed_as_its_characters_are() {
        for number in [0, 1, 31, 32, 1 << 25, (1 << 25) - 1, 1 << 60, u64::MAX / 3, u64::MAX] {
            let [first, last] = ends_of(number);
            assert_eq!(first[5..], last[..3]);
            let characters = String::from_utf8([&first[..5], &last[..]].concat()).unwrap();
            let digits = characters.bytes().map(|it| GENERATED.iter().position(|of| *of == it));
            let value = digits.fold(0, |value, digit| value << 5 | digit.unwrap() as u64);
            assert_eq!((characters.len(), value), (NUMBER_CHARACTERS, number));
            let mut whole = Vec::new();
            Alphabet::Generated.pack(&characters, &mut whole);
            assert_eq!(whole, Alphabet::packed_number(number).to_be_bytes()[7..], "{number}");
        }
    }

    #[test]
    fn only_texts_of_an_alphabet_are_packed() {
        let alphabet_of = |text: &str| {
            let mut alphabets = Alphabets::ALL;
            text.bytes().for_each(|octet| alphabets.narrow(octet));
            alphabets.best(text.len())
        };
        assert_eq!(alphabet_of("90420156-025763-0>\""), Some(Alphabet::Numeric));
        assert_eq!(alphabet_of("192.0.2.1:5060"), Some(Alphabet::Numeric));
        assert_eq!(alphabet_of("0123456789abcdef"), Some(Alphabet::Hexadecimal));
        assert_eq!(alphabet_of("xyz23456789kw"), Some(Alphabet::Generated));
        let others = ["", "a", "ABCDEF", "0123456789abcdefg", "\u{e9}\u{e9}", "a b", "192.0.2.1/"];
        for other in others.map(str::to_owned).into_iter().chain(["2".repeat(PACKED_MAX + 1)]) {
            assert_eq!(alphabet_of(&other), None, "{other}");
        }
    }
}
