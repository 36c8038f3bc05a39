//! Numbers in as few octets as they need, seven bits an octet, the lowest first (LEB128, as postcard has them).

/// The highest number of eight octets.
const EIGHT_MAX: u64 = (1 << 56) - 1;

/// Bits that say that another octet follows.
const MORE: u64 = 0x8080_8080_8080_8080;

/// Appends `number`.
#[inline]
pub(crate) fn append(number: u64, to: &mut Vec<u8>) {
    match number {
        0..=0x7f => to.push(low_octet(number)),
        0x80..=EIGHT_MAX => append_eight(number, to),
        _ => append_any(number, to),
    }
}

/// Appends a number of up to eight octets, which are made at the same time: by twos, fours and eights.
#[inline]
fn append_eight(number: u64, to: &mut Vec<u8>) {
    let two = number & 0x0fff_ffff | (number & 0x00ff_ffff_f000_0000) << 4;
    let four = two & 0x0000_3fff_0000_3fff | (two & 0x0fff_c000_0fff_c000) << 2;
    let eight = four & 0x007f_007f_007f_007f | (four & 0x3f80_3f80_3f80_3f80) << 1;
    let last = 7 - eight.leading_zeros() / 8;
    let more = MORE & ((1 << (8 * last)) - 1);
    to.extend_from_slice(&(eight | more).to_le_bytes());
    to.truncate(to.len() - 7 + usize::try_from(last).unwrap_or(0));
}

#[cold]
fn append_any(mut number: u64, to: &mut Vec<u8>) {
    while number > 0x7f {
        to.push(low_octet(number) | 0x80);
        number >>= 7;
    }
    to.push(low_octet(number));
}

const fn low_octet(number: u64) -> u8 {
    let [.., octet] = number.to_be_bytes();
    octet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_octet_by_octet_or_eight_at_a_time() {
        let edges = (0..64).map(|bits| 1_u64 << bits);
        for number in edges.flat_map(|edge| [edge - 1, edge, edge | (edge / 3)]).chain([u64::MAX]) {
            let (mut octets, mut expected) = (vec![7], vec![7]);
            append(number, &mut octets);
            append_any(number, &mut expected);
            assert_eq!(octets, expected, "{number}");
        }
    }
}
