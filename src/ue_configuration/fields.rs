//! What an element is made of: children in a fixed order, attributes, or one simple value.

use std::{iter::Peekable, str::FromStr, vec::IntoIter};

use super::{
    DocumentError,
    document::Extension,
    element::{Element, Node, Place, SCHEMA_INSTANCE, declared_prefix, split_name},
    extension,
    values::{
        PduSessionType, PersonalText, SNssai, are_digits, is_dnn, is_http_uri, is_language, is_uri,
        is_uri_reference,
    },
    xml::is_blank,
};
use crate::{identity::Plmn, secret::SecretText};

/// Longest text that is neither a URI nor a DNN, octets: a certificate, a key, a label.
pub const TEXT_OCTETS_MAX: usize = 8_192;

pub(super) const MISSING: &str = "is missing: the schema requires it here";
pub(super) const UNEXPECTED: &str =
    "is not allowed here: write each element once, in the order of the schema; others into anyExt";
pub(super) const TWICE: &str = "is there twice: write it once";

/// The children of an element that holds nothing but elements, taken in order.
pub(super) struct Fields<'a> {
    place: &'a Place<'a>,
    rest: Peekable<IntoIter<&'a Element>>,
}

impl<'a> Fields<'a> {
    /// Begins with the first child. The attributes are of `attributes`.
    pub(super) fn of(place: &'a Place<'a>, attributes: &[&str]) -> Result<Self, DocumentError> {
        check_attributes(place, attributes)?;
        let is_text = |node: &Node| match node {
            Node::Text(text) => !is_blank(text.expose()),
            Node::Element(_) => false,
        };
        if place.element.content.iter().any(is_text) {
            return Err(place.error("holds text: write elements only"));
        }
        let children: Vec<_> = place.element.elements().collect();
        Ok(Self { place, rest: children.into_iter().peekable() })
    }

    /// Takes the next child, whatever it is.
    pub(super) fn next(&mut self) -> Option<Place<'a>> {
        self.rest.next().map(|element| self.place.child(element))
    }

    /// Takes the next child if its name is `name`.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Place<'_>) -> Result<T, DocumentError>,
    ) -> Result<Option<T>, DocumentError> {
        self.next_if(name).map(|child| read(&child)).transpose()
    }

    /// Takes the next child, whose name must be `name`.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Place<'_>) -> Result<T, DocumentError>,
    ) -> Result<T, DocumentError> {
        self.next_as(name).and_then(|child| read(&child))
    }

    /// As [`Self::optional`], of a child that holds a simple value.
    pub(super) fn optional_value<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value<'a>) -> Result<T, DocumentError>,
    ) -> Result<Option<T>, DocumentError> {
        self.next_if(name).map(|child| read(&Value::of_element(child, &[])?)).transpose()
    }

    /// As [`Self::required`], of a child that holds a simple value.
    pub(super) fn value<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value<'a>) -> Result<T, DocumentError>,
    ) -> Result<T, DocumentError> {
        self.next_as(name).and_then(|child| read(&Value::of_element(child, &[])?))
    }

    fn next_if(&mut self, name: &str) -> Option<Place<'a>> {
        let place = self.place;
        let element = self.rest.next_if(|element| place.child(element).own_name() == Some(name))?;
        Some(place.child(element))
    }

    fn next_as(&mut self, name: &'static str) -> Result<Place<'a>, DocumentError> {
        if let Some(child) = self.next_if(name) {
            return Ok(child);
        }
        // If it comes later, what stands in its place is wrong.
        let place = self.place;
        let mut rest = self.rest.clone();
        match rest.next() {
            Some(other) if rest.any(|element| place.child(element).own_name() == Some(name)) => {
                Err(place.child(other).error(UNEXPECTED))
            }
            Some(_) | None => Err(place.error_at_child(name, MISSING)),
        }
    }

    /// Takes children as long as `read` gives something, at most `max`.
    pub(super) fn repeated<T>(
        &mut self,
        max: usize,
        mut read: impl FnMut(&Place<'_>) -> Result<Option<T>, DocumentError>,
    ) -> Result<Vec<T>, DocumentError> {
        let mut values = Vec::new();
        while let Some(element) = self.rest.peek() {
            let child = self.place.child(element);
            let Some(value) = read(&child)? else { break };
            if values.len() == max {
                return Err(child.error("is one element of its kind too many"));
            }
            values.push(value);
            self.rest.next();
        }
        Ok(values)
    }

    /// Takes `anyExt` if it is there.
    pub(super) fn extensions(&mut self) -> Result<Vec<Extension>, DocumentError> {
        Ok(self.optional("anyExt", extension::any_ext)?.unwrap_or_default())
    }

    /// Checks that nothing is left.
    pub(super) fn end(mut self) -> Result<(), DocumentError> {
        self.next().map_or(Ok(()), |child| Err(child.error(UNEXPECTED)))
    }

    pub(super) fn optional_attribute<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Value<'a>) -> Result<T, DocumentError>,
    ) -> Result<Option<T>, DocumentError> {
        Value::of_attribute(*self.place, name).map(|value| read(&value)).transpose()
    }

    pub(super) fn attribute<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Value<'a>) -> Result<T, DocumentError>,
    ) -> Result<T, DocumentError> {
        let missing = "is missing: the schema requires it";
        self.optional_attribute(name, read)?
            .ok_or_else(|| self.place.error_at_attribute(name, missing))
    }
}

/// Checks that there is no attribute but those of `allowed`, declarations of namespaces, and the hints
/// where a schema is.
fn check_attributes(place: &Place<'_>, allowed: &[&str]) -> Result<(), DocumentError> {
    for attribute in &place.element.attributes {
        let (prefix, local) = split_name(&attribute.name);
        let is_hint = !prefix.is_empty()
            && place.namespace(prefix) == Some(SCHEMA_INSTANCE)
            && ["schemaLocation", "noNamespaceSchemaLocation"].contains(&local);
        let is_declaration = declared_prefix(&attribute.name).is_some();
        if !(is_hint || is_declaration || allowed.contains(&attribute.name.as_str())) {
            let what = "is not an attribute of this element: leave it out";
            return Err(place.error_at_attribute(&attribute.name, what));
        }
    }
    Ok(())
}

/// The value of an attribute, or of an element that holds nothing but text.
pub(super) struct Value<'a> {
    place: Place<'a>,
    attribute: Option<&'static str>,
    text: &'a str,
}

impl<'a> Value<'a> {
    /// The text of an element. Its attributes are of `attributes`.
    pub(super) fn of_element(place: Place<'a>, attributes: &[&str]) -> Result<Self, DocumentError> {
        check_attributes(&place, attributes)?;
        let text = match place.element.content.as_slice() {
            [] => "",
            [Node::Text(text)] => text.expose(),
            _ => return Err(place.error("holds elements: write text only")),
        };
        Ok(Self { place, attribute: None, text })
    }

    /// The value of an attribute, if it is there.
    pub(super) fn of_attribute(place: Place<'a>, name: &'static str) -> Option<Self> {
        let mut attributes = place.element.attributes.iter();
        let attribute = attributes.find(|attribute| attribute.name == name)?;
        Some(Self { place, attribute: Some(name), text: attribute.value.expose() })
    }

    /// Whether there is nothing but white space.
    pub(super) fn is_empty(&self) -> bool {
        self.text.trim_ascii().is_empty()
    }

    pub(super) fn uri(&self) -> Result<String, DocumentError> {
        let text = self.text.trim_ascii();
        self.checked(is_uri(text), text, "is no URI: write one with a scheme, as sip:gms@b.example")
    }

    pub(super) fn personal_uri(&self) -> Result<PersonalText, DocumentError> {
        self.uri().map(PersonalText::new)
    }

    pub(super) fn http_uri(&self) -> Result<String, DocumentError> {
        let text = self.text.trim_ascii();
        let what = "is no HTTP URI: write one as https://idms.b.example/token";
        self.checked(is_http_uri(text), text, what)
    }

    pub(super) fn uri_reference(&self) -> Result<String, DocumentError> {
        let text = self.text.trim_ascii();
        self.checked(is_uri_reference(text), text, "is neither a URI nor a domain name")
    }

    pub(super) fn dnn(&self) -> Result<String, DocumentError> {
        let what = "is neither a DNN nor an APN: write labels of letters, digits, - with . between";
        self.checked(is_dnn(self.text), self.text, what)
    }

    /// A text of which white space around and repeated white space are no part.
    pub(super) fn token(&self) -> Result<String, DocumentError> {
        let fits = self.text.len() <= TEXT_OCTETS_MAX;
        let text = self.text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        self.checked(fits, &text, "is too long")
    }

    /// A text of which every character counts.
    pub(super) fn text(&self) -> Result<String, DocumentError> {
        self.checked(self.text.len() <= TEXT_OCTETS_MAX, self.text, "is too long")
    }

    pub(super) fn personal(&self) -> Result<PersonalText, DocumentError> {
        self.text().map(PersonalText::new)
    }

    pub(super) fn secret(&self) -> Result<SecretText, DocumentError> {
        self.text().map(SecretText::new)
    }

    pub(super) fn digits(&self, count: usize) -> Result<String, DocumentError> {
        let text = self.text.trim_ascii();
        let what = if count == 8 {
            "is no type allocation code: write 8 digits"
        } else {
            "is no serial number: write 6 digits"
        };
        self.checked(text.len() == count && are_digits(text), text, what)
    }

    pub(super) fn language(&self) -> Result<String, DocumentError> {
        self.checked(is_language(self.text), self.text, "is no language tag: write one as en-GB")
    }

    pub(super) fn number<T: FromStr>(&self) -> Result<T, DocumentError> {
        let what = if size_of::<T>() == 1 {
            "is no number from 0 to 255"
        } else {
            "is no number from 0 to 65535"
        };
        self.text.trim_ascii().parse().map_err(|_| self.error(what))
    }

    pub(super) fn boolean(&self) -> Result<bool, DocumentError> {
        match self.text.trim_ascii() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.error("is neither true nor false")),
        }
    }

    pub(super) fn plmn(&self) -> Result<Plmn, DocumentError> {
        let what = "is no PLMN ID: write MCC and MNC, 5 or 6 digits";
        Plmn::parse(self.text).map_err(|_| self.error(what))
    }

    pub(super) fn s_nssai(&self) -> Result<SNssai, DocumentError> {
        let what = "is no S-NSSAI: write the SST, 0 to 255, or SST-SD with the SD in 6 hex digits";
        SNssai::parse(self.text).ok_or_else(|| self.error(what))
    }

    pub(super) fn pdu_session_type(&self) -> Result<PduSessionType, DocumentError> {
        let what = "is none of IPv4, IPv6, IPv4v6, Ethernet, Unstructured";
        PduSessionType::parse(self.text).ok_or_else(|| self.error(what))
    }

    fn checked(
        &self,
        is_valid: bool,
        text: &str,
        what: &'static str,
    ) -> Result<String, DocumentError> {
        if is_valid { Ok(text.to_owned()) } else { Err(self.error(what)) }
    }

    fn error(&self, what: &'static str) -> DocumentError {
        match self.attribute {
            Some(name) => self.place.error_at_attribute(name, what),
            None => self.place.error(what),
        }
    }
}
