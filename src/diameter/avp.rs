//! Attribute-value pairs, read in place and written in place (RFC 6733 section 4).
//!
//! Nothing here knows what an AVP means: see `dictionary`. Reading never allocates and never loops
//! on a length of zero; depth and number of AVPs are bounded by who descends (`validate`).

use std::fmt;

use bytes::BytesMut;

use super::dictionary::Definition;

/// Identity of an AVP. The code alone is ambiguous: 621 and 623 exist for vendor 0 and for 10415.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AvpId {
    /// Vendor-Id; 0 for the AVPs of the IETF, whose header has no Vendor-Id field.
    pub vendor: u32,
    /// AVP Code.
    pub code: u32,
}

/// V bit: a Vendor-Id field follows the length.
pub const FLAG_VENDOR: u8 = 0x80;
/// M bit: a receiver that does not know the AVP rejects the message.
pub const FLAG_MANDATORY: u8 = 0x40;
/// The bits that no document defines. An unrecognized bit is an error (RFC 6733 section 4.1).
pub const FLAGS_RESERVED: u8 = 0x1f;

/// One AVP inside a received message.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Avp<'a> {
    /// Which AVP.
    pub id: AvpId,
    /// The flags octet.
    pub flags: u8,
    /// The data, without padding.
    pub data: &'a [u8],
    /// The whole AVP as received: header and data, without padding.
    pub octets: &'a [u8],
}

impl<'a> Avp<'a> {
    /// Whether the M bit is set.
    pub const fn is_mandatory(&self) -> bool {
        self.flags & FLAG_MANDATORY != 0
    }

    /// Reads the data as Unsigned32 or Enumerated; `None` if it is not 4 octets.
    pub fn unsigned32(&self) -> Option<u32> {
        self.data.try_into().ok().map(u32::from_be_bytes)
    }

    /// Reads the data as text; `None` if it is no UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.data).ok()
    }

    /// Reads the data as a group.
    pub const fn group(&self) -> AvpReader<'a> {
        AvpReader { rest: self.data }
    }

    /// Finds the first member of this definition, of a group.
    pub fn member(&self, definition: &Definition) -> Option<Avp<'a>> {
        self.group().find(definition)
    }
}

/// Shows the header only: the data may be an identity or a key.
impl fmt::Debug for Avp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AvpId { vendor, code } = self.id;
        write!(f, "Avp({vendor}/{code}, {:#04x}, {} octets)", self.flags, self.data.len())
    }
}

/// Reads AVPs one after another. Ends after the first malformed one.
#[derive(Clone)]
pub struct AvpReader<'a> {
    rest: &'a [u8],
}

impl<'a> AvpReader<'a> {
    /// Reads the AVPs in `octets`: the body of a message or the data of a group.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// Finds the first AVP of this definition, ignoring everything from a malformed AVP on.
    pub fn find(self, definition: &Definition) -> Option<Avp<'a>> {
        self.all(definition).next()
    }

    /// Finds the AVPs of these definitions in one pass, ignoring everything from a malformed AVP on.
    #[inline]
    pub fn gather<const N: usize>(self, wanted: [&Definition; N]) -> [Occurred<'a>; N] {
        let mut occurred = [Occurred::default(); N];
        for avp in self.map_while(Result::ok) {
            let place = wanted.iter().position(|wanted| wanted.id == avp.id);
            if let Some(occurred) = place.and_then(|place| occurred.get_mut(place)) {
                occurred.add(avp);
            }
        }
        occurred
    }

    /// Finds the first AVP of each of these definitions in one pass, ignoring everything from a malformed
    /// AVP on.
    #[inline]
    pub fn firsts<const N: usize>(self, wanted: [&Definition; N]) -> [Option<Avp<'a>>; N] {
        self.gather(wanted).map(|occurred| occurred.first)
    }

    /// Finds all AVPs of this definition, ignoring everything from a malformed AVP on.
    pub fn all(self, definition: &Definition) -> impl Iterator<Item = Avp<'a>> + use<'a> {
        let id = definition.id;
        self.map_while(Result::ok).filter(move |avp| avp.id == id)
    }
}

impl fmt::Debug for AvpReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AvpReader({} octets)", self.rest.len())
    }
}

impl<'a> Iterator for AvpReader<'a> {
    type Item = Result<Avp<'a>, InvalidAvpLength>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let split = split(self.rest);
        self.rest = split.map_or(&[], |(_, rest)| rest);
        Some(split.map(|(avp, _)| avp))
    }
}

/// The AVPs of one definition in a message or group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Occurred<'a> {
    /// The first one.
    pub first: Option<Avp<'a>>,
    /// How many there are.
    pub count: usize,
}

impl<'a> Occurred<'a> {
    /// Counts one more.
    #[inline]
    pub(super) fn add(&mut self, avp: Avp<'a>) {
        self.count += 1;
        self.first.get_or_insert(avp);
    }
}

/// An AVP whose length is less than its header or more than the octets that are there. The peer's
/// fault; nothing behind it can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("AVP {}/{} has an invalid length", id.vendor, id.code)]
pub struct InvalidAvpLength {
    /// Which AVP, with zeros for what is missing of its header.
    pub id: AvpId,
    /// The flags octet.
    pub flags: u8,
}

#[inline]
fn split(octets: &[u8]) -> Result<(Avp<'_>, &[u8]), InvalidAvpLength> {
    let Some((&[c0, c1, c2, c3, flags, l0, l1, l2], behind)) = octets.split_first_chunk() else {
        return Err(cut_header(octets));
    };
    let (vendor, header_octets) = match (flags & FLAG_VENDOR != 0, behind.first_chunk()) {
        (false, _) => (0, HEADER_OCTETS),
        (true, Some(vendor)) => (u32::from_be_bytes(*vendor), VENDOR_HEADER_OCTETS),
        (true, None) => return Err(cut_header(octets)),
    };
    let id = AvpId { vendor, code: u32::from_be_bytes([c0, c1, c2, c3]) };
    let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
    let invalid = InvalidAvpLength { id, flags };
    let (avp, _) = octets.split_at_checked(length).ok_or(invalid)?;
    let (_, data) = avp.split_at_checked(header_octets).ok_or(invalid)?;
    // The last AVP of a group may come without its padding.
    let rest = octets.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    Ok((Avp { id, flags, data, octets: avp }, rest))
}

/// The header without Vendor-Id, octets.
const HEADER_OCTETS: usize = 8;
/// The header with Vendor-Id, octets.
const VENDOR_HEADER_OCTETS: usize = 12;

#[cold]
fn cut_header(octets: &[u8]) -> InvalidAvpLength {
    let mut header = [0; VENDOR_HEADER_OCTETS];
    for (to, from) in header.iter_mut().zip(octets) {
        *to = *from;
    }
    let [c0, c1, c2, c3, flags, _, _, _, v0, v1, v2, v3] = header;
    let vendor = if flags & FLAG_VENDOR != 0 { u32::from_be_bytes([v0, v1, v2, v3]) } else { 0 };
    InvalidAvpLength { id: AvpId { vendor, code: u32::from_be_bytes([c0, c1, c2, c3]) }, flags }
}

/// The longest padding there is, and one octet more.
const PADDING: [u8; 4] = [0; 4];

/// Appends AVPs to a buffer; lengths of groups are filled in when the group ends.
pub struct AvpWriter<'a> {
    out: &'a mut BytesMut,
}

impl<'a> AvpWriter<'a> {
    /// Appends to `out`.
    pub const fn new(out: &'a mut BytesMut) -> Self {
        Self { out }
    }

    /// Writes an AVP with the flags that its definition asks for.
    pub fn octets(&mut self, definition: &Definition, data: &[u8]) {
        self.avp(definition.id, definition.flags(), data);
    }

    /// Writes text.
    pub fn text(&mut self, definition: &Definition, text: &str) {
        self.octets(definition, text.as_bytes());
    }

    /// Writes an Unsigned32 or Enumerated.
    pub fn unsigned32(&mut self, definition: &Definition, value: u32) {
        self.octets(definition, &value.to_be_bytes());
    }

    /// Writes a group of what `members` writes.
    pub fn group(&mut self, definition: &Definition, members: impl FnOnce(&mut AvpWriter<'_>)) {
        self.group_with_flags(definition.id, definition.flags(), members);
    }

    /// Writes an AVP with these flags. The V bit is set if and only if there is a vendor.
    #[inline]
    pub fn avp(&mut self, id: AvpId, flags: u8, data: &[u8]) {
        let start = self.out.len();
        let header_octets = if id.vendor == 0 { HEADER_OCTETS } else { VENDOR_HEADER_OCTETS };
        let length = header_octets + data.len();
        self.out.reserve(length + PADDING.len());
        self.header(id, flags, length);
        self.out.extend_from_slice(data);
        self.pad(start + length.next_multiple_of(4));
    }

    /// Writes a group with these flags. The V bit is set if and only if there is a vendor.
    pub fn group_with_flags(
        &mut self,
        id: AvpId,
        flags: u8,
        members: impl FnOnce(&mut AvpWriter<'_>),
    ) {
        let start = self.out.len();
        self.header(id, flags, 0);
        members(&mut AvpWriter { out: self.out });
        let length = self.out.len() - start;
        patch_length(self.out, start + 5, length);
        self.pad(start + length.next_multiple_of(4));
    }

    #[inline]
    fn header(&mut self, id: AvpId, flags: u8, length: usize) {
        let vendor_bit = if id.vendor == 0 { 0 } else { FLAG_VENDOR };
        let [c0, c1, c2, c3] = id.code.to_be_bytes();
        let [.., l0, l1, l2] = length.to_be_bytes();
        let flags = flags & !FLAG_VENDOR | vendor_bit;
        self.out.extend_from_slice(&[c0, c1, c2, c3, flags, l0, l1, l2]);
        if id.vendor != 0 {
            self.out.extend_from_slice(&id.vendor.to_be_bytes());
        }
    }

    /// Pads up to this end of the buffer: of a constant number of octets, the rest of which is taken back, as
    /// that is cheaper than a copy of none to three.
    #[inline]
    fn pad(&mut self, end: usize) {
        self.out.extend_from_slice(&PADDING);
        self.out.truncate(end);
    }

    /// Writes AVPs that are encoded and padded already.
    pub fn encoded(&mut self, avps: &[u8]) {
        self.out.extend_from_slice(avps);
    }

    /// Copies a received AVP, and pads it.
    pub fn copy(&mut self, avp: &Avp<'_>) {
        self.avp(avp.id, avp.flags, avp.data);
    }
}

/// Writes the low 24 bits of `length` at `at`. What is longer exceeds the message maximum, which
/// whoever ends the message checks.
pub(super) fn patch_length(out: &mut BytesMut, at: usize, length: usize) {
    let [.., high, middle, low] = length.to_be_bytes();
    if let Some(field) = out.get_mut(at..at + 3) {
        field.copy_from_slice(&[high, middle, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diameter::dictionary as avp;

    #[test]
    fn a_group_is_written_with_its_length_and_padding_and_reads_back() {
        let mut out = BytesMut::new();
        AvpWriter::new(&mut out).group(&avp::SIP_AUTH_DATA_ITEM, |item| {
            item.unsigned32(&avp::SIP_ITEM_NUMBER, 1);
            item.octets(&avp::SIP_AUTHORIZATION, b"abcde");
        });
        assert_eq!(out.len(), 12 + 16 + 20);
        let group = AvpReader::new(&out).find(&avp::SIP_AUTH_DATA_ITEM).unwrap();
        assert_eq!((group.flags, group.octets.len()), (0xc0, 48));
        let number = group.member(&avp::SIP_ITEM_NUMBER).unwrap();
        assert_eq!(number.unsigned32(), Some(1));
        assert_eq!(group.member(&avp::SIP_AUTHORIZATION).unwrap().data, b"abcde");
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_reading() {
        let id = AvpId { vendor: 0, code: 1 };
        for octets in [
            &[0, 0, 0, 1, 0x40, 0, 0, 7, 0, 0, 0, 0][..],
            &[0, 0, 0, 1, 0x40, 0, 0, 0][..],
            &[0, 0, 0, 1, 0x40, 0, 0, 13, 0, 0, 0, 0][..],
            &[0, 0, 0, 1, 0x40][..],
            &[0, 0, 0, 1, 0xc0, 0, 0, 8][..],
        ] {
            let mut reader = AvpReader::new(octets);
            assert_eq!(reader.next().unwrap().unwrap_err().id, id);
            assert_eq!(reader.next(), None);
        }
    }

    #[test]
    fn the_last_avp_of_a_group_may_lack_its_padding() {
        let mut reader = AvpReader::new(&[0, 0, 0, 1, 0x40, 0, 0, 9, b'x']);
        assert_eq!(reader.next().unwrap().unwrap().data, b"x");
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn an_avp_does_not_print_its_data() {
        let octets = [0, 0, 0, 1, 0x40, 0, 0, 13, b'a', b'l', b'i', b'c', b'e', 0, 0, 0];
        let avp = AvpReader::new(&octets).next().unwrap().unwrap();
        assert_eq!(format!("{avp:?}"), "Avp(0/1, 0x40, 5 octets)");
    }
}
