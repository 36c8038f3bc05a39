//! HTTP Digest, and HTTP Digest AKA: `AKAv1-MD5` (RFC 3310), `AKAv2-MD5` (RFC 4169) and `AKAv2-SHA-256`
//! (TS 33.203, TS 24.229 clause 5.4.1.2.1A), over the digest of RFC 2617, RFC 7616 and RFC 8760.
//!
//! The answer to a challenge depends on user name, realm and URI, the vector behind it does not:
//! that is why a partner can authenticate with a vector of the primary system.

use std::{fmt, ops::Deref};

use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

mod ha1;

pub use ha1::{Ha1, Ha1Algorithm};

use super::{AuthVector, Autn, Auts, Rand, md5::Md5};
use crate::secret::SecretBytes;

/// A digest algorithm that is keyed by AKA.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// RES itself is the password; MD5. What IMS uses unless asked otherwise.
    AkaV1Md5,
    /// The password is derived from RES, IK and CK; HMAC-MD5 and MD5.
    AkaV2Md5,
    /// The password is derived from RES, IK and CK; HMAC-SHA-256 and SHA-256.
    AkaV2Sha256,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::AkaV1Md5, Self::AkaV2Md5, Self::AkaV2Sha256];

    /// Returns the value of the `algorithm` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AkaV1Md5 => "AKAv1-MD5",
            Self::AkaV2Md5 => "AKAv2-MD5",
            Self::AkaV2Sha256 => "AKAv2-SHA-256",
        }
    }

    /// Reads the value of an `algorithm` parameter, without quotes, in any case.
    pub fn parse(value: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(value))
    }
}

/// Quality of protection: what of a message a response covers.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Qop {
    /// Method and URI.
    Auth,
    /// Method, URI and body.
    AuthInt,
}

impl Qop {
    /// Returns the value of the `qop` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }

    /// Reads one value of a `qop` parameter, without quotes, in any case.
    pub fn parse(value: &str) -> Option<Self> {
        [Self::Auth, Self::AuthInt].into_iter().find(|qop| qop.as_str().eq_ignore_ascii_case(value))
    }
}

/// What a response is computed from, beside the password: texts as sent, without their quotes.
#[derive(Clone, Copy)]
pub struct DigestInput<'a> {
    /// `username`: the IMPI.
    pub username: &'a str,
    /// `realm` of the challenge.
    pub realm: &'a str,
    /// The method of the request.
    pub method: &'a str,
    /// `uri`; need not be the Request-URI (RFC 8760 clause 2.6).
    pub uri: &'a str,
    /// `nonce`: the base64 text, not what it stands for.
    pub nonce: &'a str,
    /// `qop`, `nc` and `cnonce`, or `None` where the challenge had no `qop` (RFC 2069).
    pub qop: Option<QopInput<'a>>,
    /// The body, for [`Qop::AuthInt`]: of the request, and for [`rspauth`] of the answer.
    pub body: &'a [u8],
}

/// Redacts: the user name is personal data.
impl fmt::Debug for DigestInput<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestInput").field("qop", &self.qop).finish_non_exhaustive()
    }
}

/// The parameters that come with a `qop`.
#[derive(Clone, Copy, Debug)]
pub struct QopInput<'a> {
    /// `qop`.
    pub qop: Qop,
    /// `nc`, the nonce count: 8 hexadecimal digits.
    pub nc: &'a str,
    /// `cnonce`, the nonce of the client.
    pub cnonce: &'a str,
}

/// A hash in lower-case hexadecimal digits: 32 of MD5, 64 of SHA-256.
#[derive(Clone, Copy, Zeroize)]
pub struct HexDigest {
    digits: [u8; HEX_DIGITS_MAX],
    length: usize,
}

/// The digits of the longest hash.
const HEX_DIGITS_MAX: usize = 64;

impl HexDigest {
    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_octets()).unwrap_or_default()
    }

    fn new<const N: usize>(hash: &[u8; N]) -> Self {
        let mut digits = [0; HEX_DIGITS_MAX];
        for (digits, octets) in digits.as_chunks_mut().0.iter_mut().zip(hash.as_chunks().0) {
            *digits = hex_digits(*octets);
        }
        Self { digits, length: (2 * N).min(HEX_DIGITS_MAX) }
    }

    fn as_octets(&self) -> &[u8] {
        self.digits.get(..self.length).unwrap_or_default()
    }

    /// Whether `text` has these digits, in either case.
    fn is(&self, text: &str) -> bool {
        let mut other = Self { digits: [0; HEX_DIGITS_MAX], length: text.len() };
        let Some(digits) = other.digits.get_mut(..text.len()) else { return false };
        digits.copy_from_slice(text.as_bytes());
        other.digits.make_ascii_lowercase();
        *self == other
    }
}

impl PartialEq for HexDigest {
    /// Constant time for equal lengths: one of the two may be what a peer has to prove.
    fn eq(&self, other: &Self) -> bool {
        // Sixteen digits at once: octets cost as many barriers against the optimizer as there are.
        let pairs = self.digits.as_chunks().0.iter().zip(other.digits.as_chunks().0);
        let same = pairs.fold(Choice::from(1), |same, (one, other)| {
            same & u128::from_ne_bytes(*one).ct_eq(&u128::from_ne_bytes(*other))
        });
        self.length == other.length && same.into()
    }
}

impl Eq for HexDigest {}

impl fmt::Debug for HexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for HexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Proof that a UE answered a challenge rightly. Only [`verify`] and [`Ha1::verify`] make one, and it cannot be
/// copied.
#[derive(Debug)]
#[must_use]
pub struct DigestVerified(());

/// What a right response gives.
#[derive(Debug)]
#[must_use]
pub struct Verified {
    /// That it was right.
    pub proof: DigestVerified,
    /// The `rspauth` of an answer without a body; `None` without a `qop`, and so without a `cnonce` to
    /// prove anything about.
    pub rspauth: Option<HexDigest>,
}

/// The response is not the one that the holder of the vector's key would have sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the digest response is wrong")]
pub struct WrongResponse;

/// The shortest RES there is, in octets (TS 33.102 clause 6.3.7: 32 to 128 bits).
const RES_OCTETS_MIN: usize = 4;

/// Checks the response of a UE against the vector that its challenge was made of, and computes the
/// proof that goes back.
///
/// Takes digits of either case. Time depends on lengths, never on how many digits are right. To a
/// response that came with an `auts` this does not apply: its password is empty, it proves nothing.
///
/// # Errors
///
/// [`WrongResponse`] when it is another one, has another length or other characters than digits, or
/// when the vector's XRES is shorter than 4 octets and could be guessed.
pub fn verify(
    algorithm: Algorithm,
    input: &DigestInput<'_>,
    vector: &AuthVector,
    response: &str,
) -> Result<Verified, WrongResponse> {
    let xres = vector.xres.expose();
    if xres.len() < RES_OCTETS_MIN {
        return Err(WrongResponse);
    }
    let password = Password::derive(algorithm, xres, vector.ck.expose(), vector.ik.expose());
    let [expected, rspauth] = match algorithm {
        Algorithm::AkaV1Md5 | Algorithm::AkaV2Md5 => both::<Md5>(input, password.as_octets()),
        Algorithm::AkaV2Sha256 => both::<Sha256>(input, password.as_octets()),
    };
    if !Zeroizing::new(expected).is(response) {
        return Err(WrongResponse);
    }
    Ok(Verified { proof: DigestVerified(()), rspauth: input.qop.map(|_| rspauth) })
}

/// Computes the digest password: for `AKAv1` RES as raw octets (RFC 3310 clause 3.3), for `AKAv2` the
/// base64 text of HMAC(RES || IK || CK, "http-digest-akav2-password") (RFC 4169 clause 2.1).
pub fn password(algorithm: Algorithm, res: &[u8], ck: &[u8], ik: &[u8]) -> SecretBytes {
    SecretBytes::new(Password::derive(algorithm, res, ck, ik).as_octets())
}

/// Computes the `response` of a request.
///
/// With an `auts` the password is empty (RFC 3310 clause 3.4).
pub fn response(algorithm: Algorithm, input: &DigestInput<'_>, password: &[u8]) -> HexDigest {
    of(algorithm, input, input.method, password)
}

/// Computes the `rspauth` of an answer: as the response, but without a method, and over the answer's
/// body (RFC 7616 clause 3.5).
pub fn rspauth(algorithm: Algorithm, input: &DigestInput<'_>, password: &[u8]) -> HexDigest {
    of(algorithm, input, "", password)
}

/// A nonce as text: base64 of RAND || AUTN (RFC 3310 clause 3.2), or of 32 octets drawn at random where no vector is
/// behind it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NonceText([u8; NONCE_CHARACTERS]);

/// The characters of a nonce without server data.
const NONCE_CHARACTERS: usize = 44;

impl NonceText {
    /// A nonce of octets drawn at random.
    pub fn random(octets: &[u8; 32]) -> Self {
        Self::encode(octets)
    }

    fn encode(octets: &[u8]) -> Self {
        let mut text = [b'='; NONCE_CHARACTERS];
        // Fits: three octets are four characters.
        let _ = BASE64.encode_slice(octets, &mut text);
        Self(text)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Deref for NonceText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for NonceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Writes a nonce.
pub fn encode_nonce(rand: &Rand, autn: &Autn) -> NonceText {
    NonceText::encode([*rand, *autn].as_flattened())
}

/// Reads RAND and AUTN from a nonce; server data may follow them, padding may be missing.
///
/// Returns `None` for other text, and beyond [`NONCE_OCTETS_MAX`] octets.
pub fn decode_nonce(nonce: &str) -> Option<(Rand, Autn)> {
    let mut octets = [0; NONCE_OCTETS_MAX];
    let length = BASE64.decode_slice(nonce, &mut octets).ok()?;
    let (rand, rest) = octets.get(..length)?.split_first_chunk()?;
    Some((*rand, *rest.first_chunk()?))
}

/// The longest nonce that is read, in octets: RAND, AUTN and 224 octets of server data.
pub const NONCE_OCTETS_MAX: usize = 256;

/// Writes an `auts` parameter: base64, 20 characters (RFC 3310 clause 3.4).
pub fn encode_auts(auts: &Auts) -> String {
    BASE64.encode(auts)
}

/// Reads an `auts` parameter of exactly 14 octets; padding may be missing.
pub fn decode_auts(text: &str) -> Option<Auts> {
    let mut auts = [0; 14];
    let length = BASE64.decode_slice(text, &mut auts).ok()?;
    (length == auts.len()).then_some(auts)
}

/// The standard alphabet; writes padding, reads with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A digest password.
enum Password<'a> {
    /// `AKAv1`: RES itself.
    Res(&'a [u8]),
    /// `AKAv2`: characters, and how many of them.
    Derived(Zeroizing<[u8; PASSWORD_CHARACTERS_MAX]>, usize),
}

/// The characters of the base64 text of the longest HMAC, 32 octets.
const PASSWORD_CHARACTERS_MAX: usize = 44;

impl<'a> Password<'a> {
    fn derive(algorithm: Algorithm, res: &'a [u8], ck: &[u8], ik: &[u8]) -> Self {
        match algorithm {
            Algorithm::AkaV1Md5 => Self::Res(res),
            Algorithm::AkaV2Md5 => derive::<md5::Md5>([res, ik, ck]),
            Algorithm::AkaV2Sha256 => derive::<Sha256>([res, ik, ck]),
        }
    }

    fn as_octets(&self) -> &[u8] {
        match self {
            Self::Res(res) => res,
            Self::Derived(characters, length) => characters.get(..*length).unwrap_or_default(),
        }
    }
}

/// Computes base64(HMAC(RES || IK || CK, label)).
///
/// The key is fitted into one block as HMAC prescribes (RFC 2104 clause 2), so that keys of any
/// length need no room of their own.
fn derive<H>(res_ik_ck: [&[u8]; 3]) -> Password<'static>
where
    H: Digest + EagerHash,
    Hmac<H>: KeyInit + Mac,
{
    let mut block = Zeroizing::new([0; HMAC_BLOCK_OCTETS]);
    let length = res_ik_ck.iter().map(|part| part.len()).sum();
    if let Some(room) = block.get_mut(..length) {
        for (place, octet) in room.iter_mut().zip(res_ik_ck.into_iter().flatten()) {
            *place = *octet;
        }
    } else {
        let mut hash = H::new();
        for part in res_ik_ck {
            Digest::update(&mut hash, part);
        }
        for (place, octet) in block.iter_mut().zip(Digest::finalize(hash)) {
            *place = octet;
        }
    }
    let mut characters = Zeroizing::new([0; PASSWORD_CHARACTERS_MAX]);
    // Neither fails: HMAC takes keys of any length, and there is room for the longest.
    let length = <Hmac<H> as KeyInit>::new_from_slice(&*block).map_or(0, |mut hmac| {
        Mac::update(&mut hmac, b"http-digest-akav2-password");
        BASE64.encode_slice(hmac.finalize().into_bytes(), &mut *characters).unwrap_or_default()
    });
    Password::Derived(characters, length)
}

/// The block of MD5 and of SHA-256.
const HMAC_BLOCK_OCTETS: usize = 64;

fn of(algorithm: Algorithm, input: &DigestInput<'_>, method: &str, password: &[u8]) -> HexDigest {
    match algorithm {
        Algorithm::AkaV1Md5 | Algorithm::AkaV2Md5 => digest::<Md5>(input, method, password),
        Algorithm::AkaV2Sha256 => digest::<Sha256>(input, method, password),
    }
}

/// The response of RFC 7616 clause 3.4.1; without qop that of RFC 2069.
fn digest<H: Hash>(input: &DigestInput<'_>, method: &str, password: &[u8]) -> HexDigest {
    let [ha1, ha2] = H::finish([&a1(input, password), &a2(input, method, input.body)]);
    let [response] = before_ha2::<H>(input, &Zeroizing::new(ha1)).finish_before([ha2]);
    response
}

/// The response to `input`, and `rspauth` of an answer without body: all but A2 is the same in both.
fn both<H: Hash>(input: &DigestInput<'_>, password: &[u8]) -> [HexDigest; 2] {
    let (of_request, of_answer) = (a2(input, input.method, input.body), a2(input, "", &[]));
    let [ha1, ha2 @ ..] = H::finish([&a1(input, password), &of_request, &of_answer]);
    before_ha2::<H>(input, &Zeroizing::new(ha1)).finish_before(ha2)
}

/// Begins a response with all that stands before H(A2).
fn before_ha2<H: Hash>(input: &DigestInput<'_>, ha1: &HexDigest) -> H {
    let mut hash = H::begin();
    hash.write_parts([ha1.as_str(), input.nonce]);
    if let Some(QopInput { qop, nc, cnonce }) = input.qop {
        hash.write_parts([nc, cnonce, qop.as_str()]);
    }
    hash
}

/// A1: who proves something.
fn a1<H: Hash>(input: &DigestInput<'_>, password: &[u8]) -> H {
    let mut hash = H::begin();
    hash.write_parts([input.username, input.realm]);
    hash.write(password);
    hash
}

/// A2: what of the message is protected.
fn a2<H: Hash>(input: &DigestInput<'_>, method: &str, body: &[u8]) -> H {
    let mut hash = H::begin();
    hash.write_parts([method]);
    hash.write(input.uri.as_bytes());
    if input.qop.is_some_and(|qop| qop.qop == Qop::AuthInt) {
        let mut of_body = H::begin();
        of_body.write(body);
        let [of_body] = H::finish([&of_body]);
        hash.write(b":");
        hash.write(of_body.as_octets());
    }
    hash
}

/// A hash function.
trait Hash {
    fn begin() -> Self;
    fn write(&mut self, octets: &[u8]);

    /// The hashes of all.
    fn finish<const N: usize>(hashes: [&Self; N]) -> [HexDigest; N];

    /// The hashes of what was written with each of `last` behind it, which are of the same kind.
    fn finish_before<const N: usize>(&self, last: [HexDigest; N]) -> [HexDigest; N];

    /// Writes the parts with a colon after each.
    fn write_parts<const N: usize>(&mut self, parts: [&str; N]) {
        for part in parts {
            self.write(part.as_bytes());
            self.write(b":");
        }
    }
}

impl Hash for Md5 {
    fn begin() -> Self {
        Self::new()
    }

    fn write(&mut self, octets: &[u8]) {
        self.write(octets);
    }

    fn finish<const N: usize>(hashes: [&Self; N]) -> [HexDigest; N] {
        Self::finish(hashes.map(|hash| (hash, &[]))).map(|hash| HexDigest::new(&hash))
    }

    fn finish_before<const N: usize>(&self, last: [HexDigest; N]) -> [HexDigest; N] {
        let last = last.map(|last| *last.digits.first_chunk::<32>().unwrap_or(&[0; 32]));
        let ends = last.each_ref().map(|last| (self, last));
        Self::finish(ends).map(|hash| HexDigest::new(&hash))
    }
}

impl Hash for Sha256 {
    fn begin() -> Self {
        Self::new()
    }

    fn write(&mut self, octets: &[u8]) {
        self.update(octets);
    }

    fn finish<const N: usize>(hashes: [&Self; N]) -> [HexDigest; N] {
        hashes.map(|hash| HexDigest::new(&hash.clone().finalize().into()))
    }

    fn finish_before<const N: usize>(&self, last: [HexDigest; N]) -> [HexDigest; N] {
        last.map(|last| {
            let hash = self.clone().chain_update(last.as_octets());
            HexDigest::new(&hash.finalize().into())
        })
    }
}

/// The lower-case digits of four octets, without a table: HA1 is as good as a password.
const fn hex_digits(octets: [u8; 4]) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Spreads the nibbles, one to an octet.
    let mut nibbles = u32::from_be_bytes(octets) as u64;
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 39 is from ':', the character after '9', to 'a'; it is added where the digit would pass '9'.
    let letters = ((nibbles + 6 * EACH) >> 4) & EACH;
    (nibbles + b'0' as u64 * EACH + 39 * letters).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_and_qops_are_read_in_any_case_and_written_in_one() {
        for name in ["AKAv1-MD5", "AKAv2-MD5", "AKAv2-SHA-256"] {
            assert_eq!(Algorithm::parse(name).unwrap().as_str(), name);
            assert_eq!(Algorithm::parse(&name.to_lowercase()).unwrap().as_str(), name);
        }
        for name in
            ["", "MD5", "AKAv1", "AKAv1-MD5-sess", "AKAv3-MD5", "AKAv1-SHA-256", "\"AKAv1-MD5\""]
        {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
        assert_eq!(Qop::parse("AUTH-int"), Some(Qop::AuthInt));
        assert_eq!(Qop::parse("auth,auth-int"), None);
    }

    #[test]
    fn a_password_can_be_derived_of_keys_of_any_length() {
        // RES 00 01 .., IK 40 41 .., CK 80 81 ..; computed with the module hmac of Python.
        let counting = |first: u8, length: u8| (first..first + length).collect::<Vec<_>>();
        for (res, keys, md5, sha256) in [
            (4, 16, "hqu0//oxqmJKId6IbxEIMw==", "MrGUk/PyU4WATLu6lzeQ3xtdKCcEmc55S58J5Z0kMLo="),
            (16, 16, "c7lxl86Fn57SScKZ777o3g==", "eaIwk3ZsFlwgH/MMokWPGX74BV3XMV4hpaB+IRsduds="),
            (16, 32, "qNxVNSxgqgvFvSK33HkPpA==", "xCRSgs/PsxfQNNKSRnumgMhWU1LTA7Kf4oYe+9b1AQk="),
            (32, 32, "yDqkf/iv9j145U3RXH/rlg==", "lZbltOasK5OEOnxol1OI1n8yZ/APQxJbwWQhyjYEVmI="),
        ] {
            let (res, ik, ck) = (counting(0, res), counting(0x40, keys), counting(0x80, keys));
            for (algorithm, text) in [(Algorithm::AkaV2Md5, md5), (Algorithm::AkaV2Sha256, sha256)]
            {
                assert_eq!(password(algorithm, &res, &ck, &ik).expose(), text.as_bytes());
            }
            assert_eq!(password(Algorithm::AkaV1Md5, &res, &ck, &ik).expose(), res);
        }
    }

    #[test]
    fn a_body_counts_under_auth_int_alone() {
        let with = |qop, body| {
            let qop = Some(QopInput { qop, nc: "00000001", cnonce: "0a4f113b" });
            response(Algorithm::AkaV1Md5, &DigestInput { qop, body, ..INPUT }, b"password")
        };
        assert_eq!(with(Qop::Auth, b""), with(Qop::Auth, b"body"));
        assert_ne!(with(Qop::AuthInt, b""), with(Qop::AuthInt, b"body"));
    }

    #[test]
    fn a_response_is_verified_in_either_case_and_with_no_digit_changed() {
        for algorithm in Algorithm::ALL {
            let vector = vector(b"12345678");
            let right = right(algorithm, &vector);
            assert!(verify(algorithm, &INPUT, &vector, &right).is_ok());
            assert!(verify(algorithm, &INPUT, &vector, &right.to_uppercase()).is_ok());
            for place in 0..right.len() {
                // Beside another digit: what differs from the digit in its case bit alone.
                let octet = right.as_bytes()[place];
                for wrong in [if octet == b'0' { b'1' } else { b'0' }, octet ^ 0x10, octet ^ 0x60] {
                    let mut octets = right.clone().into_bytes();
                    octets[place] = wrong;
                    let text = String::from_utf8(octets).unwrap();
                    assert!(verify(algorithm, &INPUT, &vector, &text).is_err(), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_response_of_another_length_or_of_other_characters_is_refused() {
        for algorithm in Algorithm::ALL {
            let vector = vector(b"12345678");
            let right = right(algorithm, &vector);
            for wrong in [
                String::new(),
                right[1..].to_owned(),
                format!("{right}0"),
                format!("{right}{right}"),
                format!("{right}{right}{right}"),
                format!(" {}", &right[1..]),
                "z".repeat(right.len()),
                "\u{e9}".repeat(right.len() / 2),
                "\0".repeat(right.len()),
            ] {
                let verdict = verify(algorithm, &INPUT, &vector, &wrong);
                assert_eq!(verdict.unwrap_err(), WrongResponse, "{wrong:?}");
            }
        }
    }

    #[test]
    fn a_vector_whose_xres_could_be_guessed_verifies_nothing() {
        for (xres, verified) in [(&b""[..], false), (b"123", false), (b"1234", true)] {
            let vector = vector(xres);
            for algorithm in Algorithm::ALL {
                let right = right(algorithm, &vector);
                let verdict = verify(algorithm, &INPUT, &vector, &right);
                assert_eq!(verdict.is_ok(), verified, "{} octets", xres.len());
            }
        }
    }

    #[test]
    fn a_nonce_is_read_with_or_without_padding_and_with_server_data() {
        let (rand, autn) = ([0xfb; 16], [0xff; 16]);
        let nonce = encode_nonce(&rand, &autn);
        assert_eq!(nonce.len(), 44);
        assert_eq!(decode_nonce(&nonce), Some((rand, autn)));
        assert_eq!(decode_nonce(nonce.trim_end_matches('=')), Some((rand, autn)));
        for (octets, read) in [(31, false), (32, true), (33, true), (256, true), (257, false)] {
            let mut content = [rand, autn].concat();
            content.resize(octets, 7);
            let nonce = decode_nonce(&BASE64.encode(content));
            assert_eq!(nonce, read.then_some((rand, autn)), "{octets} octets");
        }
        let url_safe = nonce.replace('+', "-").replace('/', "_");
        for wrong in ["", "=", "nonce", &url_safe, &format!(" {nonce}"), &format!("{nonce}{nonce}")]
        {
            assert_eq!(decode_nonce(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_auts_is_read_if_it_has_14_octets() {
        let auts = [0xfe; 14];
        let text = encode_auts(&auts);
        assert_eq!(text.len(), 20);
        assert_eq!(decode_auts(&text), Some(auts));
        assert_eq!(decode_auts(text.trim_end_matches('=')), Some(auts));
        for octets in [0, 13, 15, 1000] {
            assert_eq!(decode_auts(&BASE64.encode(vec![1; octets])), None, "{octets} octets");
        }
    }

    #[test]
    fn hexadecimal_digits_are_lower_case() {
        assert_eq!(&hex_digits([0x01, 0x23, 0x45, 0x67]), b"01234567");
        assert_eq!(&hex_digits([0x89, 0xab, 0xcd, 0xef]), b"89abcdef");
        assert_eq!(HexDigest::new(&[0x0f, 0xa9, 0x90, 0xff]).to_string(), "0fa990ff");
    }

    #[test]
    fn an_input_does_not_print_its_user() {
        assert!(!format!("{INPUT:?}").contains("alice"));
    }

    const INPUT: DigestInput<'_> = DigestInput {
        username: "alice@mc1.example",
        realm: "mc1.example",
        method: "REGISTER",
        uri: "sip:mc1.example",
        nonce: "nonce",
        qop: None,
        body: b"",
    };

    fn vector(xres: &[u8]) -> AuthVector {
        AuthVector {
            rand: [1; 16],
            autn: [2; 16],
            xres: SecretBytes::new(xres),
            ck: SecretBytes::new(&[3; 16]),
            ik: SecretBytes::new(&[4; 16]),
        }
    }

    fn right(algorithm: Algorithm, vector: &AuthVector) -> String {
        let AuthVector { xres, ck, ik, .. } = vector;
        let password = password(algorithm, xres.expose(), ck.expose(), ik.expose());
        response(algorithm, &INPUT, password.expose()).as_str().to_owned()
    }
}
