//! Requests of registered users to application servers: PUBLISH and MESSAGE (TS 24.229 clauses 5.2.6 and 5.4.3.2).
//!
//! The server is told who asks (P-Asserted-Identity, RFC 3325). That is known by where the request comes from: over TCP
//! and TLS the connection over which the user registered, over UDP the address from which the user did (TS 33.203 annex
//! N). The request leaves in a transaction of its own, and its answer goes back in the user's.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::{
    SipCore, USERS_MAX,
    client::Purpose,
    filter::{ApplicationServer, Change},
    third_party::{News, sent_by},
    transaction::Admission,
};
use crate::{
    entropy::Entropy,
    identity::{Impi, Impu},
    outbox::{Context, Flow, Note, Transport},
    sip::{
        name_addr::NameAddr,
        render::Chunk,
        reply::{ReplyHead, reason_phrase},
        request::RequestBuilder,
        uri::{self, Uri},
        view::{MessageView, StartLine},
    },
    store::CommitSeq,
    table::{Bound, Table, new_table},
};

/// The methods that are passed on.
const METHODS: [&str; 2] = ["PUBLISH", "MESSAGE"];

/// The port of a SIP URI without one.
const DEFAULT_PORT: u16 = 5060;

/// Header fields that are ours to write, in requests and in answers.
const OWN_FIELDS: [&str; 12] = [
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "content-length",
    "l",
    "record-route",
];

/// Those of a request alone, or that end here.
const OWN_REQUEST_FIELDS: [&str; 9] = [
    "max-forwards",
    "route",
    "p-preferred-identity",
    "p-asserted-identity",
    "p-preferred-service",
    "p-asserted-service",
    "proxy-authorization",
    "authorization",
    "path",
];

/// Those of the body of an answer, which is left out.
const BODY_FIELDS: [&str; 5] =
    ["content-type", "c", "content-encoding", "e", "content-disposition"];

/// From where registered users send requests.
#[derive(Debug)]
pub(super) struct Senders {
    by_impu: Table<Impu, Sender>,
    bound: Bound,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Sender {
    impi: Impi,
    whence: Whence,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Whence {
    /// This address, by datagrams.
    Datagrams(SocketAddr),
    /// A connection of this number.
    Connection(u64),
}

/// A request that was passed on.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// The key of the user's transaction.
    key: u128,
}

impl Whence {
    /// Where what came on `flow` from `source` comes from.
    pub(super) const fn of(flow: Flow, source: SocketAddr) -> Self {
        match flow.transport {
            Transport::Udp => Self::Datagrams(source),
            Transport::Tcp | Transport::Tls => Self::Connection(flow.connection),
        }
    }

    /// Where a user with this contact sends datagrams from, if the contact says so.
    fn of_contact(contact: &str) -> Option<Self> {
        let uri = Uri::parse(contact).ok()?;
        if uri.param("transport").is_some_and(|it| !it.eq_ignore_ascii_case("udp")) {
            return None;
        }
        let host = uri.host.trim_start_matches('[').trim_end_matches(']');
        let address: IpAddr = host.parse().ok()?;
        Some(Self::Datagrams(SocketAddr::new(address, uri.port.unwrap_or(DEFAULT_PORT))))
    }
}

impl Senders {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        Self { by_impu: new_table(entropy), bound: Bound::new(USERS_MAX) }
    }

    /// Takes a registration in that was stored: over UDP the contact tells the address.
    pub(super) fn load<'a>(
        &self,
        impi: &Impi,
        impus: impl Iterator<Item = &'a str>,
        contacts: impl Iterator<Item = &'a str>,
    ) {
        let Some(whence) = contacts.filter_map(Whence::of_contact).last() else { return };
        for impu in impus.filter_map(|impu| Impu::parse(impu).ok()) {
            self.put(impu, Sender { impi: impi.clone(), whence });
        }
    }

    fn put(&self, impu: Impu, sender: Sender) -> bool {
        match self.by_impu.entry(impu) {
            dashmap::Entry::Occupied(mut entry) => drop(entry.insert(sender)),
            dashmap::Entry::Vacant(entry) if self.bound.take() => drop(entry.insert(sender)),
            dashmap::Entry::Vacant(_) => return false,
        }
        true
    }

    fn remove(&self, impu: &Impu, impi: &Impi) {
        if self.by_impu.remove_if(impu, |_, sender| sender.impi == *impi).is_some() {
            self.bound.give();
        }
    }

    pub(super) fn clear(&self) {
        self.by_impu.clear();
        self.bound.reset();
    }
}

impl SipCore {
    /// Remembers, or forgets, from where a user sends requests whose registration has changed.
    pub(super) fn follow_sender(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        news: &News,
        whence: Option<Whence>,
    ) {
        for impu in &news.impus {
            match (news.change, whence) {
                (Change::End, _) => self.senders.remove(impu, impi),
                (Change::Initial | Change::Refresh, Some(whence)) => {
                    if !self.senders.put(impu.clone(), Sender { impi: impi.clone(), whence }) {
                        ctx.out.note(Note::TableFull("senders"));
                    }
                }
                (Change::Initial | Change::Refresh, None) => {}
            }
        }
    }

    /// Passes a request on, if it is for an application server. Whether it is.
    pub(super) fn originate(
        &self,
        ctx: &mut Context<'_>,
        flow: Flow,
        view: &MessageView<'_>,
        source: SocketAddr,
    ) -> bool {
        let StartLine::Request { method, uri } = view.start_line() else { return false };
        let mut servers = self.config.application_servers.iter();
        let server = servers.find(|server| METHODS.contains(&method) && server.serves(uri));
        let Some(server) = server else { return false };
        let key = self.transactions.key_of(view);
        if self.is_within_limit(ctx, (key, flow), view, source)
            && self.transactions.admit(ctx, key, flow, (view, source)) == Admission::New
            && let Err(status) =
                self.forward(ctx, key, (server, uri), view, Whence::of(flow, source))
        {
            self.answer_forwarded(ctx, key, status);
        }
        true
    }

    /// Sends a request to a server in the name of a user; the status of the answer if it cannot be.
    fn forward(
        &self,
        ctx: &mut Context<'_>,
        key: u128,
        (server, uri): (&ApplicationServer, &str),
        view: &MessageView<'_>,
        whence: Whence,
    ) -> Result<(), u16> {
        let hops = view.header_named("Max-Forwards").map_or(Some(70), |value| value.parse().ok());
        let hops: u8 = hops.ok_or(400_u16)?;
        let hops = hops.checked_sub(1).ok_or(483_u16)?;
        let impu = self.sender_of(view, whence).ok_or(403_u16)?;
        let asserted = format!("<{}>", impu.as_str());
        let mut fields: Vec<(&str, &str)> =
            view.headers().filter(|(name, _)| !is_ours(name, &OWN_REQUEST_FIELDS)).collect();
        fields.push(("P-Asserted-Identity", &asserted));
        let services =
            view.headers().filter(|(name, _)| name.eq_ignore_ascii_case("P-Preferred-Service"));
        fields.extend(services.map(|(_, service)| ("P-Asserted-Service", service)));
        let value = |name| view.headers().find(|(it, _)| is_among(it, name)).map_or("", |it| it.1);
        let (from, to) = (value(&["from", "f"][..]), value(&["to", "t"][..]));
        let build = |branch: &str, transport: &str| {
            RequestBuilder {
                method: view.method(),
                request_uri: uri,
                transport,
                sent_by: sent_by(&self.config.server_name),
                branch,
                max_forwards: hops,
                from,
                to,
                call_id: view.call_id(),
                cseq: view.cseq().number,
                fields: &fields,
                body: view.body(),
            }
            .build()
        };
        let purpose = Purpose::Forwarded(Forwarded { key });
        let begun = self.servers.begin(ctx, CommitSeq::NOTHING, server.target, purpose, build);
        begun.map_err(|_| 503)
    }

    /// The public identity that a request is sent in the name of: the one that it prefers, or that of From, if its user
    /// is registered and it comes from where that user is.
    fn sender_of(&self, view: &MessageView<'_>, whence: Whence) -> Option<Impu> {
        let preferred = view.header_named("P-Preferred-Identity").and_then(NameAddr::parse);
        let uri = preferred.unwrap_or_else(|| view.from_address()).uri;
        let impu = uri::aor(&Uri::split(uri).ok()?).ok()?;
        let sender = self.senders.by_impu.get(&impu)?;
        let is_here = sender.whence == whence && self.registrations.contains_key(&sender.impi);
        drop(sender);
        is_here.then_some(impu)
    }

    /// A server's final answer: its status, reason and header fields go to the user.
    pub(super) fn settle_forwarded(
        &self,
        ctx: &mut Context<'_>,
        Forwarded { key }: &Forwarded,
        answer: Option<&MessageView<'_>>,
    ) {
        let Some(view) = answer else { return self.answer_forwarded(ctx, *key, 504) };
        let StartLine::Response { status, reason } = view.start_line() else { return };
        let render = |head: &ReplyHead, to: &mut Chunk| -> Bytes {
            let mut reply = head.reply_in(to, status, reason);
            for (name, value) in view.headers() {
                if !is_ours(name, &BODY_FIELDS) {
                    reply = reply.header(name, value);
                }
            }
            reply.finish_in(to)
        };
        self.transactions.reply(ctx, *key, CommitSeq::NOTHING, None, render);
    }

    fn answer_forwarded(&self, ctx: &mut Context<'_>, key: u128, status: u16) {
        let render = |head: &ReplyHead, to: &mut Chunk| -> Bytes {
            let reply = head.reply_in(to, status, reason_phrase(status));
            let reply = match status {
                503 | 504 => reply.header("Retry-After", RETRY_AFTER),
                _ => reply,
            };
            reply.finish_in(to)
        };
        self.transactions.reply(ctx, key, CommitSeq::NOTHING, None, render);
    }

    /// Handles an answer to a request of ours.
    pub(super) fn handle_response(&self, ctx: &mut Context<'_>, view: &MessageView<'_>) {
        let StartLine::Response { status, .. } = view.start_line() else { return };
        let Some(branch) = view.top_via().branch else { return };
        if status < 200 {
            return self.servers.slow_down(ctx, branch);
        }
        match self.servers.take(branch) {
            Some(Purpose::ThirdParty(told)) => self.settle_third_party(ctx, &told, Some(status)),
            Some(Purpose::Forwarded(forwarded)) => {
                self.settle_forwarded(ctx, &forwarded, Some(view));
            }
            None => {} // a repeat of an answer
        }
    }

    /// Gives up requests that no server has answered in time.
    pub(super) fn give_up_requests(&self, ctx: &mut Context<'_>) {
        for purpose in self.servers.take_ended(ctx) {
            match purpose {
                Purpose::ThirdParty(told) => self.settle_third_party(ctx, &told, None),
                Purpose::Forwarded(forwarded) => self.settle_forwarded(ctx, &forwarded, None),
            }
        }
    }
}

/// Seconds after which a user may try again when a server cannot be asked.
const RETRY_AFTER: u32 = 10;

/// Whether a header field is not passed on: one of [`OWN_FIELDS`], or of `more`.
fn is_ours(name: &str, more: &[&str]) -> bool {
    is_among(name, &OWN_FIELDS) || is_among(name, more)
}

fn is_among(name: &str, names: &[&str]) -> bool {
    names.iter().any(|it| name.eq_ignore_ascii_case(it))
}
