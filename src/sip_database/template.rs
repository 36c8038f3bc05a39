//! The form of a generated identity: a text with `{id}` in its user part.

use std::str;

use super::shapes::Shape;
use crate::{
    identity::{IdentityError, Impi, Impu, UserIdentity},
    packed::{GENERATED as ALPHABET, NUMBER_CHARACTERS, Word, Writer, characters_of},
};

/// Characters of an `{id}`: a 64-bit number, five bits a character.
pub(super) const ID_CHARACTERS: usize = NUMBER_CHARACTERS;

const PLACEHOLDER: &str = "{id}";

/// The numbers of which a generated pair is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub(super) impi: u64,
    pub(super) impu: u64,
}

/// The forms of the two identities of a generated pair.
#[derive(Debug)]
pub(super) struct PairTemplate {
    impi: Template,
    impu: Template,
}

impl PairTemplate {
    /// Parses the templates of a private and a public identity.
    pub(super) fn parse(impi: &str, impu: &str) -> Result<Self, &'static str> {
        let sample = "a".repeat(ID_CHARACTERS);
        let told = |_: IdentityError| "a template gives no well-formed identity";
        let impi_sample = Impi::parse(&impi.replace(PLACEHOLDER, &sample)).map_err(told)?;
        let impu_sample = Impu::parse(&impu.replace(PLACEHOLDER, &sample)).map_err(told)?;
        Ok(Self {
            impi: Template::parse(impi, impi_sample.as_str())?,
            impu: Template::parse(impu, impu_sample.as_str())?,
        })
    }

    /// The shapes that all private and all public ones of this form have.
    pub(super) const fn shapes(&self) -> [Shape; 2] {
        [self.impi.shape, self.impu.shape]
    }

    /// Whether both give identities of `domain`.
    pub(super) fn is_in(&self, domain: &str) -> bool {
        self.impi.domain() == domain && self.impu.domain() == domain
    }

    /// Renders up to `N` pairs and gives each to `to`. `None`, and no more of them, only if the templates were never
    /// checked.
    pub(super) fn render<const N: usize>(
        &self,
        ids: &[Ids],
        mut to: impl FnMut(Ids, UserIdentity),
    ) -> Option<()> {
        let mut characters = [[[0; ID_OCTETS]; 2]; N];
        for (ids, [impi, impu]) in ids.iter().zip(&mut characters) {
            *impi.first_chunk_mut()? = characters_of(ids.impi);
            *impu.first_chunk_mut()? = characters_of(ids.impu);
        }
        // That they are a text is checked of all of them at a time, with the zeros behind each, which are one too.
        let mut text = str::from_utf8(characters.as_flattened().as_flattened()).ok()?;
        for ids in ids {
            let (impi, rest) = text.split_at_checked(ID_OCTETS)?;
            let (impu, rest) = rest.split_at_checked(ID_OCTETS)?;
            text = rest;
            // The sample was parsed, and an id differs from it in letters and digits alone.
            let identity = UserIdentity {
                impi: Impi::from_checked_parts(self.impi.parts(impi)?),
                impu: Impu::from_checked_parts(self.impu.parts(impu)?),
            };
            to(*ids, identity);
        }
        Some(())
    }

    /// Packs the private identity that [`Self::render`] gives.
    pub(super) fn pack_impi(&self, id: u64, to: &mut Writer<'_>) {
        self.impi.pack(id, to);
    }

    /// Packs the public identity that [`Self::render`] gives.
    pub(super) fn pack_impu(&self, id: u64, to: &mut Writer<'_>) {
        self.impu.pack(id, to);
    }

    /// Whether `impi` could be one of this form.
    pub(super) fn covers_impi(&self, impi: &Impi) -> bool {
        self.impi.covers(impi.as_str())
    }

    /// Whether `impu` could be one of this form.
    pub(super) fn covers_impu(&self, impu: &Impu) -> bool {
        self.impu.covers(impu.as_str())
    }

    /// Whether some identity could be of both forms.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.impi.overlaps(&other.impi) || self.impu.overlaps(&other.impu)
    }
}

/// Octets that the characters of an id have room in: to check that they are a text takes a third of the time where
/// words are whole.
const ID_OCTETS: usize = ID_CHARACTERS.next_multiple_of(16);

/// One form, in canonical text. What a pool lends is bound in one table, that of its direction.
#[derive(Debug)]
struct Template {
    before: Word,
    after: Word,
    shape: Shape,
}

impl Template {
    /// Splits `sample`, the canonical text of `given` with a sample in place of `{id}`.
    fn parse(given: &str, sample: &str) -> Result<Self, &'static str> {
        let (head, tail) = given.split_once(PLACEHOLDER).ok_or("a template lacks {id}")?;
        if tail.contains(PLACEHOLDER) {
            return Err("a template has {id} twice");
        }
        if !tail.contains('@') {
            return Err("a template has {id} outside the user part");
        }
        // The canonical text differs only in letter case before the `@`, so the place is the same.
        let before = sample.get(..head.len()).unwrap_or_default();
        let after = sample.get(head.len() + ID_CHARACTERS..).unwrap_or_default();
        Ok(Self { before: Word::new(before), after: Word::new(after), shape: Shape::of(sample) })
    }

    /// The parts of an identity whose id begins with `id`.
    fn parts<'a>(&'a self, id: &'a str) -> Option<[&'a str; 3]> {
        Some([self.before.as_str(), id.get(..ID_CHARACTERS)?, self.after.as_str()])
    }

    fn pack(&self, id: u64, to: &mut Writer<'_>) {
        to.generated(&self.before, id, &self.after);
    }

    fn domain(&self) -> &str {
        self.after.as_str().rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    fn covers(&self, text: &str) -> bool {
        text.strip_prefix(self.before.as_str())
            .and_then(|rest| rest.strip_suffix(self.after.as_str()))
            .is_some_and(|id| {
                id.len() == ID_CHARACTERS && id.bytes().all(|octet| ALPHABET.contains(&octet))
            })
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.octets() == other.octets()
            && self.places().zip(other.places()).all(|places| match places {
                (Some(one), Some(two)) => one == two,
                (Some(fixed), None) | (None, Some(fixed)) => ALPHABET.contains(&fixed),
                (None, None) => true,
            })
    }

    fn octets(&self) -> usize {
        self.before.as_str().len() + ID_CHARACTERS + self.after.as_str().len()
    }

    /// Every octet of the form, `None` where an `{id}` has its characters.
    fn places(&self) -> impl Iterator<Item = Option<u8>> {
        let fixed = |text: &str| text.bytes().map(Some).collect::<Vec<_>>();
        let mut places = fixed(self.before.as_str());
        places.extend([None; ID_CHARACTERS]);
        places.extend(fixed(self.after.as_str()));
        places.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_fixed_length_and_differs_for_every_number() {
        let template = PairTemplate::parse("m-{id}@IMS.example", "SIP:m-{id}@ims.Example").unwrap();
        let ids = [Ids { impi: 0, impu: u64::MAX }, Ids { impi: 1, impu: 2 }];
        let mut pairs = Vec::new();
        template.render::<2>(&ids, |_, pair| pairs.push(pair)).unwrap();
        let [lowest, other] = pairs.try_into().unwrap();
        assert_eq!(other.impi.as_str(), "m-aaaaaaaaaaaab@ims.example");
        assert_eq!(other.impu.as_str(), "sip:m-aaaaaaaaaaaac@ims.example");
        assert_eq!(lowest.impi.as_str(), "m-aaaaaaaaaaaaa@ims.example");
        assert_eq!(lowest.impu.as_str(), "sip:m-r999999999999@ims.example");
        assert!(template.is_in("ims.example") && !template.is_in("other.example"));
        assert!(template.covers_impi(&lowest.impi) && template.covers_impu(&lowest.impu));
        assert!(!template.covers_impi(&Impi::parse("m-aaaaaaaaaaaa@ims.example").unwrap()));
        assert!(!template.covers_impi(&Impi::parse("m-aaaaaaaaaaaa0@ims.example").unwrap()));
    }

    #[test]
    fn a_template_that_cannot_work_is_refused_with_the_reason() {
        for (impi, impu, reason) in [
            ("m@ims.example", "sip:{id}@ims.example", "lacks {id}"),
            ("{id}{id}@ims.example", "sip:{id}@ims.example", "twice"),
            ("{id}@ims.example", "sip:{id}", "well-formed"),
            ("{id}@ims.example", "tel:+{id}", "well-formed"),
        ] {
            let error = PairTemplate::parse(impi, impu).unwrap_err();
            assert!(error.contains(reason), "{impi} {impu}: {error}");
        }
    }

    #[test]
    fn two_forms_overlap_if_one_text_fits_both() {
        let parse = |user: &str| {
            let impi = format!("{user}@ims.example");
            PairTemplate::parse(&impi, &format!("sip:{impi}")).unwrap()
        };
        assert!(parse("m-{id}").overlaps(&parse("m-{id}")));
        assert!(parse("aa{id}").overlaps(&parse("a{id}b")), "a + 13 + b and aa + 13");
        assert!(!parse("aa{id}").overlaps(&parse("b{id}b")));
        assert!(!parse("m-{id}").overlaps(&parse("x-{id}")));
        assert!(!parse("m-{id}").overlaps(&parse("m--{id}")), "another length");
    }
}
