//! Text to a tree of elements (XML 1.0, fifth edition).
//!
//! A document type is refused, and with it every entity but the five that XML has itself: nothing
//! expands. Comments and processing instructions are dropped, nothing here means anything to either.

use quick_xml::{
    Error, Reader, XmlVersion,
    escape::resolve_predefined_entity,
    events::{BytesDecl, BytesRef, BytesStart, Event},
};
use zeroize::Zeroizing;

use super::{
    DOCUMENT_OCTETS_MAX, DocumentError, ROOT,
    element::{Attribute, Element, Node, is_qualified_name, split_name},
};
use crate::secret::SecretText;

/// Deepest nesting, elements.
pub const DEPTH_MAX: usize = 32;
/// Most elements in a document.
pub const ELEMENTS_MAX: usize = 2_048;
/// Most attributes of an element, declarations of namespaces included.
pub const ATTRIBUTES_MAX: usize = 64;
/// Longest name of an element or an attribute, octets.
pub const NAME_OCTETS_MAX: usize = 128;

/// Reads the root element.
pub(super) fn read(document: &str) -> Result<Element, DocumentError> {
    if document.len() > DOCUMENT_OCTETS_MAX {
        return Err(at_root("has too many octets: leave out what no UE needs"));
    }
    let text = document.strip_prefix('\u{feff}').unwrap_or(document);
    let mut reader = Reader::from_str(text);
    let mut tree = Tree {
        open: Vec::new(),
        root: None,
        text: Zeroizing::new(String::with_capacity(text.len())),
        elements: 0,
        at_start: true,
    };
    loop {
        let event = reader.read_event().map_err(|error| tree.error(describe(&error)))?;
        match &event {
            Event::Start(start) => tree.open(start)?,
            Event::Empty(start) => {
                tree.open(start)?;
                tree.close();
            }
            Event::End(_) => tree.close(),
            Event::Text(text) if text.contains("]]>") => {
                return Err(tree.error("holds ]]> in text: write ]]&gt;"));
            }
            Event::Text(text) => tree.push_text(&text.xml10_content())?,
            Event::CData(text) => tree.push_text(&text.xml10_content())?,
            Event::GeneralRef(reference) => tree.push_reference(reference)?,
            Event::Decl(declaration) => tree.check_declaration(declaration)?,
            Event::DocType(_) => return Err(tree.error("has a document type: leave it out")),
            Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => return tree.end(),
        }
        tree.at_start = false;
    }
}

fn at_root(what: &'static str) -> DocumentError {
    DocumentError { element: ROOT.to_owned(), what }
}

fn describe(error: &Error) -> &'static str {
    match error {
        Error::IllFormed(_) => "is not closed by its own end tag, or a reference has no semicolon",
        Error::Syntax(_) => "ends inside of markup, or holds markup that XML does not have",
        Error::InvalidAttr(_) => "has an attribute that is malformed or there twice",
        Error::Io(_) | Error::Encoding(_) | Error::Escape(_) | Error::Namespace(_) => {
            "is not well-formed XML"
        }
    }
}

/// What has been read so far.
struct Tree {
    /// The elements that are open, outermost first.
    open: Vec<Element>,
    /// The root, once it is closed.
    root: Option<Element>,
    /// Text that has not become a node yet. It never grows, and so leaves no copy of a secret behind.
    text: Zeroizing<String>,
    elements: usize,
    at_start: bool,
}

impl Tree {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), DocumentError> {
        if self.root.is_some() {
            return Err(at_root("is followed by a second element: write one document"));
        }
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(self.error("is where the document exceeds the most elements allowed"));
        }
        if self.open.len() == DEPTH_MAX {
            return Err(self.error("holds elements nested too deeply"));
        }
        let name = start.name().into_inner();
        if name.len() > NAME_OCTETS_MAX || !is_qualified_name(name) {
            return Err(self.error("holds an element whose name XML does not allow, or too long"));
        }
        self.flush();
        self.open.push(Element {
            name: name.to_owned(),
            attributes: Vec::new(),
            content: Vec::new(),
        });
        for attribute in start.attributes() {
            let attribute = attribute
                .map_err(|_| self.error("has an attribute that is malformed or there twice"))?;
            let name = attribute.key.into_inner();
            if name.len() > NAME_OCTETS_MAX || !is_qualified_name(name) {
                return Err(self.error("has an attribute whose name XML does not allow"));
            }
            let value = match attribute.normalized_value(XmlVersion::Implicit1_0) {
                Ok(value) if !attribute.value.contains('<') && are_characters(&value) => value,
                Ok(_) | Err(_) => {
                    return Err(
                        self.error_at_attribute(name, "has a value that XML does not allow")
                    );
                }
            };
            let attribute = Attribute { name: name.to_owned(), value: SecretText::new(value) };
            self.push_attribute(attribute)?;
        }
        Ok(())
    }

    fn push_attribute(&mut self, attribute: Attribute) -> Result<(), DocumentError> {
        match self.open.last_mut() {
            Some(element) if element.attributes.len() < ATTRIBUTES_MAX => {
                element.attributes.push(attribute);
                Ok(())
            }
            Some(_) | None => Err(self.error("has too many attributes")),
        }
    }

    fn push_text(&mut self, text: &str) -> Result<(), DocumentError> {
        if self.open.is_empty() && !is_blank(text) {
            return Err(at_root("has text before or after it: leave it out"));
        }
        if !are_characters(text) {
            return Err(self.error("holds a character that XML does not allow"));
        }
        if !self.open.is_empty() {
            self.text.push_str(text);
        }
        Ok(())
    }

    fn push_reference(&mut self, reference: &BytesRef<'_>) -> Result<(), DocumentError> {
        if self.open.is_empty() {
            return Err(at_root("has text before or after it: leave it out"));
        }
        match reference.resolve_char_ref() {
            Ok(Some(character)) => self.push_text(character.encode_utf8(&mut [0; 4])),
            Ok(None) => match resolve_predefined_entity(reference) {
                Some(text) => self.push_text(text),
                None => Err(self.error("refers to an entity: write its text instead")),
            },
            Err(_) => Err(self.error("holds a character that XML does not allow")),
        }
    }

    /// Makes the text since the last tag a node of the innermost element.
    fn flush(&mut self) {
        if let Some(element) = self.open.last_mut()
            && !self.text.is_empty()
        {
            element.content.push(Node::Text(SecretText::new(self.text.as_str())));
            self.text.clear();
        }
    }

    fn close(&mut self) {
        self.flush();
        let Some(element) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(parent) => parent.content.push(Node::Element(element)),
            None => self.root = Some(element),
        }
    }

    fn check_declaration(&self, declaration: &BytesDecl<'_>) -> Result<(), DocumentError> {
        if !self.at_start {
            return Err(self.error("has an XML declaration that is not at the start"));
        }
        let is_version_1_0 = declaration.version().is_ok_and(|version| version == "1.0");
        let is_utf_8 = match declaration.encoding() {
            Some(Ok(encoding)) => encoding.eq_ignore_ascii_case("UTF-8"),
            Some(Err(_)) => false,
            None => true,
        };
        let what = "has an XML declaration of another kind: write version 1.0 and UTF-8";
        (is_version_1_0 && is_utf_8).then_some(()).ok_or_else(|| at_root(what))
    }

    fn end(self) -> Result<Element, DocumentError> {
        if !self.open.is_empty() {
            return Err(self.error("is not closed: the document ends inside of it"));
        }
        self.root.ok_or_else(|| at_root("is missing: write a document with this root element"))
    }

    fn error(&self, what: &'static str) -> DocumentError {
        let names: Vec<_> =
            self.open.iter().skip(1).map(|element| split_name(&element.name).1).collect();
        let element = if names.is_empty() { ROOT.to_owned() } else { names.join("/") };
        DocumentError { element, what }
    }

    fn error_at_attribute(&self, name: &str, what: &'static str) -> DocumentError {
        let DocumentError { element, what } = self.error(what);
        DocumentError { element: format!("{element}@{name}"), what }
    }
}

/// Whether `text` is nothing but white space (XML 1.0 section 2.3).
pub(super) fn is_blank(text: &str) -> bool {
    text.bytes().all(|octet| b" \t\r\n".contains(&octet))
}

/// Whether XML 1.0 section 2.2 allows all characters.
fn are_characters(text: &str) -> bool {
    text.chars().all(|character| {
        matches!(character,
            '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
    })
}
