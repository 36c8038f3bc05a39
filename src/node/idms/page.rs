//! The page on which a user logs in: plain, without script, and for no frame.

use std::fmt::Write as _;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::form::WrongForm;
use crate::{
    api::identity_management::{Again, Answer, NoRedirect, Page, Redirect},
    node::{park::NoAnswer, perform::Shared},
};

/// What the browser brings along. With https only to the very host that gave it (RFC 6265bis clause 4.1.3.2).
const COOKIE: &str = "migcore-visit";
const SECURE_COOKIE: &str = "__Host-migcore-visit";

/// When to come again if there was no answer, seconds.
const RETRY_SECS: u32 = 1;

/// What the browser was told to bring along.
pub(super) fn visit_of(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';').filter_map(|cookie| cookie.trim().split_once('=')));
    let own = pairs.find(|(name, _)| [COOKIE, SECURE_COOKIE].contains(name));
    own.map(|(_, value)| value.to_owned())
}

/// The response for a browser.
pub(super) fn respond(shared: &Shared, answer: Result<Answer, NoAnswer>) -> Response {
    match answer {
        Ok(Answer::Page(page)) => {
            let is_https = shared.config.idms.server.issuer.is_https();
            show(&page, is_https, &shared.config.system.name)
        }
        Ok(Answer::Redirect(redirect)) => go_back(&redirect),
        Ok(Answer::NoRedirect(why)) => say(
            StatusCode::BAD_REQUEST,
            None,
            match why {
                NoRedirect::Client => {
                    "The application that sent you here is not known to this system."
                }
                NoRedirect::RedirectUri => {
                    "The application that sent you here wants you sent back to an address that is not its own."
                }
            },
        ),
        Ok(Answer::Tokens(_) | Answer::Refused(_) | Answer::Keys(_)) => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(NoAnswer::Late) => say(
            StatusCode::GATEWAY_TIMEOUT,
            Some(RETRY_SECS),
            "This takes too long. Go back and try again.",
        ),
        Err(NoAnswer::TooMany | NoAnswer::Lost | NoAnswer::NoRole) => say(
            StatusCode::SERVICE_UNAVAILABLE,
            Some(RETRY_SECS),
            "Not possible now. Go back and try again.",
        ),
    }
}

/// The response to a request that cannot be read.
pub(super) fn wrong_request(wrong: WrongForm) -> Response {
    say(StatusCode::BAD_REQUEST, None, &format!("The request {}.", wrong.what()))
}

fn show(page: &Page, is_https: bool, system: &str) -> Response {
    let (status, wait, told) = match page.again {
        None => (StatusCode::OK, None, String::new()),
        Some(Again::Wrong) => {
            (StatusCode::FORBIDDEN, None, "User and password do not fit.".to_owned())
        }
        Some(Again::Stale) => {
            (StatusCode::BAD_REQUEST, None, "The page was too old. Try again.".to_owned())
        }
        Some(Again::Later(seconds)) => (
            StatusCode::TOO_MANY_REQUESTS,
            Some(seconds),
            format!("Too many attempts. Try again in {} minutes.", seconds.div_ceil(60)),
        ),
        Some(Again::Busy(seconds)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Some(seconds),
            "Too many users log in now. Try again.".to_owned(),
        ),
    };
    let mut content = String::new();
    if !told.is_empty() {
        let _ = writeln!(content, "<p role=\"alert\">{told}</p>");
    }
    content += "<form method=\"post\" action=\"authorize\">\n";
    let hidden = page.parameters.named().into_iter().chain([("form", page.form.as_str())]);
    for (name, value) in hidden.filter(|(_, value)| !value.is_empty()) {
        let value = escape(value);
        let _ = writeln!(content, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">");
    }
    content += "<p><label>User <input name=\"user\" autocomplete=\"username\" autofocus required></label></p>\n\
                <p><label>Password <input name=\"password\" type=\"password\" \
                autocomplete=\"current-password\" required></label></p>\n\
                <p><button>Log in</button></p>\n</form>\n";
    let title = format!("Log in to {}", escape(system));
    let mut response = html(status, wait, &title, &content);
    let (name, secure) = if is_https { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
    let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Strict{secure}", page.visit);
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn say(status: StatusCode, wait: Option<u32>, what: &str) -> Response {
    html(status, wait, "Log in", &format!("<p role=\"alert\">{}</p>\n", escape(what)))
}

fn html(status: StatusCode, wait: Option<u32>, title: &str, content: &str) -> Response {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n</head>\n\
         <body>\n<h1>{title}</h1>\n{content}</body>\n</html>\n"
    );
    let fixed: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // No form-action: browsers would hold it against the way back to the application.
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = (status, fixed, page).into_response();
    if let Some(seconds) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Sends the browser back to the application, by GET (RFC 9700 clause 4.12).
fn go_back(redirect: &Redirect) -> Response {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(&redirect.parameters);
    let separator = if redirect.to.contains('?') { '&' } else { '?' };
    let location = format!("{}{separator}{}", redirect.to, query.finish());
    let Ok(location) = HeaderValue::try_from(location) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

/// Text in HTML, between tags and in quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_cannot_leave_its_attribute() {
        assert_eq!(escape("\"><script>'&"), "&quot;&gt;&lt;script&gt;&#39;&amp;");
    }

    #[test]
    fn the_visit_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=b; migcore-visit=xyz;c=d".parse().unwrap());
        assert_eq!(visit_of(&headers).as_deref(), Some("xyz"));
        headers.clear();
        headers.append(header::COOKIE, "a=b".parse().unwrap());
        headers.append(header::COOKIE, "__Host-migcore-visit=1".parse().unwrap());
        assert_eq!(visit_of(&headers).as_deref(), Some("1"));
        headers.clear();
        assert_eq!(visit_of(&headers), None);
    }

    #[test]
    fn a_browser_goes_back_with_escaped_parameters() {
        let parameters = vec![("code", "a+b".to_owned()), ("state", "x&y=z".to_owned())];
        for (to, location) in [
            ("com.example.app:/back", "com.example.app:/back?code=a%2Bb&state=x%26y%3Dz"),
            ("https://a.example/?q=1", "https://a.example/?q=1&code=a%2Bb&state=x%26y%3Dz"),
        ] {
            let response = go_back(&Redirect { to: to.to_owned(), parameters: parameters.clone() });
            assert_eq!(response.status(), StatusCode::SEE_OTHER);
            assert_eq!(response.headers()[header::LOCATION], location);
        }
    }
}
