//! Initial filter criteria (TS 23.218 clause 5.2, TS 29.228 annex B): which application servers are told of
//! registrations, and which requests of registered users go there. They are the operator's, the same for all users.

use crate::{
    outbox::SipTarget,
    sip::uri::{Uri, equivalent},
};

/// Most application servers of a SIP core.
pub const APPLICATION_SERVERS_MAX: usize = 32;

/// An application server, such as an MC server, and its filter criterion.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApplicationServer {
    /// Its SIP URI: the Request-URI of third-party REGISTERs.
    pub uri: String,
    /// Where it is reached.
    pub target: SipTarget,
    /// Servers with a lower number are told first.
    pub priority: u32,
    /// Which changes of a registration it is told.
    pub trigger: Trigger,
    /// What becomes of a user's registration when it does not answer a third-party REGISTER by 200.
    pub default_handling: DefaultHandling,
    /// Whether it gets the UE's REGISTER, as `message/sip`.
    pub includes_request: bool,
    /// Whether it gets our answer to that.
    pub includes_response: bool,
    /// Its public service identities: PUBLISH and MESSAGE of registered users for these go there.
    pub services: Vec<String>,
}

/// The kinds of registration that a criterion is about (TS 29.228: `RegistrationType`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Trigger {
    /// A user registers.
    pub initial: bool,
    /// A registered user refreshes, or changes contacts.
    pub refresh: bool,
    /// A registration ends: by the UE, the operator, or its time.
    pub end: bool,
}

/// TS 29.228: `DefaultHandling`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DefaultHandling {
    /// `SESSION_CONTINUED`: the user stays registered.
    #[default]
    Continued,
    /// `SESSION_TERMINATED`: the network ends the registration (TS 24.229 clause 5.4.1.5).
    Terminated,
}

/// How a registration changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Initial,
    Refresh,
    End,
}

impl Trigger {
    /// All of them.
    pub const ALL: Self = Self { initial: true, refresh: true, end: true };

    pub(super) const fn is_met_by(self, change: Change) -> bool {
        match change {
            Change::Initial => self.initial,
            Change::Refresh => self.refresh,
            Change::End => self.end,
        }
    }
}

impl ApplicationServer {
    /// A server that is told of every change, without a body, and that nobody depends on.
    pub fn new(uri: &str, target: SipTarget) -> Self {
        Self {
            uri: uri.to_owned(),
            target,
            priority: 0,
            trigger: Trigger::ALL,
            default_handling: DefaultHandling::default(),
            includes_request: false,
            includes_response: false,
            services: Vec::new(),
        }
    }

    /// Whether requests with this Request-URI go there.
    pub(super) fn serves(&self, request_uri: &str) -> bool {
        let Ok(asked) = Uri::parse(request_uri) else { return false };
        let same = |service: &String| Uri::parse(service).is_ok_and(|it| equivalent(&it, &asked));
        self.services.iter().any(same)
    }
}
