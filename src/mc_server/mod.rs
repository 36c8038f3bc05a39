//! The MC server of an MC system, as far as service authorisation goes: the participating function that a client
//! authorises itself with (TS 33.180 clause 5.1.3; TS 24.379, TS 24.281 and TS 24.282 clause 7.3).
//!
//! The SIP core tells it of each registration by a third-party REGISTER, which carries the UE's own REGISTER with an
//! access token for each service (`registered.rs`). Or a registered client publishes its token with its service settings
//! (`publish.rs`). A token that is believed (`authorise.rs`) binds the MC service ID in it to the public identity, until
//! the client logs off or the registration ends. Whoever has no binding gets 404 with warning 141.
//!
//! **Least disclosure.** A client is not told why its token is not taken; the operator is, by a note.
//!
//! **Whom it believes.** Who asks is what the SIP core asserts, so nobody else is served.
//!
//! **Order of commits.** Who changes something holds `state`. Every message waits for the latest commit of this role.
//! Tokens are verified without `state`.

mod answer;
mod answers;
mod authorise;
mod config;
mod expiry;
mod publish;
mod record;
mod registered;
mod state;
mod stored;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::{
    config::{CLIENTS_MAX, Config},
    stored::StoredRecord,
};

use self::{
    answer::{Answer, Refusal},
    answers::Answers,
    record::ClientRecord,
    state::{Held, State},
};
use crate::{
    entropy::Entropy,
    identity::{Impu, McServiceId},
    mc_info,
    outbox::{Context, Flow, McNote, Message, Note, TimerKey, TimerWhat, Transport},
    sip::{
        Framing,
        message::{Capabilities, answer_other},
        name_addr::NameAddr,
        reply::{ReplyHead, reply_destination},
        uri::{self, Uri},
        view::MessageView,
    },
    store::{Mark, Mutation, Record, RecordError, RecordKind, decode},
    time::Timestamp,
    token::claims::VerifyAccess,
    user_profile::ProfileService,
};

/// The MC server role. Shared by all workers.
#[derive(Debug)]
pub struct McServer {
    config: Config,
    state: Mutex<State>,
    answers: Answers,
    /// The latest commit.
    latest: Mark,
}

impl McServer {
    /// Creates a server that knows nobody.
    pub fn new(config: Config, entropy: &mut dyn Entropy) -> Self {
        Self {
            config,
            state: Mutex::default(),
            answers: Answers::new(entropy),
            latest: Mark::default(),
        }
    }

    /// Takes one stored record in. Records of other roles are ignored.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when the record cannot be read by this build.
    pub fn load(&self, record: &Record<'_>) -> Result<(), RecordError> {
        if record.kind != RecordKind::McClient {
            return Ok(());
        }
        let key = std::str::from_utf8(record.key).map_err(|_| RecordError::Damaged)?;
        let impu = Impu::parse(key).map_err(|_| RecordError::Damaged)?;
        let client: ClientRecord = decode(record.value)?;
        self.state().put(&impu, client);
        Ok(())
    }

    /// Forgets everything, before it is loaded again after a failed commit.
    pub fn clear(&self) {
        *self.state() = State::default();
        self.answers.clear();
        self.latest.reset();
    }

    /// Handles one framed SIP message that arrived on `flow`. `tokens` tells which access tokens are to be believed.
    pub fn handle_sip(
        &self,
        ctx: &mut Context<'_>,
        tokens: &dyn VerifyAccess,
        flow: Flow,
        octets: &[u8],
    ) {
        let framing = match flow.transport {
            Transport::Udp => Framing::Datagram,
            Transport::Tcp | Transport::Tls => Framing::Stream,
        };
        let source = flow.remote;
        let view = match MessageView::parse(octets, framing) {
            Ok(view) if view.is_request() => view,
            Ok(_) => return, // no request of ours is under way
            Err(error) => {
                let tag = answer::draw_tag(ctx.entropy);
                if let Some(head) = ReplyHead::lenient(octets, source, &tag) {
                    let flow = answered_on(flow, head.destination());
                    self.send(ctx, flow, head.reply(error.status, error.reason).finish());
                }
                return;
            }
        };
        let flow = answered_on(flow, reply_destination(&view, source));
        let key = self.answers.key_of(&view);
        if let Some(octets) = self.answers.find(key) {
            return self.send(ctx, flow, octets);
        }
        let tag = answer::draw_tag(ctx.entropy);
        let octets = if self.config.cores.contains(&source.ip().to_canonical()) {
            match self.answer(ctx, tokens, &view) {
                Some(answer) => {
                    let head = ReplyHead::new(&view, source, &tag);
                    Some(answer.render(&head, &self.config.host))
                }
                None => answer_other(&view, source, &tag, &CAPABILITIES),
            }
        } else {
            ctx.out.note(Note::Mc(McNote::StrangerRefused));
            answer_other(&view, source, &tag, &NOTHING).map(|_| {
                let head = ReplyHead::new(&view, source, &tag);
                Answer::from(Refusal::Stranger).render(&head, &self.config.host)
            })
        };
        if let Some(octets) = octets {
            if flow.transport == Transport::Udp {
                self.answers.keep(ctx, key, octets.clone());
            }
            self.send(ctx, flow, octets);
        }
    }

    /// Handles a timer that this role armed.
    pub fn handle_timer(&self, ctx: &mut Context<'_>, timer: &TimerKey) {
        if timer.what == TimerWhat::McBindingsEnd {
            self.expire(ctx);
        } else if timer.what == TimerWhat::McAnswersEnd {
            self.answers.forget_old(ctx);
        }
    }

    /// Whom a public identity is bound to, by service.
    pub fn bindings_of(&self, impu: &Impu, now: Timestamp) -> Vec<(ProfileService, McServiceId)> {
        let state = self.state();
        let client = state.client(impu);
        let bound = client.into_iter().flat_map(|client| client.authorisations.iter());
        let bound = bound.filter(|it| it.until > now);
        bound.map(|it| (it.service, it.mc_service_id.clone())).collect()
    }

    /// How many public identities are authorised for a service.
    pub fn authorised(&self, service: ProfileService) -> usize {
        self.state().authorised(service)
    }

    /// The answer to a request of a SIP core; `None` for what has none of this role's own.
    fn answer(
        &self,
        ctx: &mut Context<'_>,
        tokens: &dyn VerifyAccess,
        view: &MessageView<'_>,
    ) -> Option<Answer> {
        let answered = match view.method() {
            "ACK" | "CANCEL" | "OPTIONS" => return None,
            _ if !ctx.out.storage_available() => Err(Refusal::Unavailable),
            "REGISTER" => self.take_registration(ctx, tokens, view),
            "PUBLISH" => self.take_publication(ctx, tokens, view),
            _ => match self.check_bound(ctx.now, view) {
                Ok(()) => return None,
                Err(refusal) => Err(refusal),
            },
        };
        Some(answered.unwrap_or_else(Answer::from))
    }

    /// Whether who sends a request is bound to an MC service ID of the service that the request is for, or of any
    /// (TS 24.379 clause 6.3.x: 404 with warning 141 otherwise).
    fn check_bound(&self, now: Timestamp, view: &MessageView<'_>) -> Result<(), Refusal> {
        let impu = asserted_identity(view)?;
        let service = asserted_service(view);
        let bound = self.bindings_of(&impu, now);
        let is_bound = bound.iter().any(|(of, _)| service.is_none_or(|service| service == *of));
        is_bound.then_some(()).ok_or(Refusal::NotBound)
    }

    /// Makes `client` durable as what is known of `impu`.
    fn commit(&self, ctx: &mut Context<'_>, state: &mut State, impu: &Impu, client: ClientRecord) {
        let record = Mutation::put(RecordKind::McClient, impu.as_str(), &client);
        self.latest.raise(ctx.out.commit([record]));
        let before = state.put(impu, client);
        Self::note_changes(ctx, state, impu, before.as_ref());
        expiry::wake(ctx, state);
    }

    /// Notes who was authorised, or is no longer.
    fn note_changes(ctx: &mut Context<'_>, state: &State, impu: &Impu, before: Option<&Held>) {
        let has = |held: Option<&Held>, service| held.is_some_and(|it| it.has(service));
        for service in ProfileService::ALL {
            let is_bound = has(state.client(impu), service);
            if is_bound != has(before, service) {
                ctx.out.note(Note::Mc(McNote::Authorised(service, is_bound)));
            }
        }
    }

    fn send(&self, ctx: &mut Context<'_>, flow: Flow, octets: bytes::Bytes) {
        ctx.out.send_after(self.latest.get(), None, Message::Sip { flow, octets });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this server can do.
const CAPABILITIES: Capabilities<'static> = Capabilities {
    methods: &["REGISTER", "PUBLISH", "OPTIONS"],
    option_tags: &[],
    media_types: &[
        "multipart/mixed",
        "message/sip",
        mc_info::settings::MEDIA_TYPE,
        mc_info::media_type(ProfileService::Mcptt),
        mc_info::media_type(ProfileService::Mcvideo),
        mc_info::media_type(ProfileService::Mcdata),
    ],
};

/// What it can do for strangers.
const NOTHING: Capabilities<'static> =
    Capabilities { methods: &[], option_tags: &[], media_types: &[] };

/// Over UDP an answer goes where Via says.
const fn answered_on(flow: Flow, destination: std::net::SocketAddr) -> Flow {
    match flow.transport {
        Transport::Udp => Flow { remote: destination, ..flow },
        Transport::Tcp | Transport::Tls => flow,
    }
}

/// Who the SIP core says sends a request (RFC 3325 section 9.1).
fn asserted_identity(view: &MessageView<'_>) -> Result<Impu, Refusal> {
    let value = view.header_named("P-Asserted-Identity").ok_or(Refusal::NoIdentity)?;
    let address = NameAddr::parse(value).ok_or(Refusal::NoIdentity)?;
    let uri = Uri::parse(address.uri).map_err(|_| Refusal::NoIdentity)?;
    uri::aor(&uri).map_err(|_| Refusal::NoIdentity)
}

/// The service that the SIP core says a request is for (RFC 6050 section 4.1).
fn asserted_service(view: &MessageView<'_>) -> Option<ProfileService> {
    let urn = view.header_named("P-Asserted-Service")?;
    // What follows the ICSI of a service names a part of it, such as `mcdata.sds`.
    ProfileService::ALL.into_iter().find(|service| {
        let rest = urn.trim().strip_prefix(mc_info::icsi(*service));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
