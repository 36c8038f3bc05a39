//! Elements as a tree, their names and namespaces (Namespaces in XML 1.0, third edition).

use std::{collections::BTreeMap, fmt};

use super::{DocumentError, NAMESPACE, ROOT, values::is_uri_reference, xml::ATTRIBUTES_MAX};
use crate::secret::SecretText;

const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";
pub(super) const SCHEMA_INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// An element that this version does not know, kept with its attributes and its content. Declarations of
/// namespaces that it used from outside were added to it. Only its name prints: a later version of the
/// schema may put secrets there.
#[derive(Clone, Eq, PartialEq)]
pub struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
    pub(super) content: Vec<Node>,
}

#[derive(Clone, Eq, PartialEq)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) value: SecretText,
}

#[derive(Clone, Eq, PartialEq)]
pub(super) enum Node {
    Element(Element),
    Text(SecretText),
}

impl Element {
    /// The name with its prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.content.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The namespace that this element declares for `prefix`; empty for the default one.
    fn declared(&self, prefix: &str) -> Option<&str> {
        let declares = |attribute: &&Attribute| declared_prefix(&attribute.name) == Some(prefix);
        self.attributes.iter().find(declares).map(|attribute| attribute.value.expose())
    }

    /// Whether the namespace of `prefix` outside matters inside: in a name, or in a value that may be one.
    fn uses(&self, prefix: &str) -> bool {
        if self.declared(prefix).is_some() {
            return false;
        }
        let may_name = |text: &SecretText| {
            let text = text.expose();
            text.match_indices(prefix).any(|(at, _)| {
                text.get(at + prefix.len()..).is_some_and(|rest| rest.starts_with(':'))
            })
        };
        split_name(&self.name).0 == prefix
            || self.attributes.iter().any(|attribute| {
                split_name(&attribute.name).0 == prefix || may_name(&attribute.value)
            })
            || self.content.iter().any(|node| match node {
                Node::Element(element) => element.uses(prefix),
                Node::Text(text) => may_name(text),
            })
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Element({})", self.name)
    }
}

/// An element and the elements around it: what its prefixes mean, and its path.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) element: &'a Element,
    parent: Option<&'a Place<'a>>,
}

impl<'a> Place<'a> {
    pub(super) const fn root(element: &'a Element) -> Self {
        Self { element, parent: None }
    }

    pub(super) const fn child(&'a self, element: &'a Element) -> Self {
        Self { element, parent: Some(self) }
    }

    /// The namespace of a prefix, empty where there is none. `None` if the prefix is not declared.
    pub(super) fn namespace(&self, prefix: &str) -> Option<&'a str> {
        if prefix == "xml" {
            return Some(XML_NAMESPACE);
        }
        let mut place = Some(self);
        while let Some(here) = place {
            if let Some(name) = here.element.declared(prefix) {
                return Some(name);
            }
            place = here.parent;
        }
        prefix.is_empty().then_some("")
    }

    /// The local name if the element is in the namespace of the document.
    pub(super) fn own_name(&self) -> Option<&'a str> {
        let (prefix, local) = split_name(&self.element.name);
        (self.namespace(prefix) == Some(NAMESPACE)).then_some(local)
    }

    pub(super) fn error(&self, what: &'static str) -> DocumentError {
        DocumentError { element: self.path(), what }
    }

    pub(super) fn error_at_attribute(&self, name: &str, what: &'static str) -> DocumentError {
        DocumentError { element: format!("{}@{name}", self.path()), what }
    }

    pub(super) fn error_at_child(&self, name: &str, what: &'static str) -> DocumentError {
        let path = if self.parent.is_some() { self.path() + "/" } else { String::new() };
        DocumentError { element: path + name, what }
    }

    /// Names from below the root down to here; with its number where several have the same name.
    fn path(&self) -> String {
        let Some(parent) = self.parent else { return ROOT.to_owned() };
        let local = split_name(&self.element.name).1;
        let alike = || {
            let elements = parent.element.elements();
            elements.filter(|sibling| split_name(&sibling.name).1 == local)
        };
        let path = if parent.parent.is_some() { parent.path() + "/" } else { String::new() };
        let before = alike().position(|sibling| std::ptr::eq(sibling, self.element));
        match before.filter(|_| alike().nth(1).is_some()) {
            Some(before) => format!("{path}{local}[{}]", before + 1),
            None => path + local,
        }
    }

    /// Checks that every prefix from here down is declared and that no attribute is there twice.
    pub(super) fn check_namespaces(&self) -> Result<(), DocumentError> {
        for attribute in &self.element.attributes {
            self.check_declaration(attribute)?;
        }
        let undeclared = "has a prefix that is not declared: declare it with xmlns:";
        let element_prefix = split_name(&self.element.name).0;
        if element_prefix == "xmlns" || self.namespace(element_prefix).is_none() {
            return Err(self.error(undeclared));
        }
        let mut prefixed = Vec::new();
        for attribute in &self.element.attributes {
            let (prefix, local) = split_name(&attribute.name);
            if prefix.is_empty() || prefix == "xmlns" {
                continue;
            }
            let namespace = self.namespace(prefix);
            let namespace =
                namespace.ok_or_else(|| self.error_at_attribute(&attribute.name, undeclared))?;
            if prefixed.contains(&(namespace, local)) {
                let twice = "is there twice: the two prefixes mean the same namespace";
                return Err(self.error_at_attribute(&attribute.name, twice));
            }
            prefixed.push((namespace, local));
        }
        self.element.elements().try_for_each(|element| self.child(element).check_namespaces())
    }

    fn check_declaration(&self, attribute: &Attribute) -> Result<(), DocumentError> {
        let Some(prefix) = declared_prefix(&attribute.name) else { return Ok(()) };
        let name = attribute.value.expose();
        let is_reserved = name == XML_NAMESPACE || name == XMLNS_NAMESPACE || prefix == "xmlns";
        let is_valid = if prefix == "xml" {
            name == XML_NAMESPACE
        } else {
            !is_reserved && (is_uri_reference(name) || (name.is_empty() && prefix.is_empty()))
        };
        let what = "is no namespace that can be declared: write a URI that is not reserved";
        is_valid.then_some(()).ok_or_else(|| self.error_at_attribute(&attribute.name, what))
    }

    /// A copy that means the same below elements without prefix in the namespace of the document. The
    /// declarations that it takes along count as attributes, or what renders could not be read again.
    pub(super) fn detached(&self) -> Result<Element, DocumentError> {
        let mut outside = BTreeMap::from([("", "")]);
        let mut place = self.parent;
        let mut chain = Vec::new();
        while let Some(here) = place {
            chain.push(here.element);
            place = here.parent;
        }
        for element in chain.into_iter().rev() {
            for attribute in &element.attributes {
                if let Some(prefix) = declared_prefix(&attribute.name) {
                    outside.insert(prefix, attribute.value.expose());
                }
            }
        }
        let mut copy = self.element.clone();
        for (prefix, namespace) in outside {
            let is_needed = if prefix.is_empty() {
                namespace != NAMESPACE && self.element.declared("").is_none()
            } else {
                prefix != "xml" && self.element.uses(prefix)
            };
            if is_needed {
                let name =
                    if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
                copy.attributes.push(Attribute { name, value: SecretText::new(namespace) });
            }
        }
        if copy.attributes.len() > ATTRIBUTES_MAX {
            let what =
                "has too many attributes, with the declarations of the prefixes that it uses";
            return Err(self.error(what));
        }
        Ok(copy)
    }
}

/// The prefix that an attribute declares, if it is a declaration; empty for the default namespace.
pub(super) fn declared_prefix(attribute: &str) -> Option<&str> {
    if attribute == "xmlns" { Some("") } else { attribute.strip_prefix("xmlns:") }
}

/// Prefix, or nothing, and local name.
pub(super) fn split_name(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or(("", name))
}

/// Whether `name` is a name with at most one prefix (XML 1.0 section 2.3, Namespaces section 4).
pub(super) fn is_qualified_name(name: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|first: char| is_name_start(first)) && part.chars().all(is_name_character)
    };
    match name.split_once(':') {
        Some((prefix, local)) => is_name(prefix) && is_name(local),
        None => is_name(name),
    }
}

fn is_name_start(character: char) -> bool {
    matches!(character,
        'A'..='Z' | '_' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
        | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

fn is_name_character(character: char) -> bool {
    is_name_start(character)
        || matches!(character,
            '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}
