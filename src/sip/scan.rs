//! Finds octets in short texts, sixteen at a time: most parts of a message are so short that a call of
//! `memchr` takes longer than the search.
//!
//! What several readers search by is no part of each of them: what reads a REGISTER would not fit the
//! processor's first cache of instructions then, which costs more than the calls.
#![expect(
    clippy::inline_always,
    clippy::needless_bitwise_bool,
    reason = "measured: a call costs as much as what it does, and what branches is no vector instruction"
)]

use wide::u8x16;

/// Where the first `octet` is.
#[inline]
pub(super) fn find(octets: &[u8], octet: u8) -> Option<usize> {
    let at = before(octets, |it| it == octet);
    (at < octets.len()).then_some(at)
}

/// As [`find`], where it is seldom looked for.
#[inline(never)]
pub(super) fn find_far(octets: &[u8], octet: u8) -> Option<usize> {
    find(octets, octet)
}

/// How many octets at the front may stand in a URI: all before white space, controls, `"`, `<`, `>`.
#[inline(never)]
pub(super) fn uri_length(octets: &[u8]) -> usize {
    before(octets, |it| (it <= b' ') | (it == b'"') | (it == b'<') | (it == b'>') | (it == 0x7f))
}

/// How many octets at the front are visible, or beyond ASCII.
#[inline(never)]
pub(super) fn visible_length(octets: &[u8]) -> usize {
    before(octets, |it| it <= b' ')
}

/// How many octets at the front may stand in a host name or IPv4 address; `_` is seen in the field.
#[inline(never)]
pub(super) fn host_length(octets: &[u8]) -> usize {
    before(octets, |it| {
        let letter = (it | 0x20).wrapping_sub(b'a') < 26;
        let digit = it.wrapping_sub(b'0') < 10;
        !(letter | digit | (it == b'-') | (it == b'.') | (it == b'_'))
    })
}

/// How many octets stand before the first `"` or `\`, of which a quoted string takes notice.
#[inline(never)]
pub(super) fn quoted_length(octets: &[u8]) -> usize {
    before(octets, |it| (it == b'"') | (it == b'\\'))
}

/// How many octets stand before the first CR or LF.
#[inline(never)]
pub(super) fn line_length(octets: &[u8]) -> usize {
    before(octets, |it| (it == b'\r') | (it == b'\n'))
}

/// How many octets stand before the first one that ends a quoted string, or could be left out of its
/// text: `"`, `\`, and the controls that CR and LF are among.
#[inline]
pub(super) fn plain_quoted_length(octets: &[u8]) -> usize {
    before(octets, |it| (it == b'"') | (it == b'\\') | (it <= b'\r'))
}

/// How many octets stand before the first `,`, `"` or `<`, of which a list takes notice.
#[inline(never)]
pub(super) fn element_length(octets: &[u8]) -> usize {
    before(octets, |it| (it == b',') | (it == b'"') | (it == b'<'))
}

/// How many octets stand before the first one that `stops`, which must not branch: it is then asked
/// about a block at once, by vector instructions.
#[inline(always)]
fn before(octets: &[u8], stops: impl Fn(u8) -> bool + Copy) -> usize {
    let mut rest = octets;
    while let Some((block, after)) = rest.split_first_chunk() {
        let found = marks(block, stops);
        if found != 0 {
            return octets.len() - rest.len() + found.trailing_zeros() as usize;
        }
        rest = after;
    }
    octets.len() - rest.len() + before_in_last(octets, rest, stops)
}

/// As [`before`], of the rest behind the last whole block.
#[inline(always)]
fn before_in_last(octets: &[u8], rest: &[u8], stops: impl Fn(u8) -> bool) -> usize {
    match octets.last_chunk() {
        // The last block once more: what was looked at before is shifted out.
        Some(block) if !rest.is_empty() => {
            let found = marks(block, stops) >> (BLOCK - rest.len());
            (found.trailing_zeros() as usize).min(rest.len())
        }
        _ => rest.iter().position(|&octet| stops(octet)).unwrap_or(rest.len()),
    }
}

/// Octets looked at together.
pub(super) const BLOCK: usize = 16;

/// The octets of a block that stop, a bit for each, the first one lowest.
#[inline(always)]
fn marks(block: &[u8; BLOCK], stops: impl Fn(u8) -> bool) -> u32 {
    let mut marks = [0; BLOCK];
    for (mark, &octet) in marks.iter_mut().zip(block) {
        *mark = if stops(octet) { 0xff } else { 0 };
    }
    u8x16::new(marks).to_bitmask()
}

/// Where the first `octet` of a block is.
#[inline(always)]
pub(super) fn find_in_block(block: &[u8; BLOCK], octet: u8) -> Option<usize> {
    let found = marks(block, |it| it == octet);
    (found != 0).then_some(found.trailing_zeros() as usize)
}

/// Whether the first `length` octets of a block are those of `lower` without case: as `is_name`.
#[inline(always)]
pub(super) fn begins_as(block: &[u8; BLOCK], lower: &[u8; BLOCK], length: usize) -> bool {
    let same = (u8x16::new(*block) | u8x16::splat(0x20)).simd_eq(u8x16::new(*lower)).to_bitmask();
    // The bits behind them count as the same.
    same | (u32::MAX << length) == u32::MAX
}

/// Octets of which [`line_marks`] are one number.
pub(super) const LINE_BLOCK: usize = 64;

/// Which of the first 64 octets may end a line, a bit for each, the first one lowest: CR, LF and the
/// controls before them, of which a message has next to none.
#[inline(always)]
pub(super) fn line_marks(octets: &[u8]) -> u64 {
    match octets.first_chunk() {
        Some(block) => line_marks_of(block),
        None => last_line_marks(octets),
    }
}

#[inline(always)]
fn line_marks_of(block: &[u8; LINE_BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks();
    let marks = parts.iter().map(|part| u64::from(marks(part, |it| it <= b'\r')));
    marks.rev().fold(0, |all, part| all << BLOCK | part)
}

/// As [`line_marks`], of fewer octets.
#[inline(never)]
fn last_line_marks(octets: &[u8]) -> u64 {
    let mut block = [b' '; LINE_BLOCK];
    for (to, octet) in block.iter_mut().zip(octets) {
        *to = *octet;
    }
    line_marks_of(&block)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A search, and the octets that end it.
    type Kind = (fn(&[u8]) -> usize, fn(u8) -> bool);

    const KINDS: [Kind; 7] = [
        (uri_length, |octet| octet <= b' ' || matches!(octet, b'"' | b'<' | b'>' | 0x7f)),
        (visible_length, |octet| octet <= b' '),
        (host_length, |octet| !octet.is_ascii_alphanumeric() && !b"-._".contains(&octet)),
        (quoted_length, |octet| matches!(octet, b'"' | b'\\')),
        (plain_quoted_length, |octet| octet <= b'\r' || matches!(octet, b'"' | b'\\')),
        (line_length, |octet| matches!(octet, b'\r' | b'\n')),
        (element_length, |octet| matches!(octet, b',' | b'"' | b'<')),
    ];

    #[test]
    fn every_octet_ends_a_search_or_not_at_every_place_of_every_length() {
        for (search, stops) in KINDS {
            for octet in 0..=u8::MAX {
                for length in [1, 7, 15, 16, 17, 31, 32, 50] {
                    for place in 0..length {
                        let mut octets = vec![b'a'; length];
                        octets[place] = octet;
                        let expected = if stops(octet) { place } else { length };
                        assert_eq!(search(&octets), expected, "{octet:#x} at {place} of {length}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_first_of_several_is_found() {
        assert_eq!(find(b"ab:c:d", b':'), Some(2));
        assert_eq!(find(b"0123456789abcdefgh:;:::::", b':'), Some(18));
        assert_eq!((find(b"", b':'), find(b"0123456789abcdefgh;", b':')), (None, None));
    }
}
