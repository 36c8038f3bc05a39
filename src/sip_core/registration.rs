//! A registration and how a REGISTER changes it (RFC 3261 clause 10.3). Pure.

use std::time::Duration;

use bytestring::ByteString;
use smallvec::SmallVec;

use crate::{
    identity::{Impi, Impu},
    sip::{
        name_addr::{Contact, Contacts},
        register::RegisterRequest,
        render::{Chunk, Writer},
        uri::{Uri, equivalent},
    },
    store::WrongField,
    time::Timestamp,
};

use super::{Config, answer::RegisterError};

/// Most contacts of one user, and most contacts in one REGISTER.
pub const CONTACTS_MAX: usize = 10;

/// A registration period below this may be refused as too brief, seconds (RFC 3261 clause 10.3).
const BRIEF: u32 = 3_600;

/// Who is registered, and where. The durable record of the SIP core.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Registration {
    /// The implicit registration set, the default public identity first.
    pub impus: SmallVec<[Impu; 1]>,
    /// At least one while the registration lasts, at most [`CONTACTS_MAX`].
    pub contacts: SmallVec<[ContactBinding; 1]>,
}

/// One contact.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct ContactBinding {
    /// The contact URI as given, without angle brackets.
    pub uri: ByteString,
    /// The contact parameters as given, without `expires`, each with its leading semicolon.
    pub parameters: ByteString,
    /// The Path of the REGISTER that made it, topmost first.
    pub paths: SmallVec<[ByteString; 1]>,
    /// The Call-ID of the last REGISTER for it.
    pub call_id: ByteString,
    /// The CSeq of the last REGISTER for it.
    pub cseq: u32,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What one REGISTER wants, apart from it, so that it can wait for the SIP database.
#[derive(Clone, Debug)]
pub(super) struct RegistrationUpdate {
    call_id: ByteString,
    cseq: u32,
    pub(super) paths: SmallVec<[ByteString; 1]>,
    operation: Operation,
}

#[derive(Clone, Debug)]
enum Operation {
    /// No Contact: asks what is registered.
    Fetch,
    /// `Contact: *`, `Expires: 0`.
    RemoveAll,
    /// Each contact with its period, zero to remove it.
    Change(SmallVec<[ContactChange; 1]>),
}

#[derive(Clone, Debug)]
struct ContactChange {
    uri: ByteString,
    parameters: ByteString,
    period: Duration,
}

impl RegistrationUpdate {
    /// Checks what can be checked before a vector is spent on the request.
    ///
    /// # Errors
    ///
    /// Why the request would be refused.
    pub(super) fn check(
        request: &RegisterRequest<'_>,
        config: &Config,
    ) -> Result<(), RegisterError> {
        match request.contacts() {
            Contacts::None | Contacts::Wildcard => Ok(()),
            Contacts::List(contacts) => {
                for (count, contact) in contacts.iter().enumerate() {
                    if count >= CONTACTS_MAX {
                        return Err(RegisterError::TooManyContacts);
                    }
                    period_of(&contact, request, config)?;
                    if is_sips(contact.uri) && !is_sips_all_the_way(request) {
                        return Err(RegisterError::MixedSips);
                    }
                }
                Ok(())
            }
        }
    }

    /// Takes what the request wants, which [`RegistrationUpdate::check`] has found no fault with, into `chunk`.
    ///
    /// # Errors
    ///
    /// As [`RegistrationUpdate::check`].
    pub(super) fn from_request(
        request: &RegisterRequest<'_>,
        config: &Config,
        chunk: &mut Chunk,
    ) -> Result<Self, RegisterError> {
        let operation = match request.contacts() {
            Contacts::None => Operation::Fetch,
            Contacts::Wildcard => Operation::RemoveAll,
            Contacts::List(contacts) => {
                let change = |contact: Contact<'_>| {
                    Ok::<_, RegisterError>(ContactChange {
                        uri: chunk.text(contact.uri),
                        parameters: parameters_of(&contact, chunk),
                        period: Duration::from_secs(period_of(&contact, request, config)?.into()),
                    })
                };
                Operation::Change(
                    contacts.iter().map(change).collect::<Result<_, RegisterError>>()?,
                )
            }
        };
        let paths = request.paths().map(|path| chunk.text(path)).collect();
        let call_id = chunk.text(request.call_id());
        Ok(Self { call_id, cseq: request.cseq(), paths, operation })
    }

    /// Whether it adds or refreshes a contact.
    pub(super) fn adds(&self) -> bool {
        matches!(&self.operation, Operation::Change(changes) if changes.iter().any(|change| !change.period.is_zero()))
    }

    /// Whether it is more than a question.
    pub(super) fn changes(&self) -> bool {
        !matches!(self.operation, Operation::Fetch)
    }

    /// Whether nothing of `registration` would be left.
    pub(super) fn removes_all_of(&self, registration: &Registration) -> bool {
        match &self.operation {
            Operation::Fetch => false,
            Operation::RemoveAll => true,
            Operation::Change(changes) => registration.contacts.iter().all(|contact| {
                changes
                    .iter()
                    .any(|change| change.period.is_zero() && same_uri(&change.uri, &contact.uri))
            }),
        }
    }
}

impl Registration {
    /// Checks that the record is one that the role may have written under `key`.
    ///
    /// # Errors
    ///
    /// [`WrongField`]: the first field that is not.
    pub fn check(&self, key: &str) -> Result<(), WrongField> {
        let fits = Impi::parse(key).is_ok_and(|impi| impi.as_str() == key);
        WrongField::unless(fits, "key", "is not a private identity with its realm in lower case")?;
        WrongField::unless(!self.impus.is_empty(), "impus", "has none")?;
        let bounded = (1..=CONTACTS_MAX).contains(&self.contacts.len());
        WrongField::unless(bounded, "contacts", "has none, or more than 10")
    }

    /// When the first contact ends.
    pub fn next_expiry(&self) -> Timestamp {
        self.contacts.iter().map(|contact| contact.expires_at).min().unwrap_or_default()
    }

    /// Removes the contacts whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.contacts.retain(|contact| contact.expires_at > now);
    }

    /// Checks that `update` may be applied.
    ///
    /// # Errors
    ///
    /// [`RegisterError::OutOfOrder`] or [`RegisterError::TooManyContacts`].
    pub(super) fn check_update(&self, update: &RegistrationUpdate) -> Result<(), RegisterError> {
        let changes = match &update.operation {
            Operation::Fetch => return Ok(()),
            Operation::RemoveAll => {
                let mut contacts = self.contacts.iter();
                return contacts.try_for_each(|it| it.check_order(&update.call_id, update.cseq));
            }
            Operation::Change(changes) => changes,
        };
        let mut count = 0;
        for contact in &self.contacts {
            if changes.iter().any(|change| same_uri(&contact.uri, &change.uri)) {
                contact.check_order(&update.call_id, update.cseq)?;
            } else {
                count += 1;
            }
        }
        let mut later = changes.as_slice();
        while let Some((change, rest)) = later.split_first() {
            let is_last_word = !rest.iter().any(|other| same_uri(&other.uri, &change.uri));
            count += usize::from(is_last_word && !change.period.is_zero());
            later = rest;
        }
        if count > CONTACTS_MAX { Err(RegisterError::TooManyContacts) } else { Ok(()) }
    }

    /// Applies `update`, all of it or nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::check_update`]; nothing has changed then.
    pub(super) fn apply(
        &mut self,
        update: RegistrationUpdate,
        now: Timestamp,
    ) -> Result<(), RegisterError> {
        self.check_update(&update)?;
        match update.operation {
            Operation::Fetch => {}
            Operation::RemoveAll => self.contacts.clear(),
            Operation::Change(changes) => {
                for change in changes {
                    self.contacts.retain(|contact| !same_uri(&contact.uri, &change.uri));
                    if change.period.is_zero() {
                        continue;
                    }
                    self.contacts.push(ContactBinding {
                        uri: change.uri,
                        parameters: change.parameters,
                        paths: update.paths.clone(),
                        call_id: update.call_id.clone(),
                        cseq: update.cseq,
                        expires_at: now + change.period,
                    });
                }
            }
        }
        Ok(())
    }

    /// Writes one Contact field for each contact, with the seconds it has left.
    pub(super) fn write_contacts(&self, to: &mut Writer, now: Timestamp) {
        for contact in &self.contacts {
            for part in ["Contact: <", &*contact.uri, ">", &*contact.parameters, ";expires="] {
                to.text(part);
            }
            to.number(contact.seconds_left(now));
            to.end_line();
        }
    }
}

impl ContactBinding {
    /// Seconds until it ends, rounded up.
    pub(super) fn seconds_left(&self, now: Timestamp) -> u64 {
        let left = self.expires_at.since(now);
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }

    /// The same Call-ID needs a higher CSeq (RFC 3261 clause 10.3 step 7).
    fn check_order(&self, call_id: &str, cseq: u32) -> Result<(), RegisterError> {
        if self.call_id == call_id && self.cseq >= cseq {
            Err(RegisterError::OutOfOrder)
        } else {
            Ok(())
        }
    }
}

/// Whether all between the domain and a SIPS contact is SIPS too: a secure resource is bound to no insecure one
/// (RFC 5630 clause 5.4). To and From do not count.
fn is_sips_all_the_way(request: &RegisterRequest<'_>) -> bool {
    let is_sips_path = |path: &str| path.split_once('<').is_some_and(|(_, uri)| is_sips(uri));
    is_sips(request.request_uri()) && request.paths().all(is_sips_path)
}

fn is_sips(uri: &str) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

/// The period granted to a contact, seconds: its own wish, else the request's, else the default.
fn period_of(
    contact: &Contact<'_>,
    request: &RegisterRequest<'_>,
    config: &Config,
) -> Result<u32, RegisterError> {
    let wish = contact.expires.or_else(|| request.expires()).unwrap_or(config.expires_default);
    if wish > 0 && wish < BRIEF && wish < config.expires_min {
        return Err(RegisterError::IntervalTooBrief(config.expires_min));
    }
    Ok(wish.min(config.expires_max))
}

/// The contact's parameters without `expires`, which the registrar states anew.
fn parameters_of(contact: &Contact<'_>, chunk: &mut Chunk) -> ByteString {
    let mut kept = chunk.begin(contact.params.len());
    let mut rest = contact.params;
    while let Some(parameter) = next_parameter(&mut rest) {
        let name = parameter.split('=').next().unwrap_or_default().trim();
        if !name.is_empty() && !name.eq_ignore_ascii_case("expires") {
            kept.verbatim(b";");
            kept.verbatim(parameter.trim().as_bytes());
        }
    }
    kept.finish_text_in(chunk)
}

/// Takes the next parameter off `rest`; semicolons in quoted strings do not separate.
fn next_parameter<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start().strip_prefix(';')?;
    let (mut quoted, mut escaped) = (false, false);
    let end = text.bytes().position(|octet| {
        let ends = octet == b';' && !quoted;
        quoted ^= octet == b'"' && !escaped;
        escaped = octet == b'\\' && !escaped;
        ends
    });
    let (parameter, after) = text.split_at(end.unwrap_or(text.len()));
    *rest = after;
    Some(parameter)
}

/// URI comparison by RFC 3261 clause 19.1.4; URIs of other schemes compare as text.
fn same_uri(one: &str, other: &str) -> bool {
    one == other
        || match (Uri::parse(one), Uri::parse(other)) {
            (Ok(one), Ok(other)) => equivalent(&one, &other),
            _ => false,
        }
}
