//! The UE's identity management client (CSC-1, TS 33.180 annex B and C.2) and its way to user profiles: logs in at home,
//! takes a security token and a profile along, and presents the token at a partner that cannot ask the home.

use std::{fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{
        AUTHORIZATION, CONTENT_TYPE, COOKIE, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, SET_COOKIE,
    },
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    entropy::Entropy,
    identity::McServiceId,
    node::{
        Clock, SystemEntropy, client,
        ladder::{Entry, Protocol, Tap},
        management::escape,
        metrics::Direction,
        tls::Trust,
    },
    secret::SecretText,
    step::Step,
    token::BearerToken,
    user_profile::{FULL_PROFILE_OCTETS_MAX, ProfileService, UserProfile},
};

/// Longest page or answer about tokens that is read, octets.
const ANSWER_OCTETS_MAX: usize = 256 << 10;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A client of identity management servers, of one name at all of them.
#[derive(Debug)]
pub struct IdentityClient {
    http: Client,
    /// OAuth 2.0 `client_id`.
    id: String,
    /// Where the server sends the browser back to: the code is taken from there.
    redirect_uri: String,
    clock: Clock,
    tap: Option<Tap>,
}

/// A server that the UE speaks HTTP to.
#[derive(Clone, Debug)]
pub struct Server {
    /// What ladders call it.
    pub name: Arc<str>,
    /// Its URL without a slash at the end.
    pub url: String,
}

/// Tokens of an identity management server.
#[derive(Debug)]
pub struct UserTokens {
    /// For the servers of that system.
    pub access: BearerToken,
    /// The MC service IDs that the system knows the user by.
    pub services: Services,
}

/// The MC service IDs in an ID token, which came from its issuer and so is believed without its signature (OpenID Connect
/// Core clause 3.1.3.7, number 6).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub struct Services {
    /// For push to talk.
    pub mcptt_id: Option<McServiceId>,
    /// For video.
    pub mcvideo_id: Option<McServiceId>,
    /// For data.
    pub mcdata_id: Option<McServiceId>,
}

/// A user profile, as it was served.
#[derive(Clone, Debug)]
pub struct ServedProfile {
    /// The document.
    pub profile: UserProfile,
    /// Its validator.
    pub etag: String,
}

/// Why the UE did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No answer.
    #[error("{url} cannot be reached: {}", client::cause(error))]
    Unreachable {
        /// The server.
        url: String,
        /// Why.
        error: reqwest::Error,
    },
    /// The server refused.
    #[error("{url} refused: {status} {error}")]
    Refused {
        /// The server.
        url: String,
        /// The status.
        status: u16,
        /// The code that it gives (RFC 6749 clause 5.2, RFC 6750 clause 3.1), or nothing.
        error: String,
    },
    /// The answer is none of the interface.
    #[error("{url} {what}")]
    NotOfTheInterface {
        /// The server.
        url: String,
        /// What is wrong with the answer.
        what: &'static str,
    },
}

impl IdentityClient {
    /// A client of this name, which servers send browsers back to at `redirect_uri`. Its messages go to `tap`.
    pub fn new(id: &str, redirect_uri: &str, tap: Option<Tap>) -> Self {
        let (id, redirect_uri) = (id.to_owned(), redirect_uri.to_owned());
        let http = client::direct_once(&Trust::default());
        Self { http, id, redirect_uri, clock: Clock::start(), tap }
    }

    /// Believes `trust` over https.
    #[must_use]
    pub fn trusting(self, trust: &Trust) -> Self {
        Self { http: client::direct_once(trust), ..self }
    }

    /// Goes by another clock, such as one that is ahead.
    pub const fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Logs a user in by password (TS 33.180 clause B.4.2: authorization code with PKCE), as a browser would.
    ///
    /// # Errors
    ///
    /// [`IdentityError`]; a wrong password is a refusal without a code.
    pub async fn log_in(
        &self,
        idms: &Server,
        (user, password): (&str, &SecretText),
        scope: &str,
    ) -> Result<UserTokens, IdentityError> {
        let verifier = draw_verifier();
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()));
        let query = encoded(&[
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", scope),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let page = self.http.get(format!("{}/authorize?{query}", idms.url));
        let page = self.exchange(idms, None, ("GET /authorize", 0), page).await?;
        let cookie = page.headers().get(SET_COOKIE).and_then(|value| value.to_str().ok());
        let cookie = cookie.and_then(|value| value.split(';').next()).unwrap_or_default();
        let cookie =
            HeaderValue::try_from(cookie).map_err(|_| not_of(idms, "set a cookie that is none"))?;
        let page = self.succeeded(idms, page).await?;
        let page = String::from_utf8_lossy(&page);
        let mut fields = hidden_fields(&page);
        fields.push(("user", user.to_owned()));
        fields.push(("password", password.expose().to_owned()));
        let form: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (*name, &**value)).collect();
        let form = encoded(&form);
        let octets = form.len();
        let request = with_form(self.http.post(format!("{}/authorize", idms.url)), form);
        let sent = ("POST /authorize", octets);
        let answer = self.exchange(idms, None, sent, request.header(COOKIE, cookie)).await?;
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let code = location.and_then(|location| {
            let (_, query) = location.split_once('?')?;
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == "code").map(|(_, code)| code.into_owned())
        });
        self.tell(idms, (None, Direction::In), answer.status().to_string(), 0);
        let Some(code) = code else { return Err(refused(idms, answer.status().as_u16(), "")) };
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &self.id),
            ("code", &code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", verifier.expose()),
        ];
        self.ask_for_tokens(idms, &idms.token_endpoint(), None, &form).await
    }

    /// Exchanges an access token of the home for a security token that the partner `issuer` takes (RFC 8693, TS 33.180
    /// clause B.7).
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub async fn security_token(
        &self,
        idms: &Server,
        access: &BearerToken,
        issuer: &str,
    ) -> Result<SecretText, IdentityError> {
        let form = [
            ("grant_type", EXCHANGE),
            ("client_id", &self.id),
            ("subject_token", access.expose()),
            ("subject_token_type", ACCESS_TOKEN),
            ("resource", issuer),
        ];
        let answer: TokenAnswer = self.post_form(idms, &idms.token_endpoint(), None, &form).await?;
        Ok(SecretText::new(answer.access_token))
    }

    /// `ISO-1`: presents a security token at the token endpoint of a partner, which has no link to the home (RFC 7523,
    /// TS 33.180 clause B.9).
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub async fn contact_partner(
        &self,
        idms: &Server,
        endpoint: &str,
        token: &SecretText,
        scope: &str,
    ) -> Result<UserTokens, IdentityError> {
        let form = [
            ("grant_type", ASSERTION),
            ("client_id", &*self.id),
            ("assertion", token.expose()),
            ("scope", scope),
        ];
        self.ask_for_tokens(idms, endpoint, Some(Step::iso(1)), &form).await
    }

    /// Reads a profile of the user at a configuration management server whose XCAP root is `cms`; `None` if it is still
    /// the one that `known` validates.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub async fn profile(
        &self,
        cms: &Server,
        (service, user, index): (ProfileService, &McServiceId, u8),
        access: &BearerToken,
        known: Option<&str>,
    ) -> Result<Option<ServedProfile>, IdentityError> {
        let user = escape(user.as_str());
        let url = format!("{}/{}", cms.url, service.document_path(&user, index));
        let mut credentials = HeaderValue::try_from(format!("Bearer {}", access.expose()))
            .map_err(|_| not_of(cms, "takes no such token"))?;
        credentials.set_sensitive(true);
        let mut request = self.http.get(url).header(AUTHORIZATION, credentials);
        if let Some(etag) = known {
            request = request.header(IF_NONE_MATCH, etag);
        }
        // Without the user: a ladder names nobody.
        let what = format!("GET {}", service.auid());
        let answer = self.exchange(cms, None, (&what, 0), request).await?;
        if answer.status() == StatusCode::NOT_MODIFIED {
            self.tell(cms, (None, Direction::In), answer.status().to_string(), 0);
            return Ok(None);
        }
        let etag = answer.headers().get(ETAG).and_then(|value| value.to_str().ok());
        let etag = etag.unwrap_or_default().to_owned();
        let body = self.succeeded(cms, answer).await?;
        let text = String::from_utf8_lossy(&body);
        let profile = UserProfile::parse_full(service, &text)
            .map_err(|_| not_of(cms, "served what is no user profile"))?;
        Ok(Some(ServedProfile { profile, etag }))
    }

    async fn ask_for_tokens(
        &self,
        idms: &Server,
        endpoint: &str,
        step: Option<Step>,
        form: &[(&str, &str)],
    ) -> Result<UserTokens, IdentityError> {
        let answer: TokenAnswer = self.post_form(idms, endpoint, step, form).await?;
        let access = BearerToken::parse(&answer.access_token)
            .map_err(|_| not_of(idms, "gave no bearer token"))?;
        let services = match &answer.id_token {
            Some(token) => services_of(token)
                .ok_or_else(|| not_of(idms, "gave an ID token that cannot be read"))?,
            None => Services::default(),
        };
        Ok(UserTokens { access, services })
    }

    async fn post_form(
        &self,
        idms: &Server,
        endpoint: &str,
        step: Option<Step>,
        form: &[(&str, &str)],
    ) -> Result<TokenAnswer, IdentityError> {
        let grant = form.first().map_or("", |(_, grant)| grant.rsplit(':').next().unwrap_or(grant));
        let form = encoded(form);
        let (what, octets) = (format!("POST /token, {grant}"), form.len());
        let request = with_form(self.http.post(endpoint), form);
        let answer = self.exchange(idms, step, (&what, octets), request).await?;
        let body = self.succeeded(idms, answer).await?;
        serde_json::from_slice(&body).map_err(|_| not_of(idms, "gave no tokens in JSON"))
    }

    /// Sends a request and tells of it, and of the status that comes back.
    async fn exchange(
        &self,
        server: &Server,
        step: Option<Step>,
        (what, octets): (&str, usize),
        request: RequestBuilder,
    ) -> Result<Response, IdentityError> {
        self.tell(server, (step, Direction::Out), what.to_owned(), octets);
        let unreachable = |error| IdentityError::Unreachable { url: server.url.clone(), error };
        request.send().await.map_err(unreachable)
    }

    /// The body of an answer, if that is a success.
    async fn succeeded(&self, server: &Server, answer: Response) -> Result<Vec<u8>, IdentityError> {
        let status = answer.status();
        let challenge = answer.headers().get(reqwest::header::WWW_AUTHENTICATE);
        let challenge = challenge.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = self.read(server, answer).await?;
        let error = if status.is_success() {
            String::new()
        } else {
            error_of(&body).or_else(|| error_in(&challenge?)).unwrap_or_default()
        };
        let told = format!("{status} {error}");
        self.tell(server, (None, Direction::In), told.trim_end().to_owned(), body.len());
        if status.is_success() { Ok(body) } else { Err(refused(server, status.as_u16(), &error)) }
    }

    async fn read(&self, server: &Server, mut answer: Response) -> Result<Vec<u8>, IdentityError> {
        let unreachable = |error| IdentityError::Unreachable { url: server.url.clone(), error };
        let most = ANSWER_OCTETS_MAX.max(FULL_PROFILE_OCTETS_MAX);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > most {
                return Err(not_of(server, "sent too much"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn tell(
        &self,
        server: &Server,
        (step, direction): (Option<Step>, Direction),
        summary: String,
        octets: usize,
    ) {
        let Some(tap) = &self.tap else { return };
        let (ue, server): (Arc<str>, Arc<str>) = ("UE".into(), Arc::clone(&server.name));
        let (from, to) = if direction == Direction::Out { (ue, server) } else { (server, ue) };
        tap.record(Entry {
            at: self.clock.now(),
            step: step.map(|step| step.to_string()),
            from,
            to,
            protocol: Protocol::Http,
            direction,
            local: None,
            remote: None,
            summary,
            octets,
        });
    }
}

impl Server {
    fn token_endpoint(&self) -> String {
        format!("{}/token", self.url)
    }
}

/// What a token endpoint gives.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    id_token: Option<String>,
}

/// A code verifier: 43 characters, of 256 bits (RFC 7636 clause 4.1).
fn draw_verifier() -> SecretText {
    let mut octets = Zeroizing::new([0; 32]);
    SystemEntropy::new().fill(&mut *octets);
    SecretText::new(BASE64_URL_SAFE_NO_PAD.encode(*octets))
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn with_form(request: RequestBuilder, form: String) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
}

/// Names and values of the hidden fields of a page.
fn hidden_fields(page: &str) -> Vec<(&str, String)> {
    let inputs = page.split("<input type=\"hidden\" name=\"").skip(1);
    let unescape = |text: &str| {
        let text = text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">");
        text.replace("&amp;", "&")
    };
    let field = |input: &'_ str| {
        let (name, rest) = input.split_once("\" value=\"")?;
        let (value, _) = rest.split_once('"')?;
        Some((name.len(), unescape(value)))
    };
    inputs
        .filter_map(|input| {
            let (length, value) = field(input)?;
            Some((input.get(..length)?, value))
        })
        .collect()
}

/// The MC service IDs that an ID token names.
fn services_of(token: &str) -> Option<Services> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// The error code of a token endpoint.
fn error_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    let Refused { error } = serde_json::from_slice(body).ok()?;
    Some(shown(&error))
}

/// The error code in a challenge.
fn error_in(challenge: &str) -> Option<String> {
    let (_, rest) = challenge.split_once("error=\"")?;
    Some(shown(rest.split('"').next()?))
}

/// A code of a server's, fit for a terminal.
fn shown(code: &str) -> String {
    code.chars().filter(|character| !character.is_control()).take(64).collect()
}

fn refused(server: &Server, status: u16, error: &str) -> IdentityError {
    IdentityError::Refused { url: server.url.clone(), status, error: error.to_owned() }
}

fn not_of(server: &Server, what: &'static str) -> IdentityError {
    IdentityError::NotOfTheInterface { url: server.url.clone(), what }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
