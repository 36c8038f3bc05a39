//! MILENAGE, the algorithm set f1 to f5* over AES-128 (TS 35.206), and the tokens made of it:
//! AUTN and AUTS (TS 33.102 clause 6.3).
//!
//! Blocks are 128-bit big-endian numbers here, so that the rotations and constants of TS 35.206
//! clause 4.1 are those of the specification, bit for bit.

use std::fmt;

use aes::{
    Aes128Enc, Block,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use subtle::ConstantTimeEq;
use zeroize::optimization_barrier;

#[cfg(target_arch = "x86_64")]
use super::aes_ni;
use super::{Amf, AuthVector, Autn, Auts, Rand, Sqn};
use crate::secret::{Secret, SecretBytes};

/// A subscriber's MILENAGE: the key schedule of K, and `OPc`, ready for use.
///
/// Of many subscribers keep K and `OPc`, and make this per use: a key schedule takes less time than to fetch one
/// from memory.
#[derive(Clone)]
pub struct Milenage {
    kernel: Kernel,
    opc: Secret<16>,
}

impl Milenage {
    /// Expands K, 16 octets, to be used with `OPc`, 16 octets ([`opc_from_op`] makes it from OP).
    #[inline]
    pub fn new(k: &Secret<16>, opc: &Secret<16>) -> Self {
        Self { kernel: Kernel::new(k), opc: opc.clone() }
    }

    /// Makes the authentication vector of `rand` and `sqn`: five AES blocks (TS 33.102 clause 6.3.2).
    pub fn vector(&self, rand: &Rand, sqn: Sqn, amf: Amf) -> AuthVector {
        let temp = self.temp(rand);
        let [out1, out2, out3, out4] = self.outputs([
            self.input1(temp, sqn, amf),
            self.input(temp, OUT2),
            self.input(temp, OUT3),
            self.input(temp, OUT4),
        ]);
        let concealed = sqn.to_u64() ^ ak(out2);
        let autn = join(concealed << 16 | u64::from(u16::from_be_bytes(amf)), high(out1));
        AuthVector {
            rand: *rand,
            autn: autn.to_be_bytes(),
            xres: SecretBytes::new(&low(out2).to_be_bytes()),
            ck: SecretBytes::new(&out3.to_be_bytes()),
            ik: SecretBytes::new(&out4.to_be_bytes()),
        }
    }

    /// Checks AUTN as the UE does, and answers the challenge (TS 33.102 clause 6.3.3).
    ///
    /// Whether the SQN is in range is a second question: see [`super::SqnArray::accept`].
    ///
    /// # Errors
    ///
    /// [`MacFailure`] when MAC-A is not the one that the holder of K would have sent.
    pub fn verify_autn(&self, rand: &Rand, autn: &Autn) -> Result<UeAnswer, MacFailure> {
        let temp = self.temp(rand);
        let [out2, out3, out4] =
            self.outputs([self.input(temp, OUT2), self.input(temp, OUT3), self.input(temp, OUT4)]);
        let autn = u128::from_be_bytes(*autn);
        let sqn = Sqn::from_u64_truncating((high(autn) >> 16) ^ ak(out2));
        let [.., amf0, amf1] = high(autn).to_be_bytes();
        let amf = [amf0, amf1];
        let [out1] = self.outputs([self.input1(temp, sqn, amf)]);
        if !bool::from(high(out1).ct_eq(&low(autn))) {
            return Err(MacFailure);
        }
        Ok(UeAnswer {
            sqn,
            amf,
            res: SecretBytes::new(&low(out2).to_be_bytes()),
            ck: SecretBytes::new(&out3.to_be_bytes()),
            ik: SecretBytes::new(&out4.to_be_bytes()),
        })
    }

    /// Makes the AUTS by which the UE refuses the SQN of `rand` and tells its own, `sqn_ms`.
    pub fn auts(&self, rand: &Rand, sqn_ms: Sqn) -> Auts {
        let temp = self.temp(rand);
        let [out1, out5] =
            self.outputs([self.input1(temp, sqn_ms, AMF_RESYNC), self.input(temp, OUT5)]);
        let [_, _, auts @ ..] = join(sqn_ms.to_u64() ^ ak(out5), low(out1)).to_be_bytes();
        auts
    }

    /// Recovers `SQN_MS` from an AUTS, as the network does (TS 33.102 clause 6.3.5).
    ///
    /// MAC-S covers AMF 0000, whatever the AMF of the refused challenge was.
    ///
    /// # Errors
    ///
    /// [`MacFailure`] when MAC-S is wrong: the SQN of the subscriber must then stay as it is.
    pub fn verify_auts(&self, rand: &Rand, auts: &Auts) -> Result<Sqn, MacFailure> {
        let mut octets = [0; 16];
        let [_, _, rest @ ..] = &mut octets;
        *rest = *auts;
        let auts = u128::from_be_bytes(octets);
        let temp = self.temp(rand);
        let [out5] = self.outputs([self.input(temp, OUT5)]);
        let sqn_ms = Sqn::from_u64_truncating(high(auts) ^ ak(out5));
        let [out1] = self.outputs([self.input1(temp, sqn_ms, AMF_RESYNC)]);
        if bool::from(low(out1).ct_eq(&low(auts))) { Ok(sqn_ms) } else { Err(MacFailure) }
    }

    fn opc(&self) -> u128 {
        u128::from_be_bytes(*self.opc.expose())
    }

    /// `TEMP = E_K(RAND xor OPc)`.
    fn temp(&self, rand: &Rand) -> u128 {
        let [temp] = self.kernel.encrypt([u128::from_be_bytes(*rand) ^ self.opc()]);
        temp
    }

    /// What OUT1 is the encryption of: `TEMP xor rot(IN1 xor OPc, r1) xor c1`, r1 = 64, c1 = 0.
    fn input1(&self, temp: u128, sqn: Sqn, amf: Amf) -> u128 {
        let half = sqn.to_u64() << 16 | u64::from(u16::from_be_bytes(amf));
        temp ^ (join(half, half) ^ self.opc()).rotate_left(64)
    }

    /// What OUT2 to OUT5 are the encryption of: `rot(TEMP xor OPc, r) xor c`.
    fn input(&self, temp: u128, out: Output) -> u128 {
        (temp ^ self.opc()).rotate_left(out.r) ^ out.c
    }

    /// `OUT = E_K(input) xor OPc`, for inputs that do not depend on each other.
    fn outputs<const N: usize>(&self, inputs: [u128; N]) -> [u128; N] {
        self.kernel.encrypt(inputs).map(|out| out ^ self.opc())
    }
}

/// Redacts: everything in it is secret.
impl fmt::Debug for Milenage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Milenage(redacted)")
    }
}

/// What a UE learns from a challenge that the network could prove.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UeAnswer {
    /// The sequence number of the challenge, not yet checked to be in range.
    pub sqn: Sqn,
    /// The authentication management field of the challenge.
    pub amf: Amf,
    /// RES, 8 octets.
    pub res: SecretBytes,
    /// The confidentiality key, 16 octets.
    pub ck: SecretBytes,
    /// The integrity key, 16 octets.
    pub ik: SecretBytes,
}

/// The peer could not prove that it knows K: MAC-A of an AUTN or MAC-S of an AUTS is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the message authentication code is wrong")]
pub struct MacFailure;

/// Computes `OPc = E_K(OP) xor OP` (TS 35.206 clause 4.1). OP cannot be had back from it.
pub fn opc_from_op(k: &Secret<16>, op: &Secret<16>) -> Secret<16> {
    let op = u128::from_be_bytes(*op.expose());
    let [sealed] = Kernel::new(k).encrypt([op]);
    Secret::new((sealed ^ op).to_be_bytes())
}

/// The kernel function of TS 35.206 clause 4.1, AES-128 under one K.
#[derive(Clone)]
enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Instructions(aes_ni::Schedule),
    /// On any other processor.
    Portable(Box<Aes128Enc>),
}

impl Kernel {
    #[inline]
    fn new(k: &Secret<16>) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(schedule) = aes_ni::Schedule::new(k.expose()) {
            return Self::Instructions(schedule);
        }
        Self::portable(k)
    }

    fn portable(k: &Secret<16>) -> Self {
        Self::Portable(Box::new(Aes128Enc::new(k.expose().into())))
    }

    /// `E_K` of each input, all in one call, so that the processor works on them at the same time.
    fn encrypt<const N: usize>(&self, inputs: [u128; N]) -> [u128; N] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Instructions(schedule) => schedule.encrypt(inputs),
            Self::Portable(kernel) => {
                let mut blocks = inputs.map(|input| Block::from(input.to_be_bytes()));
                kernel.encrypt_blocks(&mut blocks);
                let outputs = blocks.map(|block| u128::from_be_bytes(block.into()));
                blocks = [Block::default(); N];
                optimization_barrier(&blocks);
                outputs
            }
        }
    }
}

/// The AMF that MAC-S covers (TS 33.102 clause 6.3.3).
const AMF_RESYNC: Amf = [0, 0];

/// The rotation in bits and the constant of one output block (TS 35.206 clause 4.1).
#[derive(Clone, Copy)]
struct Output {
    r: u32,
    c: u128,
}

/// f5 (first 48 bits) and f2 (last 64 bits).
const OUT2: Output = Output { r: 0, c: 1 };
/// f3.
const OUT3: Output = Output { r: 32, c: 2 };
/// f4.
const OUT4: Output = Output { r: 64, c: 4 };
/// f5* (first 48 bits).
const OUT5: Output = Output { r: 96, c: 8 };

/// AK or AK*: the first 48 bits.
fn ak(out: u128) -> u64 {
    high(out) >> 16
}

fn join(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

fn high(value: u128) -> u64 {
    (value >> 64) as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the last 64 bits are wanted")]
fn low(value: u128) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_star_covers_the_amf_it_is_given() {
        // Sets 1 and 3 of TS 35.208 clause 4.3: K, OPc, RAND, SQN, AMF and the published f1*.
        for (k, opc, rand, sqn, amf, mac_s) in [
            (
                0x465b_5ce8_b199_b49f_aa5f_0a2e_e238_a6bc,
                0xcd63_cb71_954a_9f4e_48a5_994e_37a0_2baf,
                0x2355_3cbe_9637_a89d_218a_e64d_ae47_bf35,
                0xff9b_b4d0_b607,
                [0xb9, 0xb9],
                0x01cf_af9e_c4e8_71e9,
            ),
            (
                0xfec8_6ba6_eb70_7ed0_8905_757b_1bb4_4b8f,
                0x1006_020f_0a47_8bf6_b699_f15c_062e_42b3,
                0x9f7c_8d02_1acc_f4db_213c_cff0_c7f7_1a6a,
                0x9d02_7759_5ffc,
                [0x72, 0x5c],
                0x9581_4ba2_b304_4324,
            ),
        ] {
            let [k, opc]: [Secret<16>; 2] =
                [k, opc].map(|key: u128| Secret::new(key.to_be_bytes()));
            let ue = Milenage::new(&k, &opc);
            let temp = ue.temp(&u128::to_be_bytes(rand));
            let [out1] = ue.outputs([ue.input1(temp, Sqn::from_u64_truncating(sqn), amf)]);
            assert_eq!(low(out1), mac_s);
        }
    }

    #[test]
    fn every_processor_computes_the_same() {
        let mut key = 1_u128;
        for _ in 0..1_000 {
            key = key.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            let k = Secret::new(key.to_be_bytes());
            let inputs = [key, !key, 0, u128::MAX];
            assert_eq!(Kernel::new(&k).encrypt(inputs), Kernel::portable(&k).encrypt(inputs));
        }
    }

    #[test]
    fn nothing_of_it_prints() {
        let ue = Milenage::new(&Secret::new([1; 16]), &Secret::new([2; 16]));
        assert_eq!(format!("{ue:?}"), "Milenage(redacted)");
        let autn = ue.vector(&[3; 16], Sqn::new(1, 0, 5), [0x80, 0]).autn;
        let answer = format!("{:?}", ue.verify_autn(&[3; 16], &autn).unwrap());
        assert!(answer.contains("res: SecretBytes(8 octets)"), "{answer}");
    }
}
