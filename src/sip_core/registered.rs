//! From an answered challenge to a registration: steps 23 and 24 (TS 24.229 clause 5.4.1.2.2).

use std::sync::Arc;

use bytes::Bytes;
use smallvec::smallvec;

use crate::{
    aka::digest::{DigestInput, DigestVerified, HexDigest, Qop, QopInput, Verified, verify},
    diameter::cx::{self, ServerAssignmentType},
    identity::{Impi, Impu, UserIdentity},
    outbox::{Context, Note, Undeliverable},
    packed::Reader,
    sip::{
        AuthenticationInfo,
        auth_header::DigestCredentials,
        register::RegisterRequest,
        render::{Chunk, Writer},
        reply::{ReplyHead, reason_phrase},
    },
    store::{CommitSeq, Mutation, RecordKind},
    time::Timestamp,
};

use super::{
    SipCore,
    answer::{CONFIRM_STEP, RegisterError, refusal},
    expiry,
    kept::Registered,
    notice::Asked,
    registration::{Registration, RegistrationUpdate},
    third_party::{Carried, News},
    user::{
        Attempt, AttemptState, AwaitAssignment, Challenged, Origin, Secret, User, nonce_count_of,
    },
};

/// Room for an Authentication-Info field, octets: most fit.
const AUTHENTICATION_INFO_OCTETS_TYPICAL: usize = 160;

/// Room for the header fields of a 200 that tell of a registration, octets: those of most users fit.
const FIELDS_OCTETS_TYPICAL: usize = 512;

impl SipCore {
    /// `MIG-23` as the SIP core sees it: a REGISTER with a nonce.
    pub(super) fn handle_answered(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        key: u128,
        request: &RegisterRequest<'_>,
        aor: Impu,
        credentials: &DigestCredentials<'_>,
    ) -> Result<(), RegisterError> {
        let call = self.transactions.key_of_text(request.call_id());
        let challenged = user.take_challenged(call, &credentials.nonce, ctx.now);
        if let Some((_, challenged)) = &challenged {
            self.challenges.take(challenged.number);
        }
        let Some((origin, challenged)) =
            challenged.filter(|(_, challenged)| !challenged.is_used(credentials.nc))
        else {
            // not live, or replayed: challenge again, and say that the nonce was at fault
            let challenge = (credentials.algorithm, true);
            return self.begin_attempt(ctx, (impi, user), key, request, aor, challenge);
        };
        if let Some(auts) = credentials.auts.as_deref() {
            return self.resynchronize(
                ctx,
                (impi, user),
                key,
                (origin, challenged),
                request.cseq(),
                auts,
            );
        }
        let verified = if origin.impu == aor {
            self.verify(&origin, &challenged, request, credentials)
        } else {
            Err(RegisterError::Forbidden)
        };
        match verified {
            Ok(Verified { proof, rspauth }) => {
                self.keep_nonce(ctx, (impi, user), (&origin, challenged), request, credentials.nc);
                let chunk = &mut ctx.out.parts;
                let info =
                    rspauth.and_then(|rspauth| authentication_info(chunk, &rspauth, credentials));
                self.accept(ctx, (impi, user), key, request, (origin, info), proof)
            }
            Err(error) => {
                ctx.out.note(Note::AuthenticationFailed);
                self.report_failure(
                    ctx,
                    impi,
                    origin.impu,
                    ServerAssignmentType::AuthenticationFailure,
                );
                self.refuse(ctx, key, CommitSeq::NOTHING, &error);
                Ok(())
            }
        }
    }

    /// A nonce that no vector is behind may be used again under the same Call-ID, with a higher nonce count.
    fn keep_nonce(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        (origin, challenged): (&Origin, Challenged),
        request: &RegisterRequest<'_>,
        nc: Option<&str>,
    ) {
        let Challenged { secret: Secret::Password { ha1, .. }, nonce, .. } = challenged else {
            return;
        };
        let Some(nonce_count) = nc.and_then(nonce_count_of) else { return };
        let secret = Secret::Password { ha1, nonce_count };
        let challenged = self.await_answer(ctx, impi, secret, nonce);
        let origin = Origin { cseq: request.cseq(), stale: false, ..origin.clone() };
        user.attempts.push(Attempt { origin, state: AttemptState::Challenged(challenged) });
    }

    /// Checks the response against XRES or HA1. An empty response means that the UE found MAC wrong.
    fn verify(
        &self,
        origin: &Origin,
        challenged: &Challenged,
        request: &RegisterRequest<'_>,
        credentials: &DigestCredentials<'_>,
    ) -> Result<Verified, RegisterError> {
        let algorithm = origin.algorithm_of(&challenged.secret);
        if credentials.algorithm.is_some_and(|named| !named.eq_ignore_ascii_case(algorithm)) {
            return Err(RegisterError::Forbidden);
        }
        let input = digest_input(credentials, &self.config.realm, request.body())
            .ok_or(RegisterError::Forbidden)?;
        let response = &credentials.response;
        let verified = match &challenged.secret {
            Secret::Vector(vector) => verify(origin.algorithm, &input, vector, response),
            Secret::Decoy(vector) => {
                // As much work, and never right.
                let _ = verify(origin.algorithm, &input, vector, response);
                return Err(RegisterError::Forbidden);
            }
            // Without a nonce count that can be compared, it could be used again.
            Secret::Password { .. }
                if credentials.nc.is_some_and(|nc| nonce_count_of(nc).is_none()) =>
            {
                return Err(RegisterError::Forbidden);
            }
            Secret::Password { ha1, .. } => ha1.verify(&input, response),
        };
        verified.map_err(|_| RegisterError::Forbidden)
    }

    /// Tells the SIP database of a verified request, where it has to know, and finishes it otherwise.
    fn accept(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        key: u128,
        request: &RegisterRequest<'_>,
        (origin, authentication_info): (Origin, Option<Bytes>),
        proof: DigestVerified,
    ) -> Result<(), RegisterError> {
        let update = RegistrationUpdate::from_request(request, &self.config, &mut ctx.out.parts)?;
        let carried = self.carried(request.view());
        let known = self.read_registration(ctx, impi);
        let changed = known.as_ref().map_or_else(|| self.removed.get(), |known| known.changed);
        let current = known.as_ref().map(|known| &known.registration);
        // The SIP database is told nothing of a request that would be refused after it.
        if let Some(Err(error)) = current.map(|current| current.check_update(&update)) {
            self.refuse(ctx, key, changed, &error);
            return Ok(());
        }
        let Some(assignment) = assignment_for(current, &update) else {
            let outcome = self.confirm(
                ctx,
                (impi, user),
                &origin.impu,
                (known, update, carried),
                None,
                proof,
            );
            self.conclude(ctx, (key, impi), authentication_info, outcome);
            return Ok(());
        };
        let sar = cx::Request::ServerAssignment(cx::ServerAssignmentRequest {
            impi: Some(impi.clone()),
            impus: smallvec![origin.impu.clone()],
            server_name: Arc::clone(&self.config.server_name),
            assignment,
            user_data_already_available: current.is_some(),
        });
        // What is told follows from the registration; of its end the SIP database may still be told later.
        let number = self.send_request(ctx, Asked::ByAttempt(impi.clone()), changed, None, sar);
        let state = AwaitAssignment {
            request: number,
            transaction: key,
            assignment,
            update,
            carried,
            authentication_info,
            proof,
        };
        user.attempts.push(Attempt { origin, state: AttemptState::AwaitAssignment(state) });
        Ok(())
    }

    /// The SIP database has answered what one attempt of `impi` waits for, or its time is over.
    pub(super) fn settle_request(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        number: u64,
        outcome: Result<cx::Answer, Undeliverable>,
    ) {
        let Some(mut entry) = self.known_user(impi) else { return };
        let user = entry.get_mut();
        let Some(Attempt { origin, state }) = user.take_waiting(number) else { return };
        match state {
            AttemptState::AwaitVector(waiting) => {
                self.handle_vector(ctx, (impi, user), (origin, waiting), outcome);
                self.leave(entry);
                return self.bound_decoys();
            }
            AttemptState::AwaitAssignment(waiting) => {
                self.handle_assignment(ctx, (impi, user), (origin, waiting), outcome);
            }
            AttemptState::Challenged(_) => {} // waits for the UE; take_waiting never gives it
        }
        self.leave(entry);
    }

    fn handle_assignment(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        (origin, waiting): (Origin, AwaitAssignment),
        outcome: Result<cx::Answer, Undeliverable>,
    ) {
        let AwaitAssignment { transaction, assignment, update, .. } = waiting;
        let AwaitAssignment { authentication_info, proof, carried, .. } = waiting;
        let confirmed = match outcome {
            Ok(cx::Answer::ServerAssignment(answer)) if answer.result.is_success() => {
                let known = self.read_registration(ctx, impi);
                let user = (impi, &mut *user);
                let update = (known, update, carried);
                self.confirm(ctx, user, &origin.impu, update, answer.user_data, proof)
            }
            Ok(cx::Answer::ServerAssignment(answer)) => Err(refusal(answer.result, false)),
            Ok(cx::Answer::MultimediaAuth(_)) | Err(Undeliverable) => {
                Err(RegisterError::HomeUnreachable)
            }
        };
        if confirmed.is_ok()
            && assignment == ServerAssignmentType::UserDeregistration
            && user.is_registered
        {
            // Another device registered while the SIP database was told that nobody is left.
            let identity = UserIdentity { impi: impi.clone(), impu: origin.impu };
            let changed = self.changed(impi);
            self.tell(ctx, changed, identity, ServerAssignmentType::Registration);
        }
        self.conclude(ctx, (transaction, impi), authentication_info, confirmed);
    }

    /// Reads a registration. The caller has the user's entry locked.
    fn read_registration(&self, ctx: &mut Context<'_>, impi: &Impi) -> Option<Known> {
        let unpack = |from: &mut Reader<'_>| Registered::unpack_in(from, &mut ctx.out.parts);
        let Registered { mut registration, changed } = self.registrations.view(impi, unpack)?;
        let ending = registration.next_expiry();
        registration.expire(ctx.now); // the timer of what has ended may come later
        Some(Known { registration, changed, ending })
    }

    /// `MIG-24`: changes the registration that is `known`, if there is one, less what has expired. Needs the proof
    /// that the UE answered its challenge.
    fn confirm(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        impu: &Impu,
        (known, update, carried): (Option<Known>, RegistrationUpdate, Option<Carried>),
        user_data: Option<cx::UserData>,
        _proof: DigestVerified,
    ) -> Result<Confirmed, RegisterError> {
        let changes = update.changes();
        if changes && !ctx.out.storage_available() {
            return Err(RegisterError::Busy); // it failed while the SIP database was asked
        }
        let mut fields = ctx.out.parts.begin(FIELDS_OCTETS_TYPICAL);
        for path in &update.paths {
            fields.field("Path", &**path);
        }
        let mut after = known.as_ref().map_or_else(|| self.removed.get(), |known| known.changed);
        let ending = known.as_ref().map(|known| known.ending);
        let before =
            known.as_ref().filter(|_| self.tells()).map(|known| known.registration.clone());
        let mut registration = known.map(|known| known.registration).unwrap_or_default();
        registration.apply(update, ctx.now)?;
        match user_data {
            Some(user_data) => registration.impus = user_data.impus.into(),
            None if registration.impus.is_empty() => registration.impus = smallvec![impu.clone()],
            None => {}
        }
        self.write_fields(&mut fields, &registration, ctx.now);
        let fields = fields.finish_in(&mut ctx.out.parts);
        let mut news = None;
        if changes {
            news = self.news(before.as_ref(), &registration, ctx.now, carried);
            let was_registered = user.is_registered;
            after = self.store(ctx, (impi, &mut *user), ending, registration);
            if user.is_registered != was_registered {
                ctx.out.note(Note::Registered(user.is_registered));
            }
        }
        Ok(Confirmed { after, fields, news })
    }

    /// What a 200 tells of a registration: its contacts, and whatever goes with one.
    fn write_fields(&self, to: &mut Writer, registration: &Registration, now: Timestamp) {
        registration.write_contacts(to, now);
        if registration.contacts.is_empty() {
            return;
        }
        to.field("Service-Route", ["<", &self.config.service_route, ">"]);
        to.verbatim(b"P-Associated-URI: ");
        for (number, impu) in registration.impus.iter().enumerate() {
            to.verbatim(if number == 0 { b"<" } else { b", <" });
            to.text(impu.as_str());
            to.verbatim(b">");
        }
        to.end_line();
    }

    /// Commits the registration in place of the one that is due at `ending`, if there is one, or its end when
    /// it has no contact left. Returns the commit of its last change. The caller has the user's entry locked.
    pub(super) fn store(
        &self,
        ctx: &mut Context<'_>,
        (impi, user): (&Impi, &mut User),
        ending: Option<Timestamp>,
        registration: Registration,
    ) -> CommitSeq {
        let fingerprint = self.registrations.fingerprint(impi);
        user.is_registered = !registration.contacts.is_empty();
        if registration.contacts.is_empty() {
            if ending.is_some() {
                let deletion = Mutation::delete(RecordKind::Registration, impi.as_str());
                // Raised before the registration is gone for others.
                self.removed.raise(ctx.out.commit([deletion]));
                self.registrations.remove(impi);
                self.deadlines.change(fingerprint, ending, None);
            }
            return self.removed.get();
        }
        let first_end = registration.next_expiry();
        let record = Mutation::put(RecordKind::Registration, impi.as_str(), &registration);
        let changed = ctx.out.commit([record]);
        self.registrations.insert(impi, &Registered { registration, changed });
        let ending = ending.filter(|_| !expiry::removes_newer());
        if let Some(at) = self.deadlines.change(fingerprint, ending, Some(first_end)) {
            ctx.out.arm(at, expiry::CONTACTS_TIMER);
        }
        changed
    }

    /// Answers the UE: 200 after the registration is durable, or why not, after the registration that
    /// the refusal relies upon.
    fn conclude(
        &self,
        ctx: &mut Context<'_>,
        (key, impi): (u128, &Impi),
        authentication_info: Option<Bytes>,
        outcome: Result<Confirmed, RegisterError>,
    ) {
        let confirmed = match outcome {
            Ok(confirmed) => confirmed,
            Err(error) => return self.refuse(ctx, key, self.changed(impi), &error),
        };
        let (after, news) = (confirmed.after, confirmed.news);
        let whence = news.as_ref().and_then(|_| self.transactions.whence(key));
        let mut answered = None;
        let render = |head: &ReplyHead, to: &mut Chunk| -> Bytes {
            let info = authentication_info.unwrap_or_default();
            let reply = head.reply_in(to, 200, reason_phrase(200));
            let octets = reply.fields(&confirmed.fields).fields(&info).finish_in(to);
            answered = news.is_some().then(|| octets.clone());
            octets
        };
        self.transactions.reply(ctx, key, after, Some(CONFIRM_STEP), render);
        if let Some(news) = news {
            self.follow_sender(ctx, impi, &news, whence);
            self.tell_servers(ctx, impi, after, &news, answered.as_ref());
        }
    }

    fn refuse(&self, ctx: &mut Context<'_>, key: u128, after: CommitSeq, error: &RegisterError) {
        let render = |head: &ReplyHead, to: &mut Chunk| error.render(head, to);
        self.transactions.reply(ctx, key, after, Some(CONFIRM_STEP), render);
    }
}

/// A registration as it was read, less what had expired by then.
#[derive(Debug)]
struct Known {
    registration: Registration,
    /// The commit of its last change.
    changed: CommitSeq,
    /// When its first contact ends, expired ones included.
    ending: Timestamp,
}

/// What a 200 tells.
struct Confirmed {
    /// The commit of the registration told of.
    after: CommitSeq,
    /// Its header fields: Path of the request, echoed (RFC 3327 clause 5.3), contacts and what goes with them.
    fields: Bytes,
    /// What application servers are to be told, if there are any.
    news: Option<Box<News>>,
}

/// What the SIP database has to be told before the answer; `None` if nothing changes for it.
fn assignment_for(
    current: Option<&Registration>,
    update: &RegistrationUpdate,
) -> Option<ServerAssignmentType> {
    match (current, update.adds(), update.changes()) {
        (None, true, _) => Some(ServerAssignmentType::Registration),
        (Some(_), true, _) => Some(ServerAssignmentType::ReRegistration),
        (Some(current), false, true) if update.removes_all_of(current) => {
            Some(ServerAssignmentType::UserDeregistration)
        }
        (_, false, _) => None,
    }
}

/// The digest input of `credentials`, or `None` when qop, nc and cnonce don't fit together.
fn digest_input<'a>(
    credentials: &'a DigestCredentials<'_>,
    realm: &'a str,
    body: &'a [u8],
) -> Option<DigestInput<'a>> {
    let qop = match credentials.qop {
        None => None,
        Some(named) => Some(QopInput {
            qop: Qop::parse(named)?,
            nc: credentials.nc?,
            cnonce: credentials.cnonce.as_deref()?,
        }),
    };
    Some(DigestInput {
        username: &credentials.username,
        realm,
        method: "REGISTER",
        uri: &credentials.uri,
        nonce: &credentials.nonce,
        qop,
        body,
    })
}

/// The header field Authentication-Info of a 200: proof that this side knows RES as well (RFC 3310 clause 3.5).
fn authentication_info(
    chunk: &mut Chunk,
    rspauth: &HexDigest,
    credentials: &DigestCredentials<'_>,
) -> Option<Bytes> {
    let info = AuthenticationInfo {
        nextnonce: None,
        qop: Some(Qop::parse(credentials.qop?)?.as_str()),
        rspauth: Some(rspauth.as_str().into()),
        cnonce: credentials.cnonce.as_deref().map(Into::into),
        nc: credentials.nc,
    };
    let mut writer = chunk.begin(AUTHENTICATION_INFO_OCTETS_TYPICAL);
    writer.field("Authentication-Info", &info);
    Some(writer.finish_in(chunk))
}
