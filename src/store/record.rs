//! How a record becomes octets: one octet of format version, then postcard.

use postcard::ser_flavors::Flavor;

use crate::packed::leb128;

/// The format that this build writes. A reader refuses a higher one instead of guessing.
const FORMAT_VERSION: u8 = 1;

/// Octets that most records have room in.
const ENCODED_OCTETS: usize = 256;

/// Encodes a record.
///
/// # Panics
///
/// If the record's type has a serializer that can fail, which is a bug: all of ours are plain data.
pub fn encode(record: &impl serde::Serialize) -> Vec<u8> {
    let mut octets = Vec::with_capacity(ENCODED_OCTETS);
    octets.push(FORMAT_VERSION);
    #[expect(clippy::expect_used, reason = "serializing plain data into a growing Vec cannot fail")]
    postcard::serialize_with_flavor(record, Octets(octets)).expect("records are plain data")
}

/// Writes a record field by field, with the octets that [`encode`] gives. For records of which so many are
/// written that their time counts; a test compares the two.
#[derive(Debug)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// A record without fields yet.
    #[expect(clippy::new_without_default, reason = "a record without fields is none")]
    pub fn new() -> Self {
        let mut octets = Vec::with_capacity(ENCODED_OCTETS);
        octets.push(FORMAT_VERSION);
        Self(octets)
    }

    /// Writes a number, the place of an enum's variant, or a `bool`.
    #[inline]
    pub fn number(&mut self, number: u64) -> &mut Self {
        leb128::append(number, &mut self.0);
        self
    }

    /// Writes a text.
    #[inline]
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// The encoded record.
    pub fn into_octets(self) -> Vec<u8> {
        self.0
    }
}

/// Takes what postcard writes: texts as a whole, where `postcard::to_extend` would take them octet by octet.
struct Octets(Vec<u8>);

impl Flavor for Octets {
    type Output = Vec<u8>;

    #[inline]
    fn try_push(&mut self, octet: u8) -> postcard::Result<()> {
        self.0.push(octet);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, octets: &[u8]) -> postcard::Result<()> {
        match octets {
            [octet] => self.0.push(*octet), // such as a length
            _ => self.0.extend_from_slice(octets),
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Decodes a record.
///
/// # Errors
///
/// [`RecordError`] when the octets were written by a newer build or are damaged.
pub fn decode<'de, T: serde::Deserialize<'de>>(octets: &'de [u8]) -> Result<T, RecordError> {
    match octets.split_first() {
        Some((&FORMAT_VERSION, body)) => {
            postcard::from_bytes(body).map_err(|_| RecordError::Damaged)
        }
        Some((&version, _)) => Err(RecordError::NewerFormat { version }),
        None => Err(RecordError::Damaged),
    }
}

/// Why a stored record cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer build.
    #[error(
        "record format {version} is newer than this build's {FORMAT_VERSION}: use a newer migcore"
    )]
    NewerFormat {
        /// The format version found.
        version: u8,
    },
    /// Not what any build writes.
    #[error("record is damaged")]
    Damaged,
}

/// What is wrong with a record that can be read and yet is none that a role wrote. `what` continues a
/// sentence that begins with the field.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field} {what}")]
pub struct WrongField {
    /// The field, or `key`.
    pub field: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
}

impl WrongField {
    /// Fails with `field` and `what` unless `holds`.
    ///
    /// # Errors
    ///
    /// [`WrongField`].
    pub const fn unless(holds: bool, field: &'static str, what: &'static str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self { field, what }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_build_is_refused() {
        let mut octets = encode(&("a", 7_u32));
        assert_eq!(decode::<(String, u32)>(&octets), Ok(("a".to_owned(), 7)));
        octets[0] = FORMAT_VERSION + 1;
        let newer = RecordError::NewerFormat { version: FORMAT_VERSION + 1 };
        assert_eq!(decode::<(String, u32)>(&octets), Err(newer));
        assert_eq!(decode::<(String, u32)>(&[]), Err(RecordError::Damaged));
    }
}
