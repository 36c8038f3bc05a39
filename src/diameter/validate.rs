//! Checks of received requests against the grammar of their command, and what a violation is
//! answered with (RFC 6733 sections 7.1 and 7.5).

use std::fmt;

use bytes::BytesMut;

use super::{
    avp::{Avp, AvpId, AvpReader, AvpWriter, FLAGS_RESERVED, InvalidAvpLength, Occurred},
    dictionary::{self, Definition, Format},
    message::Message,
};

/// Most AVPs in one message, members of groups included.
pub const AVPS_MAX: usize = 1_024;
/// Deepest nesting of groups, levels. Cx needs two.
pub const GROUP_DEPTH_MAX: usize = 4;
/// Longest AVP that a Failed-AVP repeats whole, octets; of a longer one it holds the header.
pub const FAILED_AVP_OCTETS_MAX: usize = 4_096;

/// Base Result-Codes of the classes protocol error (3xxx) and permanent failure (5xxx).
pub mod code {
    #![expect(missing_docs, reason = "the names are the specification's")]
    pub const COMMAND_UNSUPPORTED: u32 = 3001;
    pub const TOO_BUSY: u32 = 3004;
    pub const APPLICATION_UNSUPPORTED: u32 = 3007;
    pub const INVALID_HDR_BITS: u32 = 3008;
    pub const INVALID_AVP_BITS: u32 = 3009;
    pub const UNKNOWN_PEER: u32 = 3010;
    pub const AVP_UNSUPPORTED: u32 = 5001;
    pub const INVALID_AVP_VALUE: u32 = 5004;
    pub const MISSING_AVP: u32 = 5005;
    pub const AVP_NOT_ALLOWED: u32 = 5008;
    pub const AVP_OCCURS_TOO_MANY_TIMES: u32 = 5009;
    pub const NO_COMMON_APPLICATION: u32 = 5010;
    pub const UNSUPPORTED_VERSION: u32 = 5011;
    pub const UNABLE_TO_COMPLY: u32 = 5012;
    pub const INVALID_AVP_LENGTH: u32 = 5014;
    pub const INVALID_MESSAGE_LENGTH: u32 = 5015;
}

/// Why a request is not processed: what the error answer says.
#[derive(Clone, Eq, PartialEq)]
pub struct Rejection {
    /// Result-Code, one of [`code`].
    pub result_code: u32,
    /// The data of the Failed-AVP: the offending AVP, inside its groups, padded.
    pub failed_avp: Option<Vec<u8>>,
    /// Error-Message; sent where there is no Failed-AVP.
    pub error_message: &'static str,
}

impl Rejection {
    /// Rejects without a Failed-AVP.
    pub const fn new(result_code: u32, error_message: &'static str) -> Self {
        Self { result_code, failed_avp: None, error_message }
    }

    /// `DIAMETER_INVALID_AVP_VALUE`: the data of `avp` means nothing.
    pub fn invalid_value(avp: &Avp<'_>) -> Self {
        Self::with_avp(code::INVALID_AVP_VALUE, "invalid AVP value", avp)
    }

    /// `DIAMETER_MISSING_AVP`: the Failed-AVP holds an example with the least data.
    pub fn missing(definition: &Definition) -> Self {
        let id = definition.id;
        Self {
            result_code: code::MISSING_AVP,
            failed_avp: Some(example(id, definition.flags(), definition.format)),
            error_message: "missing AVP",
        }
    }

    /// The same, with the Failed-AVP inside the group that it is about.
    #[must_use]
    pub fn inside(mut self, group: &Definition) -> Self {
        if let Some(avp) = &mut self.failed_avp {
            *avp = encode(|writer| writer.group(group, |members| members.encoded(avp)));
        }
        self
    }

    #[cold]
    fn too_many(rule: &Occurrence, avp: &Avp<'_>) -> Self {
        if rule.max == 0 {
            return Self::with_avp(code::AVP_NOT_ALLOWED, "AVP not allowed", avp);
        }
        Self::with_avp(code::AVP_OCCURS_TOO_MANY_TIMES, "AVP occurs too many times", avp)
    }

    fn with_avp(result_code: u32, error_message: &'static str, avp: &Avp<'_>) -> Self {
        let failed_avp = if avp.octets.len() > FAILED_AVP_OCTETS_MAX {
            let format = dictionary::definition(avp.id).map_or(Format::OctetString, |d| d.format);
            example(avp.id, avp.flags, format)
        } else {
            encode(|writer| writer.copy(avp))
        };
        Self { result_code, failed_avp: Some(failed_avp), error_message }
    }

    fn invalid_length(broken: InvalidAvpLength) -> Self {
        let format = dictionary::definition(broken.id).map_or(Format::OctetString, |d| d.format);
        Self {
            result_code: code::INVALID_AVP_LENGTH,
            failed_avp: Some(example(broken.id, broken.flags, format)),
            error_message: "invalid AVP length",
        }
    }
}

/// Leaves out the Failed-AVP: it may hold an identity.
impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rejection({}, {})", self.result_code, self.error_message)
    }
}

/// An AVP with zeros for data, as few as the format allows (RFC 6733 section 7.5).
fn example(id: AvpId, flags: u8, format: Format) -> Vec<u8> {
    let zeros = [0; 6];
    let data = zeros.get(..format.octets_min()).unwrap_or_default();
    encode(|writer| writer.avp(id, flags, data))
}

fn encode(write: impl FnOnce(&mut AvpWriter<'_>)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut AvpWriter::new(&mut out));
    out.to_vec()
}

/// How often an AVP may occur in a command.
#[derive(Clone, Copy, Debug)]
pub struct Occurrence {
    /// Which AVP.
    pub avp: &'static Definition,
    /// At least.
    pub min: usize,
    /// At most; 0 forbids it.
    pub max: usize,
}

/// Requires the AVP exactly once.
pub const fn once(avp: &'static Definition) -> Occurrence {
    Occurrence { avp, min: 1, max: 1 }
}

/// Allows the AVP once.
pub const fn optional(avp: &'static Definition) -> Occurrence {
    Occurrence { avp, min: 0, max: 1 }
}

/// Forbids the AVP.
pub const fn forbidden(avp: &'static Definition) -> Occurrence {
    Occurrence { avp, min: 0, max: 0 }
}

/// Requires the AVP, and allows it up to `max` times.
pub const fn up_to(max: usize, avp: &'static Definition) -> Occurrence {
    Occurrence { avp, min: 1, max }
}

/// Checks the AVPs of a request: lengths, flags, formats and unknown mandatory AVPs at every
/// level, occurrences at the top. Missing M bits and any order are tolerated. Returns what occurred of each rule,
/// in the order of the grammar.
///
/// # Errors
///
/// The [`Rejection`] of the first violation on the wire; of missing AVPs after that.
pub fn check<'a, const N: usize>(
    avps: AvpReader<'a>,
    grammar: &[Occurrence; N],
) -> Result<[Occurred<'a>; N], Rejection> {
    let mut budget = AVPS_MAX;
    let mut occurred = [Occurred::default(); N];
    // Mostly AVPs come in the order of the grammar: the rule behind the last one is tried first.
    let mut next = 0;
    for avp in avps {
        let avp = match avp {
            Ok(avp) => avp,
            Err(broken) => return Err(Rejection::invalid_length(broken)),
        };
        let is_ruled = |rule: &Occurrence| rule.avp.id == avp.id;
        let place = match grammar.get(next) {
            Some(rule) if is_ruled(rule) => Some(next),
            _ => grammar.iter().position(is_ruled),
        };
        let Some((rule, occurred)) =
            place.and_then(|place| grammar.get(place).zip(occurred.get_mut(place)))
        else {
            check_avp(&avp, dictionary::definition(avp.id), &mut budget, GROUP_DEPTH_MAX)?;
            continue;
        };
        check_avp(&avp, Some(rule.avp), &mut budget, GROUP_DEPTH_MAX)?;
        occurred.add(avp);
        if occurred.count > rule.max {
            return Err(Rejection::too_many(rule, &avp));
        }
        next = place.map_or(0, |place| place + 1);
    }
    match grammar.iter().zip(&occurred).find(|(rule, occurred)| occurred.count < rule.min) {
        Some((rule, _)) => Err(Rejection::missing(rule.avp)),
        None => Ok(occurred),
    }
}

/// Reads the first AVP of this definition.
///
/// # Errors
///
/// The [`Rejection`] if it is missing, or if `value` finds no value in it.
pub fn read<'a, T>(
    message: &Message<'a>,
    definition: &'static Definition,
    value: impl FnOnce(&Avp<'a>) -> Option<T>,
) -> Result<T, Rejection> {
    required(message.find(definition), definition, value)
}

/// Reads an AVP of this definition.
///
/// # Errors
///
/// The [`Rejection`] if it is missing, or if `value` finds no value in it.
pub fn required<'a, T>(
    avp: Option<Avp<'a>>,
    definition: &'static Definition,
    value: impl FnOnce(&Avp<'a>) -> Option<T>,
) -> Result<T, Rejection> {
    let avp = avp.ok_or_else(|| Rejection::missing(definition))?;
    value(&avp).ok_or_else(|| Rejection::invalid_value(&avp))
}

/// Checks an AVP of this definition, if it is known, and its members.
#[inline]
fn check_avp(
    avp: &Avp<'_>,
    definition: Option<&Definition>,
    budget: &mut usize,
    depth: usize,
) -> Result<(), Rejection> {
    let Some(left) = budget.checked_sub(1) else {
        return Err(Rejection::new(code::UNABLE_TO_COMPLY, "too many AVPs"));
    };
    *budget = left;
    if avp.flags & FLAGS_RESERVED != 0 {
        return Err(Rejection::with_avp(code::INVALID_AVP_BITS, "invalid AVP flags", avp));
    }
    let Some(definition) = definition else {
        if avp.is_mandatory() {
            return Err(Rejection::with_avp(code::AVP_UNSUPPORTED, "unknown mandatory AVP", avp));
        }
        return Ok(());
    };
    if !definition.format.allows_octets(avp.data.len()) {
        return Err(Rejection::invalid_length(InvalidAvpLength { id: avp.id, flags: avp.flags }));
    }
    match definition.format {
        // Nearly all text is ASCII, which is told faster.
        Format::Text if !avp.data.is_ascii() && avp.text().is_none() => {
            Err(Rejection::invalid_value(avp))
        }
        Format::Grouped => check_group(avp, definition, budget, depth),
        Format::OctetString | Format::Text | Format::Unsigned32 | Format::Address => Ok(()),
    }
}

fn check_group(
    group: &Avp<'_>,
    definition: &Definition,
    budget: &mut usize,
    depth: usize,
) -> Result<(), Rejection> {
    let depth = depth
        .checked_sub(1)
        .ok_or(Rejection::new(code::UNABLE_TO_COMPLY, "AVPs nested too deep"))?;
    for member in group.group() {
        let checked = match member {
            Ok(member) => check_avp(&member, dictionary::definition(member.id), budget, depth),
            Err(broken) => Err(Rejection::invalid_length(broken)),
        };
        checked.map_err(|rejection| rejection.inside(definition))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: [Occurrence; 3] = [
        once(&dictionary::SESSION_ID),
        up_to(2, &dictionary::PUBLIC_IDENTITY),
        forbidden(&dictionary::RESULT_CODE),
    ];

    fn check_avps(write: impl FnOnce(&mut AvpWriter<'_>)) -> Result<(), Rejection> {
        check(AvpReader::new(&encode(write)), &GRAMMAR).map(drop)
    }

    fn valid(writer: &mut AvpWriter<'_>) {
        writer.text(&dictionary::SESSION_ID, "a;1;1");
        writer.text(&dictionary::PUBLIC_IDENTITY, "sip:a@b");
    }

    #[test]
    fn each_violation_has_its_code_and_its_failed_avp() {
        type Case = (u32, &'static [u8], fn(&mut AvpWriter<'_>));
        let cases: [Case; 7] = [
            (5005, b"\0\0\x01\x07\x40\0\0\x08", |w| w.text(&dictionary::PUBLIC_IDENTITY, "s")),
            (5008, b"\0\0\x01\x0c\x40\0\0\x0c\0\0\x07\xd1", |w| {
                w.unsigned32(&dictionary::RESULT_CODE, 2001);
            }),
            (5009, b"\0\0\x01\x07\x40\0\0\x09x\0\0\0", |w| {
                valid(w);
                w.text(&dictionary::SESSION_ID, "x");
            }),
            (3009, b"\0\0\0\x01\x41\0\0\x09x\0\0\0", |w| {
                w.avp(dictionary::USER_NAME.id, 0x41, b"x");
            }),
            (5004, b"\0\0\0\x01\x40\0\0\x09\xff\0\0\0", |w| {
                w.octets(&dictionary::USER_NAME, b"\xff");
            }),
            (5014, b"\0\0\x01\x15\x40\0\0\x0c\0\0\0\0", |w| {
                w.octets(&dictionary::AUTH_SESSION_STATE, b"\0\x01");
            }),
            (5014, b"\0\0\x01\x04\x40\0\0\x14\0\0\x01\x0a\x40\0\0\x0c\0\0\0\0", |w| {
                w.group(&dictionary::VENDOR_SPECIFIC_APPLICATION_ID, |members| {
                    members.octets(&dictionary::VENDOR_ID, b"");
                });
            }),
        ];
        for (result_code, failed_avp, write) in cases {
            let rejection = check_avps(write).unwrap_err();
            assert_eq!(rejection.result_code, result_code);
            assert_eq!(rejection.failed_avp.unwrap(), failed_avp, "{result_code}");
        }
        assert_eq!(check_avps(valid), Ok(()));
    }

    #[test]
    fn nesting_and_number_of_avps_are_bounded() {
        fn nest(writer: &mut AvpWriter<'_>, depth: usize) {
            if depth > 0 {
                writer.group(&dictionary::FAILED_AVP, |members| nest(members, depth - 1));
            }
        }
        let deep = check_avps(|writer| nest(writer, 1_000)).unwrap_err();
        assert_eq!(deep.error_message, "AVPs nested too deep");
        let many = check_avps(|writer| {
            for _ in 0..=AVPS_MAX {
                writer.text(&dictionary::ROUTE_RECORD, "");
            }
        });
        assert_eq!(many.unwrap_err().error_message, "too many AVPs");
    }

    #[test]
    fn a_long_offending_avp_is_represented_by_its_header() {
        let long = vec![0xff; FAILED_AVP_OCTETS_MAX];
        let rejection =
            check_avps(|writer| writer.octets(&dictionary::USER_NAME, &long)).unwrap_err();
        assert_eq!(rejection.failed_avp.unwrap(), b"\0\0\0\x01\x40\0\0\x08");
    }
}
