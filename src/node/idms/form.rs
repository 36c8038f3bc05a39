//! Parameters of OAuth, from a query or from a body: each of a name once (RFC 6749 clause 3.1).

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use axum::{body::Body as Stream, http::HeaderMap};
use zeroize::Zeroizing;

use crate::{
    api::identity_management::{Authorization, LogIn, PARAMETER_OCTETS_MAX},
    node::http::{self, Limits, Problem},
    secret::SecretText,
};

/// The media type of a form.
const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// Longest body, octets: two tokens and what belongs to them.
const BODY_OCTETS_MAX: usize = 32 << 10;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Most parameters.
const PARAMETERS_MAX: usize = 64;

/// The parameters of a request; empty ones are none (RFC 6749 clause 3.1).
pub(super) struct Form(BTreeMap<String, SecretText>);

/// What is wrong with the parameters as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WrongForm {
    /// One of them is there twice.
    Twice,
    /// They are too many, or one is too long.
    TooMuch,
}

/// What is wrong with a body.
pub(super) enum WrongBody {
    Form(WrongForm),
    /// It did not arrive, is too long, or is no form.
    Body(Problem),
}

impl WrongForm {
    /// Continues a sentence that begins with the request.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Twice => "has a parameter twice",
            Self::TooMuch => "has too many parameters, or one that is too long",
        }
    }
}

impl WrongBody {
    pub(super) fn what(&self) -> WrongForm {
        match self {
            Self::Form(wrong) => *wrong,
            Self::Body(_) => WrongForm::TooMuch,
        }
    }
}

impl Form {
    /// Parses a query or a body.
    pub(super) fn parse(octets: &[u8]) -> Result<Self, WrongForm> {
        let mut parameters = BTreeMap::new();
        for (count, (name, value)) in form_urlencoded::parse(octets).enumerate() {
            if count == PARAMETERS_MAX || value.len() > PARAMETER_OCTETS_MAX {
                return Err(WrongForm::TooMuch);
            }
            let value = SecretText::new(value.into_owned());
            if parameters.insert(name.into_owned(), value).is_some() {
                return Err(WrongForm::Twice);
            }
        }
        parameters.retain(|_, value| !value.expose().is_empty());
        Ok(Self(parameters))
    }

    /// Reads a body.
    pub(super) async fn read(headers: &HeaderMap, body: Stream) -> Result<Self, WrongBody> {
        let limits =
            Limits { media_type: MEDIA_TYPE, octets_max: BODY_OCTETS_MAX, timeout: BODY_TIMEOUT };
        let octets = http::read(headers, body, limits).await.map_err(WrongBody::Body)?;
        Self::parse(&Zeroizing::new(octets)).map_err(WrongBody::Form)
    }

    /// Takes a parameter out.
    pub(super) fn take(&mut self, name: &str) -> Option<SecretText> {
        self.0.remove(name)
    }

    /// Takes one out that is no secret.
    pub(super) fn take_text(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|value| value.expose().to_owned())
    }

    /// The parameters of the authorization endpoint. Others are ignored (RFC 6749 clause 3.1).
    pub(super) fn authorization(&mut self) -> Authorization {
        let mut parameters = Authorization::default();
        for (name, _) in Authorization::default().named() {
            if let (Some(place), Some(value)) = (parameters.of_name(name), self.take_text(name)) {
                *place = value;
            }
        }
        parameters
    }

    /// What a user sends with the page.
    pub(super) fn log_in(mut self, visit: Option<String>, source: Option<IpAddr>) -> LogIn {
        LogIn {
            parameters: self.authorization(),
            visit,
            form: self.take_text("form").unwrap_or_default(),
            user: self.take("user").unwrap_or_default(),
            password: self.take("password").unwrap_or_default(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Form, WrongForm> {
        Form::parse(text.as_bytes())
    }

    #[test]
    fn a_form_is_decoded_and_empty_parameters_are_none() {
        let mut form = parse("user=al+ice%40a&scope=&state=x%26y&other=1").ok().unwrap();
        assert_eq!(form.take_text("user").as_deref(), Some("al ice@a"));
        assert_eq!(
            form.authorization(),
            Authorization { state: "x&y".to_owned(), ..Authorization::default() }
        );
        assert!(form.take("scope").is_none());
    }

    #[test]
    fn a_form_with_a_parameter_twice_or_with_too_much_is_refused() {
        for twice in ["a=1&a=1", "a=&a=1", "a&a", "%61=1&a=2"] {
            assert_eq!(parse(twice).err(), Some(WrongForm::Twice), "{twice}");
        }
        let long = format!("a={}", "x".repeat(PARAMETER_OCTETS_MAX + 1));
        let many =
            (0..=PARAMETERS_MAX).map(|number| format!("p{number}=1&")).collect::<Vec<_>>().concat();
        for much in [long, many] {
            assert_eq!(parse(&much).err(), Some(WrongForm::TooMuch));
        }
    }
}
