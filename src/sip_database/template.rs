//! The form of a generated identity: a text with `{id}` in its user part.

use super::shapes::Shape;
use crate::{
    identity::{IdentityError, Impi, Impu, Pattern},
    packed::{GENERATED as ALPHABET, NUMBER_CHARACTERS, Word, Writer, ends_of},
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
    /// Of samples that were parsed: an id differs from theirs in letters and digits alone.
    impi_pattern: Pattern,
    impu_pattern: Pattern,
}

impl PairTemplate {
    /// Parses the templates of a private and a public identity.
    pub(super) fn parse(impi: &str, impu: &str) -> Result<Self, &'static str> {
        let sample = "a".repeat(ID_CHARACTERS);
        let told = |_: IdentityError| "a template gives no well-formed identity";
        let impi_sample = Impi::parse(&impi.replace(PLACEHOLDER, &sample)).map_err(told)?;
        let impu_sample = Impu::parse(&impu.replace(PLACEHOLDER, &sample)).map_err(told)?;
        let impi = Template::parse(impi, impi_sample.as_str())?;
        let impu = Template::parse(impu, impu_sample.as_str())?;
        let impi_pattern = impi_sample.pattern(impi.place(), ID_CHARACTERS);
        let impu_pattern = impu_sample.pattern(impu.place(), ID_CHARACTERS);
        Ok(Self { impi, impu, impi_pattern, impu_pattern })
    }

    /// The shapes that all private and all public ones of this form have.
    pub(super) const fn shapes(&self) -> [Shape; 2] {
        [self.impi.shape, self.impu.shape]
    }

    /// Whether both give identities of `domain`.
    pub(super) fn is_in(&self, domain: &str) -> bool {
        self.impi.domain() == domain && self.impu.domain() == domain
    }

    /// The private identity of which `id` is the number.
    #[inline]
    pub(super) fn impi(&self, id: u64) -> Impi {
        Impi::made(&self.impi_pattern, &ends_of(id))
    }

    /// The public identity of which `id` is the number.
    #[inline]
    pub(super) fn impu(&self, id: u64) -> Impu {
        Impu::made(&self.impu_pattern, &ends_of(id))
    }

    /// Packs the private identity that [`Self::impi`] gives.
    pub(super) fn pack_impi(&self, id: u64, to: &mut Writer<'_>) {
        self.impi.pack(id, to);
    }

    /// Packs the public identity that [`Self::impu`] gives.
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

    /// Where the id is.
    fn place(&self) -> usize {
        self.before.as_str().len()
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
    use crate::identity::UserIdentity;

    #[test]
    fn an_id_has_fixed_length_and_differs_for_every_number() {
        let template = PairTemplate::parse("m-{id}@IMS.example", "SIP:m-{id}@ims.Example").unwrap();
        let pair =
            |impi, impu| UserIdentity { impi: template.impi(impi), impu: template.impu(impu) };
        let (lowest, other) = (pair(0, u64::MAX), pair(1, 2));
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
    fn an_identity_that_is_not_kept_in_place_is_rendered_too() {
        for octets in [1, 20, 41, 42, 43, 200] {
            let (user, domain) = ("u".repeat(octets), "ims.example");
            let form = format!("{user}-{{id}}@{domain}");
            let template = PairTemplate::parse(&form, &format!("sip:{form}")).unwrap();
            let expected = format!("{user}-aaaaaaaaaaaab@{domain}");
            assert_eq!(template.impi(1), Impi::parse(&expected).unwrap());
            assert_eq!(template.impu(1), Impu::parse(&format!("sip:{expected}")).unwrap());
        }
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
