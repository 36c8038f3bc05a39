//! The user profile as XML: User-Data of SAA and PPR (TS 29.228 annexes B and E).
//!
//! Only what registration needs is read and written: the private identity and the public ones that
//! are not barred. Namespaces and other elements are ignored, a document type is refused.

use quick_xml::{Reader, escape::partial_escape, events::Event};

use super::cx::UserData;
use crate::identity::{Impi, Impu};

/// Most public identities in a profile or a request.
pub const IMPUS_MAX: usize = 64;
/// Deepest nesting of elements, levels.
pub const XML_DEPTH_MAX: usize = 32;
/// Longest text of an element that is read, octets.
pub const XML_TEXT_OCTETS_MAX: usize = 1_024;

/// Encodes a profile of one service profile.
pub fn encode(user_data: &UserData) -> String {
    let mut xml = String::from(r#"<?xml version="1.0" encoding="UTF-8"?><IMSSubscription>"#);
    push_element(&mut xml, "PrivateID", user_data.impi.as_str());
    xml.push_str("<ServiceProfile>");
    for impu in &user_data.impus {
        xml.push_str("<PublicIdentity><BarringIndication>0</BarringIndication>");
        push_element(&mut xml, "Identity", impu.as_str());
        xml.push_str("</PublicIdentity>");
    }
    xml.push_str("</ServiceProfile></IMSSubscription>");
    xml
}

fn push_element(xml: &mut String, name: &str, text: &str) {
    for part in ["<", name, ">", &partial_escape(text), "</", name, ">"] {
        xml.push_str(part);
    }
}

/// Decodes a profile. A public identity that is barred, or that no user could register (a
/// wildcard, a local number), is left out.
///
/// # Errors
///
/// [`InvalidUserData`] names what is wrong. The peer's fault.
pub fn decode(xml: &[u8]) -> Result<UserData, InvalidUserData> {
    let xml = std::str::from_utf8(xml).map_err(|_| InvalidUserData::Malformed)?;
    let mut reader = Reader::from_str(xml);
    let mut profile = Profile::default();
    loop {
        match reader.read_event().map_err(|_| InvalidUserData::Malformed)? {
            Event::Start(element) => profile.open(element.local_name().as_ref())?,
            Event::End(_) => profile.close()?,
            Event::Text(text) => profile.push_text(&text.xml10_content())?,
            Event::CData(text) => profile.push_text(&text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let text = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character.to_string(),
                    Ok(None) => quick_xml::escape::resolve_predefined_entity(&reference)
                        .ok_or(InvalidUserData::Malformed)?
                        .to_owned(),
                    Err(_) => return Err(InvalidUserData::Malformed),
                };
                profile.push_text(&text)?;
            }
            Event::DocType(_) => return Err(InvalidUserData::DocumentType),
            Event::Empty(_) | Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => return profile.end(),
        }
    }
}

/// What is wrong with a profile.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidUserData {
    /// No well-formed XML in UTF-8.
    #[error("no well-formed XML")]
    Malformed,
    /// A document type declaration: it could define entities.
    #[error("has a document type")]
    DocumentType,
    /// Deeper than [`XML_DEPTH_MAX`], longer than [`XML_TEXT_OCTETS_MAX`], more than [`IMPUS_MAX`].
    #[error("exceeds a maximum")]
    TooLarge,
    /// No private identity, or one that is no NAI.
    #[error("has no valid private identity")]
    PrivateIdentity,
}

/// The elements that matter, with their path from the root.
const PRIVATE_ID: &[Element] = &[Element::ImsSubscription, Element::PrivateId];
const PUBLIC_IDENTITY: &[Element] =
    &[Element::ImsSubscription, Element::ServiceProfile, Element::PublicIdentity];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Element {
    ImsSubscription,
    PrivateId,
    ServiceProfile,
    PublicIdentity,
    BarringIndication,
    Identity,
    Other,
}

impl Element {
    fn named(name: &str) -> Self {
        match name {
            "IMSSubscription" => Self::ImsSubscription,
            "PrivateID" => Self::PrivateId,
            "ServiceProfile" => Self::ServiceProfile,
            "PublicIdentity" => Self::PublicIdentity,
            "BarringIndication" => Self::BarringIndication,
            "Identity" => Self::Identity,
            _ => Self::Other,
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct Profile {
    path: Vec<Element>,
    text: String,
    impi: Option<Impi>,
    impus: Vec<Impu>,
    /// Of the public identity that is open.
    impu: Option<Impu>,
    barred: bool,
}

impl Profile {
    fn open(&mut self, name: &str) -> Result<(), InvalidUserData> {
        if self.path.len() == XML_DEPTH_MAX {
            return Err(InvalidUserData::TooLarge);
        }
        self.path.push(Element::named(name));
        self.text.clear();
        if self.path == PUBLIC_IDENTITY {
            self.impu = None;
            self.barred = false;
        }
        Ok(())
    }

    fn push_text(&mut self, text: &str) -> Result<(), InvalidUserData> {
        let read = [Element::PrivateId, Element::Identity, Element::BarringIndication];
        if !self.path.last().is_some_and(|element| read.contains(element)) {
            return Ok(());
        }
        if self.text.len() + text.len() > XML_TEXT_OCTETS_MAX {
            return Err(InvalidUserData::TooLarge);
        }
        self.text.push_str(text);
        Ok(())
    }

    fn close(&mut self) -> Result<(), InvalidUserData> {
        let text = self.text.trim();
        if self.path == PRIVATE_ID {
            self.impi = Impi::parse(text).ok();
        } else if let Some((last, PUBLIC_IDENTITY)) = self.path.split_last() {
            match last {
                Element::Identity => self.impu = Impu::parse(text).ok(),
                Element::BarringIndication => self.barred = matches!(text, "1" | "true"),
                Element::ImsSubscription
                | Element::PrivateId
                | Element::ServiceProfile
                | Element::PublicIdentity
                | Element::Other => {}
            }
        } else if self.path == PUBLIC_IDENTITY {
            self.take_public_identity()?;
        }
        self.path.pop();
        self.text.clear();
        Ok(())
    }

    fn take_public_identity(&mut self) -> Result<(), InvalidUserData> {
        let Some(impu) = self.impu.take().filter(|_| !self.barred) else { return Ok(()) };
        if self.impus.contains(&impu) {
            return Ok(());
        }
        if self.impus.len() == IMPUS_MAX {
            return Err(InvalidUserData::TooLarge);
        }
        self.impus.push(impu);
        Ok(())
    }

    fn end(self) -> Result<UserData, InvalidUserData> {
        if !self.path.is_empty() {
            return Err(InvalidUserData::Malformed);
        }
        let impi = self.impi.ok_or(InvalidUserData::PrivateIdentity)?;
        Ok(UserData { impi, impus: self.impus })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(identities: &str) -> String {
        format!(
            "<IMSSubscription><PrivateID>a@b</PrivateID><ServiceProfile>{identities}\
             </ServiceProfile></IMSSubscription>"
        )
    }

    fn impus(identities: &str) -> Vec<String> {
        let user_data = decode(profile(identities).as_bytes()).unwrap();
        user_data.impus.iter().map(|impu| impu.as_str().to_owned()).collect()
    }

    #[test]
    fn what_is_written_is_read_again_with_every_character_an_identity_may_hold() {
        let user_data = UserData {
            impi: Impi::parse("a&b'c@x.example").unwrap(),
            impus: vec![
                Impu::parse("sip:a&b;c=d@x.example").unwrap(),
                Impu::parse("tel:+123").unwrap(),
            ],
        };
        let xml = encode(&user_data);
        assert!(xml.contains("<PrivateID>a&amp;b'c@x.example</PrivateID>"), "{xml}");
        assert_eq!(decode(xml.as_bytes()), Ok(user_data));
    }

    #[test]
    fn barred_and_unusable_identities_are_left_out_and_the_order_stays() {
        assert_eq!(
            impus(
                "<PublicIdentity><BarringIndication>1</BarringIndication><Identity>sip:1@b</Identity></PublicIdentity>\
                 <PublicIdentity><Identity>sip:2@b</Identity><BarringIndication>true</BarringIndication></PublicIdentity>\
                 <PublicIdentity><BarringIndication>0</BarringIndication><Identity> sip:3@b </Identity></PublicIdentity>\
                 <PublicIdentity><Identity>tel:110;phone-context=b</Identity></PublicIdentity>\
                 <PublicIdentity><Identity>sip:4&#64;b</Identity><Extension><Identity>sip:5@b</Identity></Extension></PublicIdentity>\
                 <PublicIdentity><Identity><![CDATA[sip:3@b]]></Identity></PublicIdentity>\
                 <InitialFilterCriteria><Identity>sip:6@b</Identity></InitialFilterCriteria>"
            ),
            ["sip:3@b", "sip:4@b"]
        );
    }

    #[test]
    fn a_profile_that_is_none_is_refused_with_its_reason() {
        let deep = "<a>".repeat(XML_DEPTH_MAX + 1);
        let impu = |n| format!("<PublicIdentity><Identity>sip:{n}@b</Identity></PublicIdentity>");
        let many = (0..=IMPUS_MAX).map(impu).collect::<Vec<_>>().concat();
        for (xml, expected) in [
            ("", InvalidUserData::PrivateIdentity),
            ("\u{0}", InvalidUserData::PrivateIdentity),
            ("<IMSSubscription>", InvalidUserData::Malformed),
            ("<IMSSubscription></PrivateID>", InvalidUserData::Malformed),
            ("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", InvalidUserData::DocumentType),
            (&profile("&b;"), InvalidUserData::Malformed),
            (
                "<IMSSubscription><PrivateID>a</PrivateID></IMSSubscription>",
                InvalidUserData::PrivateIdentity,
            ),
            (&deep, InvalidUserData::TooLarge),
            (
                &format!("<PrivateID>{}", "x".repeat(XML_TEXT_OCTETS_MAX + 1)),
                InvalidUserData::TooLarge,
            ),
            (&profile(&many), InvalidUserData::TooLarge),
        ] {
            assert_eq!(decode(xml.as_bytes()), Err(expected), "{xml}");
        }
        assert_eq!(decode(b"\xff"), Err(InvalidUserData::Malformed));
    }
}
