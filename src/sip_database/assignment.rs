//! Server assignment (SAR, TS 29.228 clause 6.1.2): which SIP core serves a user, and whether the user is
//! registered. For an inbound identity it moves the lease of the binding.

use super::{
    Declined, SipDatabase, digest::DigestSubscriber, inbound::InboundHead, lease::Lease,
    subscriber::Subscriber,
};
use crate::{
    diameter::cx::{
        Answer, ResultCode, ServerAssignmentAnswer, ServerAssignmentRequest, ServerAssignmentType,
        UserData,
    },
    identity::{Impi, Impu},
    outbox::{Context, Message, Peer, ReplyTo},
    packed::Reader,
    store::CommitSeq,
    time::Timestamp,
};

/// The profile to answer with, if any, and the records relied on.
type Assigned = Result<(Option<UserData>, CommitSeq), Declined>;

/// `DIAMETER_ERROR_IN_ASSIGNMENT_TYPE` (TS 29.229 clause 6.2.2).
const ERROR_IN_ASSIGNMENT_TYPE: ResultCode = ResultCode::Experimental(5007);

impl SipDatabase {
    /// Answers a SAR. Another system's SIP database has no business with server assignment here: a
    /// registration in its system concerns its own bindings.
    pub(super) fn handle_assignment(
        &self,
        ctx: &mut Context<'_>,
        from: &Peer,
        to: ReplyTo,
        request: &ServerAssignmentRequest,
    ) {
        let assigned = match from {
            Peer::OwnCore if ctx.out.storage_available() => self.assign(ctx, request),
            Peer::OwnCore => Err(ResultCode::TOO_BUSY.into()),
            Peer::Database(_) => Err(ResultCode::AUTHORIZATION_REJECTED.into()),
        };
        let (result, user_data, after) = match assigned {
            Ok((user_data, after)) => (ResultCode::SUCCESS, user_data, after),
            Err(Declined { result, after }) => (result, None, after.max(self.removed.get())),
        };
        let answer = ServerAssignmentAnswer { result, impi: request.impi.clone(), user_data };
        let message = Message::CxAnswer { to, answer: Answer::ServerAssignment(answer) };
        self.send(ctx, after, None, message);
    }

    fn assign(&self, ctx: &mut Context<'_>, request: &ServerAssignmentRequest) -> Assigned {
        let event = Event::of(request.assignment).ok_or(ERROR_IN_ASSIGNMENT_TYPE)?;
        let impi = match (&request.impi, request.impus.first()) {
            (Some(impi), _) => impi.clone(),
            (None, Some(impu)) => {
                self.public.get(impu).ok_or(ResultCode::USER_UNKNOWN)?.value().clone()
            }
            (None, None) => return Err(ResultCode::USER_UNKNOWN.into()),
        };
        let read = |from: &mut Reader<'_>| Some((InboundHead::unpack(from)?, from.impu()?));
        match self.inbound.view(&impi, read) {
            Some(head) => self.assign_inbound(ctx, &impi, head, event, request),
            None => self.assign_home(ctx, &impi, event, request),
        }
    }

    fn assign_home(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        event: Event,
        request: &ServerAssignmentRequest,
    ) -> Assigned {
        let Some(mut subscriber) = self.subscribers.get_mut(impi) else {
            return self.assign_digest(ctx, impi, event, request);
        };
        if !request.impus.iter().all(|impu| subscriber.record.has(impu)) {
            return Err(Declined::by(subscriber.version, ResultCode::IDENTITIES_DONT_MATCH));
        }
        let version = subscriber.version;
        let declined = |result| Declined::by(version, result);
        let Subscriber { record, authentication_pending: pending, .. } = &mut **subscriber;
        let (server_name, registered) = (&mut record.server_name, &mut record.registered);
        let serving = Serving { server_name, registered, pending };
        if serving.assign(event, &request.server_name).map_err(declined)? {
            subscriber.version = ctx.out.commit([subscriber.record.mutation(impi)]);
        }
        let impus = &subscriber.record.impus;
        let user_data = event
            .wants_user_data(request)
            .then(|| UserData { impi: impi.clone(), impus: impus.clone() });
        Ok((user_data, subscriber.version))
    }

    /// The same for a subscriber with a password.
    fn assign_digest(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        event: Event,
        request: &ServerAssignmentRequest,
    ) -> Assigned {
        let found = self.digest_subscribers.get_mut(impi);
        let mut subscriber = found.ok_or(ResultCode::USER_UNKNOWN)?;
        let version = subscriber.version;
        let declined = |result| Declined::by(version, result);
        if !request.impus.iter().all(|impu| subscriber.record.impus.contains(impu)) {
            return Err(declined(ResultCode::IDENTITIES_DONT_MATCH));
        }
        let DigestSubscriber { record, authentication_pending: pending, .. } = &mut *subscriber;
        let (server_name, registered) = (&mut record.server_name, &mut record.registered);
        let serving = Serving { server_name, registered, pending };
        if serving.assign(event, &request.server_name).map_err(declined)? {
            subscriber.version = ctx.out.commit([subscriber.record.mutation(impi)]);
        }
        let impus = &subscriber.record.impus;
        let user_data = event
            .wants_user_data(request)
            .then(|| UserData { impi: impi.clone(), impus: impus.clone() });
        Ok((user_data, subscriber.version))
    }

    /// A registration makes the lease active, its end makes it reserved again, for a full
    /// lease. A mapping is for good either way.
    fn assign_inbound(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        (head, mut impu): (InboundHead, Impu),
        event: Event,
        request: &ServerAssignmentRequest,
    ) -> Assigned {
        let InboundHead { mut version, lease, .. } = head;
        let next = self
            .lease_after(ctx.now, event, (&impu, lease), request)
            .map_err(|result| Declined::by(version, result))?;
        if next != lease {
            // The same again under the lock: a refresh that changes nothing, as most do, needs none.
            let mut binding = self.inbound.get_mut(impi).ok_or(ResultCode::USER_UNKNOWN)?;
            let old = (&binding.record.impu, binding.record.lease);
            let lease = self
                .lease_after(ctx.now, event, old, request)
                .map_err(|result| Declined::by(binding.version, result))?;
            if lease != binding.record.lease {
                self.set_inbound_lease(ctx, impi, &mut binding, lease);
            }
            (version, impu) = (binding.version, binding.record.impu.clone());
        }
        let user_data = event
            .wants_user_data(request)
            .then(|| UserData { impi: impi.clone(), impus: vec![impu] });
        Ok((user_data, version))
    }

    /// The lease of an inbound pair after `event`.
    fn lease_after(
        &self,
        now: Timestamp,
        event: Event,
        (impu, lease): (&Impu, Lease),
        request: &ServerAssignmentRequest,
    ) -> Result<Lease, ResultCode> {
        if request.impus.iter().any(|asked| asked != impu) {
            return Err(ResultCode::IDENTITIES_DONT_MATCH);
        }
        if !lease.is_live(now) {
            return Err(ResultCode::USER_UNKNOWN);
        }
        let span = self.config.reserved_lease;
        Ok(match event {
            Event::Registration | Event::Reregistration => lease.activate(now, span),
            Event::Deregistration { .. } if lease.is_active() => lease.deactivate(now, span),
            Event::Deregistration { .. }
            | Event::ProfileWanted
            | Event::Unregistered
            | Event::AuthenticationFailed => lease,
        })
    }
}

/// What a Server-Assignment-Type comes to here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Event {
    ProfileWanted,
    Registration,
    Reregistration,
    Unregistered,
    Deregistration { keeps_server: bool },
    AuthenticationFailed,
}

impl Event {
    /// `None` for types of other applications (non-3GPP access, restoration).
    const fn of(assignment: ServerAssignmentType) -> Option<Self> {
        use ServerAssignmentType as Type;
        Some(match assignment {
            Type::NoAssignment => Self::ProfileWanted,
            Type::Registration => Self::Registration,
            Type::ReRegistration => Self::Reregistration,
            Type::UnregisteredUser => Self::Unregistered,
            Type::TimeoutDeregistrationStoreServerName
            | Type::UserDeregistrationStoreServerName => {
                Self::Deregistration { keeps_server: true }
            }
            Type::TimeoutDeregistration
            | Type::UserDeregistration
            | Type::AdministrativeDeregistration
            | Type::DeregistrationTooMuchData => Self::Deregistration { keeps_server: false },
            Type::AuthenticationFailure | Type::AuthenticationTimeout => Self::AuthenticationFailed,
            Type::AaaUserDataRequest | Type::PgwUpdate | Type::Restoration => return None,
        })
    }

    fn wants_user_data(self, request: &ServerAssignmentRequest) -> bool {
        let profile = matches!(
            self,
            Self::ProfileWanted | Self::Registration | Self::Reregistration | Self::Unregistered
        );
        profile && !request.user_data_already_available
    }
}

/// Who serves a subscriber, as far as reports of SIP cores change it.
struct Serving<'a> {
    /// Server-Name.
    server_name: &'a mut Option<String>,
    registered: &'a mut bool,
    /// Authentication pending.
    pending: &'a mut bool,
}

impl Serving<'_> {
    /// Applies what the SIP core `server_name` reports; returns whether the record changed.
    fn assign(self, event: Event, server_name: &str) -> Result<bool, ResultCode> {
        let serving = self.server_name.as_deref();
        if serving.is_some_and(|serving| serving != server_name) {
            return Err(if event == Event::Registration {
                ResultCode::IDENTITY_ALREADY_REGISTERED
            } else {
                ResultCode::UNABLE_TO_COMPLY
            });
        }
        if event == Event::ProfileWanted {
            return Ok(false);
        }
        let pending = std::mem::take(self.pending);
        let was_registered = *self.registered;
        let (serves, registered) = match event {
            Event::Registration | Event::Reregistration => (true, true),
            Event::Unregistered => (true, false),
            Event::Deregistration { keeps_server } => (serving.is_some() && keeps_server, false),
            // Who fails while registered stays so: the failure may be somebody else's.
            Event::AuthenticationFailed if pending && !was_registered => (false, false),
            Event::AuthenticationFailed | Event::ProfileWanted => {
                (serving.is_some(), was_registered)
            }
        };
        let changed = serving.is_some() != serves || was_registered != registered;
        if changed {
            *self.server_name = serves.then(|| server_name.to_owned());
            *self.registered = registered;
        }
        Ok(changed)
    }
}
