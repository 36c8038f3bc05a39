//! How a registration is kept in memory: packed, since there may be millions and most are at rest.

use bytestring::ByteString;
use memchr::{memchr, memrchr};
use smallvec::SmallVec;

use crate::{
    identity::Impu,
    packed::{Packed, Reader, Writer},
    sip::render::{self, Chunk},
    store::CommitSeq,
    time::Timestamp,
};

use super::registration::{ContactBinding, Registration};

/// Room for a text of a contact, octets: most fit.
const TEXT_OCTETS: usize = 128;
/// Octets of the texts of a registration that is read by itself: most fit.
const TEXTS_OCTETS: usize = 512;

/// A registration and the commit that made it so.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) registration: Registration,
    /// The commit of the last change.
    pub(super) changed: CommitSeq,
}

/// Reads [`Registered::changed`] alone.
pub(super) fn changed(from: &mut Reader<'_>) -> Option<CommitSeq> {
    from.number().map(CommitSeq::from_u64)
}

/// A [`Registration`] as stored, read without a copy of its texts.
#[derive(Debug, serde::Deserialize)]
pub(super) struct RegistrationView<'a> {
    #[serde(borrow)]
    impus: SmallVec<[&'a str; 1]>,
    #[serde(borrow)]
    contacts: SmallVec<[ContactView<'a>; 1]>,
}

/// A [`ContactBinding`] as stored.
#[derive(Debug, serde::Deserialize)]
struct ContactView<'a> {
    uri: &'a str,
    parameters: &'a str,
    #[serde(borrow)]
    paths: SmallVec<[&'a str; 1]>,
    call_id: &'a str,
    cseq: u32,
    expires_at: Timestamp,
}

impl RegistrationView<'_> {
    /// Whether all identities are some.
    pub(super) fn is_well_formed(&self) -> bool {
        self.impus.iter().all(|impu| Impu::is_canonical(impu))
    }

    /// The implicit registration set.
    pub(super) fn impus(&self) -> impl Iterator<Item = &str> {
        self.impus.iter().copied()
    }

    /// The URIs of the contacts.
    pub(super) fn contact_uris(&self) -> impl Iterator<Item = &str> {
        self.contacts.iter().map(|contact| contact.uri)
    }

    /// When the first contact ends.
    pub(super) fn next_expiry(&self) -> Timestamp {
        self.contacts.iter().map(|contact| contact.expires_at).min().unwrap_or_default()
    }

    /// Writes the fields of the registration that commit `changed` made so.
    pub(super) fn pack(&self, changed: CommitSeq, to: &mut Writer<'_>) {
        to.number(changed.as_u64());
        to.number(self.impus.len() as u64);
        for impu in &self.impus {
            to.impu(impu);
        }
        to.number(self.contacts.len() as u64);
        for contact in &self.contacts {
            contact.pack(self.impus.first().copied().unwrap_or_default(), to);
        }
    }
}

impl ContactView<'_> {
    /// Writes a contact of a user whose default public identity is `default`: as a rule the contact's URI
    /// begins like that.
    fn pack(&self, default: &str, to: &mut Writer<'_>) {
        let Self { uri, parameters, paths, call_id, cseq, expires_at } = self;
        let shared = shared_octets(uri, default);
        to.number(shared as u64);
        to.text(uri.get(shared..).unwrap_or_default());
        for (shared, own) in parameters_of(parameters) {
            to.word(shared);
            if !own.is_empty() {
                to.text(own);
            }
        }
        to.text(""); // after the last one
        to.number(paths.len() as u64);
        for path in paths {
            to.word(path);
        }
        to.text(call_id);
        to.number((*cseq).into());
        to.time(*expires_at);
    }
}

impl Registration {
    fn view(&self) -> RegistrationView<'_> {
        RegistrationView {
            impus: self.impus.iter().map(Impu::as_str).collect(),
            contacts: self.contacts.iter().map(ContactBinding::view).collect(),
        }
    }
}

impl Packed for Registered {
    fn pack(&self, to: &mut Writer<'_>) {
        self.registration.view().pack(self.changed, to);
    }

    fn unpack(from: &mut Reader<'_>) -> Option<Self> {
        Self::unpack_in(from, &mut Chunk::of(TEXTS_OCTETS))
    }
}

impl Registered {
    /// As [`Packed::unpack`], with the texts in `chunk`.
    pub(super) fn unpack_in(from: &mut Reader<'_>, chunk: &mut Chunk) -> Option<Self> {
        let changed = changed(from)?;
        let count = from.number()?;
        let impus = (0..count).map(|_| from.impu()).collect::<Option<SmallVec<[Impu; 1]>>>()?;
        let count = from.number()?;
        let contact = |_| ContactBinding::unpack(impus.first(), from, chunk);
        let contacts = (0..count).map(contact).collect::<Option<_>>()?;
        Some(Self { registration: Registration { impus, contacts }, changed })
    }
}

impl ContactBinding {
    fn view(&self) -> ContactView<'_> {
        let Self { uri, parameters, paths, call_id, cseq, expires_at } = self;
        let paths = paths.iter().map(|path| &**path).collect();
        let (cseq, expires_at) = (*cseq, *expires_at);
        ContactView { uri, parameters, paths, call_id, cseq, expires_at }
    }

    fn unpack(default: Option<&Impu>, from: &mut Reader<'_>, chunk: &mut Chunk) -> Option<Self> {
        let shared = usize::try_from(from.number()?).ok()?;
        let shared = default.map_or("", |impu| impu.as_str()).get(..shared)?;
        let mut uri = chunk.begin(TEXT_OCTETS);
        uri.verbatim(shared.as_bytes());
        append_text(from, &mut uri)?;
        let uri = uri.finish_text_in(chunk);
        let mut parameters = chunk.begin(TEXT_OCTETS);
        while append_text(from, &mut parameters)? > 0 {}
        let parameters = parameters.finish_text_in(chunk);
        let paths = (0..from.number()?).map(|_| text(from, chunk)).collect::<Option<_>>()?;
        Some(Self {
            uri,
            parameters,
            paths,
            call_id: text(from, chunk)?,
            cseq: u32::try_from(from.number()?).ok()?,
            expires_at: from.time()?,
        })
    }
}

fn text(from: &mut Reader<'_>, chunk: &mut Chunk) -> Option<ByteString> {
    let mut text = chunk.begin(TEXT_OCTETS);
    append_text(from, &mut text)?;
    Some(text.finish_text_in(chunk))
}

/// Reads a text and appends it to others; returns how many octets it has.
fn append_text(from: &mut Reader<'_>, to: &mut render::Writer) -> Option<usize> {
    from.text_with(|text| {
        to.verbatim(text);
        text.len()
    })
}

/// Splits parameters at their semicolons, and each into what many contacts have and what only this one has: what
/// follows a colon and begins with a digit, such as the number of a device.
fn parameters_of(parameters: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = parameters;
    std::iter::from_fn(move || {
        let (_, others) = rest.as_bytes().split_first()?;
        let end = memchr(b';', others).map_or(rest.len(), |at| at + 1);
        let (parameter, others) = rest.split_at_checked(end)?;
        rest = others;
        let own = memrchr(b':', parameter.as_bytes()).map_or(parameter.len(), |at| at + 1);
        let is_digit = parameter.as_bytes().get(own).is_some_and(u8::is_ascii_hexdigit);
        Some(parameter.split_at(if is_digit { own } else { parameter.len() }))
    })
}

/// With how many octets both texts begin that are whole characters.
fn shared_octets(one: &str, other: &str) -> usize {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    (0..=same).rev().find(|at| one.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{entropy::Entropy, identity::Impi, packed::PackedTable, time::Timestamp};

    struct Fixed;

    impl Entropy for Fixed {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(7);
        }
    }

    fn contact(uri: &str, parameters: &str, paths: &[&str]) -> ContactBinding {
        ContactBinding {
            uri: uri.into(),
            parameters: parameters.into(),
            paths: paths.iter().map(|path| (*path).into()).collect(),
            call_id: "call\u{e4}@192.0.2.1".into(),
            cseq: u32::MAX,
            expires_at: Timestamp::from_micros(1_800_000_000_123_456),
        }
    }

    #[test]
    fn a_registration_is_unpacked_as_it_was_packed() {
        let table: PackedTable<Registered> = PackedTable::new(&mut Fixed);
        let impi = Impi::parse("mig-0@b.example").unwrap();
        let impus = ["sip:mig-1@b.example", "tel:+39061234"].map(|it| Impu::parse(it).unwrap());
        let instance = ";+sip.instance=\"<urn:gsma:imei:90420156-025763-0;x>\";q=1";
        let contacts = [
            contact("sip:mig-1@192.0.2.1:5060", "", &[]),
            contact("sip:mig-1@b.example", instance, &["<sip:p.b.example;lr>", "<sip:q;lr>"]),
            contact("sip:mig-\u{e9}@[2001:db8::1]", ";a;b;;c=\u{e9};", &[]),
            contact("tel:+39061234", ";", &[""]),
        ];
        for impus in [&impus[..], &impus[..1], &[]] {
            for contacts in [&contacts[..], &contacts[..1], &contacts[2..3], &[]] {
                let registration = Registration { impus: impus.into(), contacts: contacts.into() };
                let changed = CommitSeq::from_u64(1 << 40);
                let registered = Registered { registration: registration.clone(), changed };
                table.insert(&impi, &registered);
                assert_eq!(table.get(&impi).unwrap().registration, registration);
                assert_eq!(table.view(&impi, super::changed), Some(changed));
            }
        }
    }
}
