//! Third-party REGISTER: application servers are told of registrations (TS 24.229 clause 5.4.1.7).
//!
//! A change of a registration is told once it is durable, after the UE has its answer; nothing of it slows the UE down.
//! The CSeq is the number of the commit that made the change, so that a server that gets two in the wrong order knows
//! which is the newer one, also after a restart of ours.

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    SipCore,
    client::Purpose,
    filter::{ApplicationServer, Change, DefaultHandling},
    registration::Registration,
};
use crate::{
    identity::{Impi, Impu},
    outbox::{Context, Note},
    sip::{multipart::Multipart, request::RequestBuilder, view::MessageView},
    store::CommitSeq,
    time::Timestamp,
};

/// Longest REGISTER that is passed on, octets: with what is added to it, it has to fit into a message.
const CARRIED_OCTETS_MAX: usize = 60_000;

/// Media type of a SIP message in a body (RFC 3261 section 27.5).
const MESSAGE_SIP: &str = "message/sip";

/// What servers are told of a registration.
#[derive(Debug)]
pub(super) struct News {
    pub(super) change: Change,
    /// The implicit registration set.
    pub(super) impus: SmallVec<[Impu; 1]>,
    /// Seconds until the last contact ends.
    expires: u64,
    /// The UE's REGISTER, where it is wanted and a UE asked for the change.
    request: Option<Carried>,
}

/// A SIP message that is passed on. It may hold an access token: it never prints.
#[derive(Clone)]
pub(super) struct Carried(Bytes);

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Carried({} octets)", self.0.len())
    }
}

/// What a server was told, while its answer is awaited.
#[derive(Debug)]
pub(super) struct Told {
    impi: Impi,
    change: Change,
    /// The commit that it was told of.
    changed: CommitSeq,
    default_handling: DefaultHandling,
}

impl SipCore {
    /// The UE's REGISTER, if a server wants to have it.
    pub(super) fn carried(&self, view: &MessageView<'_>) -> Option<Carried> {
        let is_wanted = self.config.application_servers.iter().any(|it| it.includes_request);
        let octets = view.head().len() + view.body().len();
        (is_wanted && octets <= CARRIED_OCTETS_MAX)
            .then(|| Carried([view.head().as_bytes(), view.body()].concat().into()))
    }

    /// Whether anybody is told of registrations.
    pub(super) fn tells(&self) -> bool {
        !self.config.application_servers.is_empty()
    }

    /// What servers are to be told of a registration that has changed from `before`; `None` without servers.
    pub(super) fn news(
        &self,
        before: Option<&Registration>,
        now_registered: &Registration,
        now: Timestamp,
        request: Option<Carried>,
    ) -> Option<Box<News>> {
        if !self.tells() {
            return None;
        }
        let is_over = now_registered.contacts.is_empty();
        let (change, told) = match before {
            None if is_over => return None,
            None => (Change::Initial, now_registered),
            Some(before) if is_over => (Change::End, before),
            // What had ended before its timer came.
            Some(before) if before.contacts.is_empty() => (Change::Initial, now_registered),
            Some(_) => (Change::Refresh, now_registered),
        };
        let expires = now_registered.contacts.iter().map(|contact| contact.seconds_left(now));
        let expires = expires.max().unwrap_or(0);
        Some(Box::new(News { change, impus: told.impus.clone(), expires, request }))
    }

    /// Tells the servers whose criterion is met, in the order of their priority, once `changed` is durable. `response` is
    /// what the UE was answered.
    pub(super) fn tell_servers(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        changed: CommitSeq,
        news: &News,
        response: Option<&Bytes>,
    ) {
        let servers = self.config.application_servers.iter();
        for server in servers.filter(|server| server.trigger.is_met_by(news.change)) {
            let told = Told {
                impi: impi.clone(),
                change: news.change,
                changed,
                default_handling: server.default_handling,
            };
            let body = Body::new(ctx, server, news, response);
            let build = |branch: &str, transport: &str| {
                self.third_party(server, (impi, changed), news, &body, (branch, transport))
            };
            // Without room nothing is told: that is our trouble, and no reason to end a registration.
            let purpose = Purpose::ThirdParty(told);
            let _ = self.servers.begin(ctx, changed, server.target, purpose, build);
        }
    }

    /// Tells servers of a change that no UE waits for, if there is something to tell.
    pub(super) fn tell_without_ue(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        changed: CommitSeq,
        news: Option<Box<News>>,
    ) {
        if let Some(news) = news {
            self.follow_sender(ctx, impi, &news, None);
            self.tell_servers(ctx, impi, changed, &news, None);
        }
    }

    fn third_party(
        &self,
        server: &ApplicationServer,
        (impi, changed): (&Impi, CommitSeq),
        news: &News,
        body: &Body,
        (branch, transport): (&str, &str),
    ) -> Bytes {
        let own = &*self.config.server_name;
        let number = changed.as_u64();
        // Of one Call-ID as many as CSeq can count (RFC 3261 clause 8.1.1.5: 31 bits).
        let (epoch, cseq) = (number >> 31, number & 0x7fff_ffff);
        let call = format!("{} {} {epoch}", impi.as_str(), server.uri);
        let call = self.transactions.key_of_text(&call);
        let expires = news.expires.to_string();
        let contact = format!("<{own}>");
        let mut fields = vec![("Contact", contact.as_str()), ("Expires", expires.as_str())];
        if let Some(content_type) = &body.content_type {
            fields.push(("Content-Type", content_type));
        }
        let impu = news.impus.first().map_or("", Impu::as_str);
        RequestBuilder {
            method: "REGISTER",
            request_uri: &server.uri,
            transport,
            sent_by: sent_by(own),
            branch,
            max_forwards: 70,
            from: &format!("<{own}>;tag={:016x}", call >> 64),
            to: &format!("<{impu}>"),
            call_id: &format!("{call:032x}"),
            cseq: u32::try_from(cseq).unwrap_or_default(),
            fields: &fields,
            body: &body.octets,
        }
        .build()
    }

    /// A server answered a third-party REGISTER finally, or had its time to.
    pub(super) fn settle_third_party(
        &self,
        ctx: &mut Context<'_>,
        told: &Told,
        status: Option<u16>,
    ) {
        let why = match status {
            Some(200..=299) => return,
            Some(300..=399) => "redirection",
            Some(400..=499) => "4xx",
            Some(500..=599) => "5xx",
            Some(_) => "6xx",
            None => "no answer",
        };
        ctx.out.note(Note::ApplicationServerFailed { why });
        let is_over = told.change == Change::End;
        if told.default_handling == DefaultHandling::Terminated
            && !is_over
            && ctx.out.storage_available()
        {
            // What the user did since is told by another REGISTER, whose answer counts for it.
            self.end_registration(ctx, &told.impi, told.changed);
        }
    }
}

/// The body of a third-party REGISTER.
struct Body {
    content_type: Option<String>,
    octets: Bytes,
}

impl Body {
    fn new(
        ctx: &mut Context<'_>,
        server: &ApplicationServer,
        news: &News,
        response: Option<&Bytes>,
    ) -> Self {
        let request = news.request.as_ref().filter(|_| server.includes_request);
        let request = request.map(|Carried(octets)| octets);
        let response = response.filter(|_| server.includes_response);
        match (request, response) {
            (None, None) => Self { content_type: None, octets: Bytes::new() },
            (Some(octets), None) | (None, Some(octets)) => {
                Self { content_type: Some(MESSAGE_SIP.to_owned()), octets: octets.clone() }
            }
            (Some(request), Some(response)) => {
                let both = Multipart::new(ctx.entropy.next_u64());
                let both = both.part(MESSAGE_SIP, request).part(MESSAGE_SIP, response);
                let (content_type, octets) = both.finish();
                Self { content_type: Some(content_type), octets }
            }
        }
    }
}

/// The host, and the port if there is one, of a SIP URI.
pub(super) fn sent_by(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    host.split([';', '?']).next().unwrap_or_default()
}
