//! Keys of signed tokens: those that verify, and this system's own that sign.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    jwk::{Jwk, WrongJwk},
    jws::{Algorithm, to_be_signed},
};
use crate::secret::SecretBytes;

/// Octets of an uncompressed point of P-256: 04, x, y.
pub(super) const POINT_OCTETS: usize = 65;

/// A public key, of one algorithm.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct VerifyingKey(pub(super) Public);

#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Public {
    /// A point of P-256, uncompressed.
    P256([u8; POINT_OCTETS]),
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl VerifyingKey {
    /// The one algorithm that it is for.
    pub const fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Public::P256(_) => Algorithm::Es256,
            Public::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Whether `signature` of `signed` was made with its private part.
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.0 {
            Public::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
        };
        verified.is_ok()
    }

    /// It as a JWK, with the members that RFC 7638 counts, in its order.
    pub fn jwk(&self) -> Jwk {
        Jwk::from(self)
    }

    /// Its thumbprint (RFC 7638): the `kid` of tokens that it verifies here, and the `jkt` of a proof key.
    pub fn thumbprint(&self) -> Thumbprint {
        let canonical = String::from(self.clone());
        Thumbprint(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(canonical)))
    }
}

impl TryFrom<String> for VerifyingKey {
    type Error = WrongJwk;

    fn try_from(json: String) -> Result<Self, WrongJwk> {
        let jwk: Jwk = serde_json::from_str(&json).map_err(|_| WrongJwk::NotJson)?;
        Self::try_from(jwk)
    }
}

impl From<VerifyingKey> for String {
    fn from(key: VerifyingKey) -> Self {
        key.jwk().canonical()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm().as_str())
    }
}

/// The SHA-256 of a public key's JWK (RFC 7638), in base64url: 43 characters.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Thumbprint(String);

/// A text that is no thumbprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is not 32 octets in base64url")]
pub struct InvalidThumbprint;

impl TryFrom<String> for Thumbprint {
    type Error = InvalidThumbprint;

    fn try_from(text: String) -> Result<Self, InvalidThumbprint> {
        let octets = BASE64_URL_SAFE_NO_PAD.decode(&text);
        let fits = octets.is_ok_and(|octets| octets.len() == 32);
        fits.then_some(Self(text)).ok_or(InvalidThumbprint)
    }
}

impl From<Thumbprint> for String {
    fn from(Thumbprint(text): Thumbprint) -> Self {
        text
    }
}

impl Thumbprint {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key pair of this system, for ES256. Its private part never prints.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    /// The private key as it is stored.
    pkcs8: SecretBytes,
    public: VerifyingKey,
    thumbprint: Thumbprint,
    /// ECDSA needs a random number for each signature, and ring takes it from nobody but itself. So this one source of
    /// randomness is no argument: nothing but the octets of signatures and of new keys depends on it.
    random: SystemRandom,
}

/// Why there is no key, or no signature. Ours to mend.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The octets are no private key for ES256 in PKCS #8.
    #[error("the octets are no private key for ES256 in PKCS #8")]
    Malformed,
    /// The operating system gives no random numbers.
    #[error("no random numbers can be had")]
    NoRandomness,
}

impl SigningKey {
    /// Generates a key pair.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| KeyError::NoRandomness)?;
        Self::from_pkcs8(SecretBytes::new(pkcs8.as_ref()))
    }

    /// Takes a stored key pair.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`].
    pub fn from_pkcs8(pkcs8: SecretBytes) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.expose(), &random)
                .map_err(|_| KeyError::Malformed)?;
        let point = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Malformed)?;
        let public = VerifyingKey(Public::P256(point));
        let thumbprint = public.thumbprint();
        Ok(Self { pair, pkcs8, public, thumbprint, random })
    }

    /// The private key, to be stored or certified. Nothing else should need it.
    pub const fn pkcs8(&self) -> &SecretBytes {
        &self.pkcs8
    }

    /// What verifies its signatures.
    pub const fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// What its tokens call it.
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// Signs claims as a token of a type.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`].
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, KeyError> {
        let mut token =
            to_be_signed(typ, self.thumbprint.as_str(), claims).ok_or(KeyError::Malformed)?;
        let signature = self.pair.sign(&self.random, token.as_bytes());
        let signature = signature.map_err(|_| KeyError::NoRandomness)?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.thumbprint.as_str())
    }
}
