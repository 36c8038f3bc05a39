//! What an identity management server keeps: one record a client, user, key and so on.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    api::{
        identity_management::{Client, ClientId, IssuerUrl, UserName},
        idms_management::{Denied, User, Visitor},
    },
    entropy::Entropy,
    secret::SecretBytes,
    store::{Mutation, RecordKind},
    time::Timestamp,
    token::{
        TokenDigest, certificate::Certificate, claims::ServiceIds, key::Thumbprint,
        password::PasswordHash, scope::Scopes,
    },
};

/// A record that is stored under a key of its own.
pub(super) trait Stored: Serialize + Sized {
    const KIND: RecordKind;

    fn key(&self) -> String;

    fn put(&self) -> Mutation {
        Mutation::put(Self::KIND, &self.key(), self)
    }

    fn delete(&self) -> Mutation {
        Mutation::delete(Self::KIND, &self.key())
    }
}

impl Stored for Client {
    const KIND: RecordKind = RecordKind::IdmsClient;

    fn key(&self) -> String {
        self.id.as_str().to_owned()
    }
}

/// A user of this system.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct UserRecord {
    pub(super) name: UserName,
    pub(super) password: PasswordHash,
    /// The `sub` of tokens: drawn, so that it is never anybody else's, whoever has the name later.
    pub(super) subject: String,
    pub(super) services: ServiceIds,
    pub(super) partners: Vec<IssuerUrl>,
    pub(super) is_enabled: bool,
}

impl UserRecord {
    pub(super) fn shown(&self) -> User {
        User {
            name: self.name.clone(),
            password: None,
            services: self.services.clone(),
            partners: self.partners.clone(),
            is_enabled: self.is_enabled,
        }
    }
}

impl Stored for UserRecord {
    const KIND: RecordKind = RecordKind::IdmsUser;

    fn key(&self) -> String {
        self.name.as_str().to_owned()
    }
}

/// A key of this system.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct KeyRecord {
    #[serde(with = "pkcs8")]
    pub(super) pkcs8: SecretBytes,
    pub(super) certificate: Certificate,
    pub(super) signs_from: Timestamp,
}

impl Stored for KeyRecord {
    const KIND: RecordKind = RecordKind::IdmsKey;

    fn key(&self) -> String {
        self.certificate.key().thumbprint().as_str().to_owned()
    }
}

/// The refresh tokens that follow from one log-in; one of them is good at a time.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct FamilyRecord {
    pub(super) id: FamilyId,
    pub(super) subject: String,
    pub(super) client: ClientId,
    pub(super) scopes: Scopes,
    /// The key that the client has to prove.
    pub(super) proof_key: Option<Thumbprint>,
    /// Of the token that is good.
    pub(super) digest: TokenDigest,
    pub(super) expires: Timestamp,
}

impl Stored for FamilyRecord {
    const KIND: RecordKind = RecordKind::IdmsRefresh;

    fn key(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.id.0)
    }
}

/// The name of the tokens that follow from one log-in: in each of them, and useless without the rest.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
pub(super) struct FamilyId(pub(super) [u8; 16]);

/// A security token that this system gave.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct IssuedRecord {
    pub(super) id: String,
    pub(super) subject: String,
    pub(super) client: ClientId,
    pub(super) partner: IssuerUrl,
    pub(super) issued: Timestamp,
    pub(super) expires: Timestamp,
}

impl Stored for IssuedRecord {
    const KIND: RecordKind = RecordKind::IdmsIssued;

    fn key(&self) -> String {
        self.id.clone()
    }
}

/// What is and was trusted of a partner.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct IssuerRecord {
    pub(super) issuer: IssuerUrl,
    pub(super) certificates: Vec<Trusted>,
    /// Lists of revoked certificates: what comes later may be in them.
    pub(super) lists: Vec<Vec<u8>>,
}

/// A certificate that was imported.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Trusted {
    pub(super) certificate: Certificate,
    pub(super) imported: Timestamp,
    pub(super) revoked: Option<Revocation>,
}

/// The end of trust in a certificate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Revocation {
    pub(super) at: Timestamp,
    pub(super) reason: String,
}

impl Stored for IssuerRecord {
    const KIND: RecordKind = RecordKind::IdmsIssuer;

    fn key(&self) -> String {
        self.issuer.as_str().to_owned()
    }
}

/// A user of a partner.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct VisitorRecord {
    pub(super) visitor: Visitor,
    /// Who the user is in this system's tokens.
    pub(super) local_subject: String,
}

impl Stored for VisitorRecord {
    const KIND: RecordKind = RecordKind::IdmsVisitor;

    fn key(&self) -> String {
        pair_key(&self.visitor.issuer, &self.visitor.subject)
    }
}

/// An entry of the deny list.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct DeniedRecord(pub(super) Denied);

impl Stored for DeniedRecord {
    const KIND: RecordKind = RecordKind::IdmsDenied;

    fn key(&self) -> String {
        match &self.0 {
            Denied::Subject(issuer, subject) => format!("{issuer} s {subject}"),
            Denied::Token(issuer, token) => format!("{issuer} t {token}"),
        }
    }
}

/// A security token that was presented: to whom it belongs from then on.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct PresentedRecord {
    pub(super) issuer: IssuerUrl,
    pub(super) id: String,
    pub(super) client: ClientId,
    /// The key that the client proved, if it proved one.
    pub(super) proof_key: Option<Thumbprint>,
    pub(super) first: Timestamp,
    /// Until when it has to be known: its end and the skew of clocks.
    pub(super) until: Timestamp,
}

impl Stored for PresentedRecord {
    const KIND: RecordKind = RecordKind::IdmsPresented;

    fn key(&self) -> String {
        pair_key(&self.issuer, &self.id)
    }
}

/// An issuer has no spaces in its name: no two pairs have one key.
pub(super) fn pair_key(issuer: &IssuerUrl, of_issuer: &str) -> String {
    format!("{issuer} {of_issuer}")
}

/// Whether a name is one that [`draw_name`] draws.
pub(super) fn is_drawn(name: &str) -> bool {
    BASE64_URL_SAFE_NO_PAD.decode(name).is_ok_and(|octets| octets.len() == 16)
}

/// Draws a name that nobody can guess: 128 bits in base64url.
pub(super) fn draw_name(entropy: &mut dyn Entropy) -> String {
    let mut octets = [0; 16];
    entropy.fill(&mut octets);
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

/// How a private key is written into a record: its bare octets, and for people base64url.
mod pkcs8 {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use zeroize::Zeroizing;

    use crate::secret::SecretBytes;

    pub(super) fn serialize<S: Serializer>(key: &SecretBytes, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.serialize_str(&Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(key.expose())))
        } else {
            to.serialize_bytes(key.expose())
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SecretBytes, D::Error> {
        if !from.is_human_readable() {
            return <&'de [u8]>::deserialize(from).map(SecretBytes::new);
        }
        let text = Zeroizing::new(String::deserialize(from)?);
        let octets = BASE64_URL_SAFE_NO_PAD.decode(&*text).map(Zeroizing::new);
        octets
            .map(|octets| SecretBytes::new(&octets))
            .map_err(|_| D::Error::custom("is no base64url"))
    }
}
