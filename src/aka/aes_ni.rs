//! AES-128 by the instructions of x86-64 processors: as much of it as MILENAGE needs.
//!
//! Of a subscriber the SIP database keeps K, not the key schedule, so each vector begins with one. The crate `aes`
//! makes it for any processor: 0.7 kB that are moved and at last erased octet by octet, which takes twice as
//! long as the vector itself.
#![expect(unsafe_code, reason = "AES instructions must not be met by a processor without them")]

use std::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_cvtsi128_si64,
    _mm_set_epi64x, _mm_shuffle_epi32, _mm_slli_si128, _mm_unpackhi_epi64, _mm_xor_si128,
};

use zeroize::optimization_barrier;

/// Round keys, on a processor that has the instructions.
#[derive(Clone)]
pub(super) struct Schedule([u128; 11]);

impl Schedule {
    /// Expands `k` (FIPS 197 clause 5.2), or returns `None` if the processor lacks the instructions.
    #[inline]
    pub(super) fn new(k: &[u8; 16]) -> Option<Self> {
        if !is_x86_feature_detected!("aes") {
            return None;
        }
        // SAFETY: the processor has the instructions.
        Some(Self(unsafe { expand(u128::from_le_bytes(*k)) }))
    }

    /// Encrypts blocks that do not depend on each other, at the same time.
    #[inline]
    pub(super) fn encrypt<const N: usize>(&self, inputs: [u128; N]) -> [u128; N] {
        // SAFETY: the processor has the instructions, or there would be no schedule.
        unsafe { encrypt(&self.0, inputs) }
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.0 = [0; 11];
        optimization_barrier(&self.0);
    }
}

#[target_feature(enable = "aes")]
fn expand(k: u128) -> [u128; 11] {
    let k0 = block(k);
    let k1 = next_key::<0x01>(k0);
    let k2 = next_key::<0x02>(k1);
    let k3 = next_key::<0x04>(k2);
    let k4 = next_key::<0x08>(k3);
    let k5 = next_key::<0x10>(k4);
    let k6 = next_key::<0x20>(k5);
    let k7 = next_key::<0x40>(k6);
    let k8 = next_key::<0x80>(k7);
    let k9 = next_key::<0x1b>(k8);
    let k10 = next_key::<0x36>(k9);
    let mut keys = [k; 11];
    for (place, key) in keys.iter_mut().zip([k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10]) {
        *place = number(key);
    }
    keys
}

/// Each word is the exclusive or of itself, all before it, and what the last one becomes by `SubWord`, `RotWord`
/// and the round constant.
#[target_feature(enable = "aes")]
fn next_key<const RCON: i32>(key: __m128i) -> __m128i {
    let last = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<RCON>(key));
    let pairs = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let all = _mm_xor_si128(pairs, _mm_slli_si128::<8>(pairs));
    _mm_xor_si128(all, last)
}

/// By loops: a closure given to `map` would leave what is compiled with the instructions.
#[target_feature(enable = "aes")]
fn encrypt<const N: usize>(keys: &[u128; 11], inputs: [u128; N]) -> [u128; N] {
    let [first, middle @ .., last] = keys;
    let mut blocks = [block(*first); N];
    for (it, input) in blocks.iter_mut().zip(inputs) {
        *it = _mm_xor_si128(*it, block(input.swap_bytes()));
    }
    for key in middle {
        for it in &mut blocks {
            *it = _mm_aesenc_si128(*it, block(*key));
        }
    }
    let mut outputs = [0; N];
    for (output, it) in outputs.iter_mut().zip(blocks) {
        *output = number(_mm_aesenclast_si128(it, block(*last))).swap_bytes();
    }
    outputs
}

/// The block whose first octet is the least significant one of `number`.
#[expect(clippy::cast_possible_truncation, reason = "the two halves are wanted")]
#[target_feature(enable = "aes")]
fn block(number: u128) -> __m128i {
    _mm_set_epi64x((number >> 64) as i64, number as i64)
}

/// The number whose least significant octet is the first one of `block`.
#[target_feature(enable = "aes")]
fn number(block: __m128i) -> u128 {
    let low = _mm_cvtsi128_si64(block);
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(block, block));
    u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned())
}
