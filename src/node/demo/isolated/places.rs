//! The two systems without a link: where they listen, how they are set up.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{
    super::{
        DemoError,
        place::{PORT_ATTEMPTS_MAX, Place, free_ports},
        stage::{Site, parse},
    },
    IsolatedDemo,
    people::MC_SERVER,
};
use crate::{
    api::connection_details::SipCoreAddress,
    identity::McSystemId,
    node::{
        StartError, SystemEntropy, client::ManagementClient, config::Part, ladder::Tap, tls::Trust,
    },
    token::BearerToken,
};

/// Ports of one system: SIP, Diameter, management, admin, CSC-4, CSC-17, identity management, MC server.
const PORTS: u16 = 8;

/// One of the two systems.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Which {
    /// A, where the user is at home.
    Home,
    /// B, where the user goes.
    Partner,
}

impl Which {
    pub(super) const fn domain(self) -> &'static str {
        match self {
            Self::Home => "a.example",
            Self::Partner => "b.example",
        }
    }

    /// An address of its own on loopback, so that a capture tells who is spoken to.
    const fn address(self) -> Ipv4Addr {
        match self {
            Self::Home => Ipv4Addr::new(127, 0, 0, 2),
            Self::Partner => Ipv4Addr::new(127, 0, 0, 3),
        }
    }
}

/// The two systems, running or stopped.
pub(super) struct Places {
    home: Site,
    partner: Site,
    base_port: u16,
    /// Outlives both systems, which keep what they store there.
    _place: Place,
}

impl Places {
    /// Starts both systems.
    pub(super) async fn start(demo: &IsolatedDemo, tap: &Tap) -> Result<Self, DemoError> {
        let mut attempts = 0;
        loop {
            let all = |base| {
                let of = |which: Which| {
                    (base..base + PORTS).map(move |port| SocketAddr::from((which.address(), port)))
                };
                of(Which::Home).chain(of(Which::Partner))
            };
            let base_port = if demo.base_port == 0 { free_ports(all)? } else { demo.base_port };
            let place = Place::take(demo.data_dir.as_deref())?;
            let addresses = [Which::Home, Which::Partner].map(Which::address);
            let certificates =
                (!demo.is_plain).then(|| place.certificates(&addresses)).transpose()?;
            let trust = match &certificates {
                Some(certificates) => Trust::of_file(&certificates.authorities)?,
                None => Trust::default(),
            };
            let site = |which: Which| {
                let mut toml = system_toml(which, (base_port, demo.is_plain));
                if let Some(certificates) = &certificates {
                    let section = certificates.section(which.domain())?;
                    // The partner is told of no other system's authority.
                    let own = section.split("[[tls.partners]]").next().unwrap_or_default();
                    toml += if which == Which::Partner { own } else { &section };
                }
                let section = place.section(which.domain());
                let config = parse(&toml, section, &demo.settings)?;
                Ok::<_, DemoError>(Site::of(config, trust.clone(), tap))
            };
            let (home, partner) = (site(Which::Home)?, site(Which::Partner)?);
            let mut places = Self { home, partner, base_port, _place: place };
            let started = places
                .home
                .start(Duration::ZERO)
                .and_then(|()| places.partner.start(Duration::ZERO));
            match started {
                Ok(()) => return Ok(places),
                Err(error) => {
                    places.stop_both().await;
                    let is_taken = matches!(&error, DemoError::Start(StartError::Bind { .. }));
                    if !is_taken || demo.base_port != 0 || attempts == PORT_ATTEMPTS_MAX {
                        return Err(error);
                    }
                    attempts += 1;
                }
            }
        }
    }

    /// Restarts the home on what it stored, with a clock that is ahead.
    pub(super) async fn restart_home(&mut self, ahead: Duration) -> Result<(), DemoError> {
        self.home.stop().await;
        self.home.start(ahead)
    }

    /// Starts the partner on what it stored, with a clock that is ahead.
    pub(super) fn start_partner(&mut self, ahead: Duration) -> Result<(), DemoError> {
        self.partner.start(ahead)
    }

    /// Stops both systems.
    pub(super) async fn stop_both(&mut self) {
        self.partner.stop().await;
        self.home.stop().await;
    }

    pub(super) const fn site(&self, which: Which) -> &Site {
        match which {
            Which::Home => &self.home,
            Which::Partner => &self.partner,
        }
    }

    /// A client of a system's management interface.
    pub(super) fn management(&self, which: Which) -> Result<ManagementClient, DemoError> {
        self.site(which).management()
    }

    pub(super) fn id_of(&self, which: Which) -> McSystemId {
        self.site(which).config().config_server.id.clone()
    }

    /// Where a system's SIP core listens, and over what.
    pub(super) fn sip_of(&self, which: Which) -> Result<SipCoreAddress, DemoError> {
        self.site(which).sip()?.first().copied().ok_or(DemoError::Missing("a SIP core"))
    }

    /// Whom the UE believes.
    pub(super) const fn trust(&self) -> &Trust {
        self.home.trust()
    }

    /// The URL of a system's identity management server: its issuer.
    pub(super) fn issuer_of(&self, which: Which) -> String {
        self.site(which).config().idms.server.issuer.as_str().to_owned()
    }

    /// The XCAP root of a system's configuration management server.
    pub(super) fn xcap_root_of(&self, which: Which) -> String {
        let site = self.site(which);
        let address = site.config().config_server.listen;
        format!("{}/xcap-root", site.url(Part::ConfigServer, address))
    }

    /// What ladders call a system as a whole.
    pub(super) fn name_of(&self, which: Which) -> Arc<str> {
        self.site(which).config().system.domain.as_str().into()
    }

    /// All addresses of a system.
    pub(super) fn addresses_of(&self, which: Which) -> Vec<SocketAddr> {
        let at = |offset| SocketAddr::from((which.address(), self.base_port + offset));
        (0..PORTS).map(at).collect()
    }

    /// The names of the columns.
    pub(super) fn parties(&self) -> Vec<String> {
        let (a, b) = (Which::Home.domain(), Which::Partner.domain());
        let partner = self.partner.config();
        vec![
            "UE".to_owned(),
            format!("idms.{a}"),
            format!("cms.{a}"),
            format!("idms.{b}"),
            partner.sip.server_name.trim_start_matches("sip:").to_owned(),
            partner.diameter.identity.to_string(),
            format!("mc.{b}"),
            format!("cms.{b}"),
        ]
    }
}

/// The partner has an MC server, which its SIP core tells of registrations.
fn with_mc_server(toml: &str, which: Which, (listen, is_plain): (&str, bool)) -> String {
    let (domain, address) = (which.domain(), which.address());
    let toml = toml.replacen("\"idms\"]", "\"idms\", \"mc_server\"]", 1);
    let transport = if is_plain { "tcp" } else { "tls" };
    format!(
        "{toml}[mc_server]\nlisten = \"{listen}\"\ncores = [\"{address}\"]\n\
         [[sip.application_servers]]\nuri = \"sip:mc.{domain}\"\naddress = \"{transport}:{listen}\"\n\
         include_request = true\nservices = [\"{MC_SERVER}\"]\n"
    )
}

/// A system of its own. Of the partner the home knows the name, so that it can tell its users of it; the partner knows
/// nothing of the home.
fn system_toml(which: Which, (base_port, is_plain): (u16, bool)) -> String {
    let (domain, address) = (which.domain(), which.address());
    let at = |offset: u16| format!("{address}:{}", base_port.saturating_add(offset));
    let idms = at(6);
    let (listen, scheme) = if is_plain { ("listen", "http") } else { ("listen_tls", "https") };
    let insecure = if is_plain { "insecure = true\n" } else { "" };
    let toml = format!(
        "roles = [\"sip_core\", \"sip_database\", \"config_server\", \"idms\"]\n\
         [system]\ndomain = \"{domain}\"\n{insecure}\
         [sip]\n{listen} = [\"{}\"]\n\
         [diameter]\nlisten = \"{}\"\n\
         [management]\nlisten = \"{}\"\n\
         [admin]\nlisten = \"{}\"\n\
         [config_server]\nlisten = \"{}\"\nlisten_partners = \"{}\"\n\
         [idms]\nlisten = \"{idms}\"\nissuer = \"{scheme}://{idms}\"\nsecurity_token_lifetime = \"30d\"\n",
        at(0),
        at(1),
        at(2),
        at(3),
        at(4),
        at(5),
    );
    if which == Which::Partner {
        return with_mc_server(&toml, which, (&at(7), is_plain));
    }
    let [send, accept] = [(); 2].map(|()| BearerToken::draw(&mut SystemEntropy::new()));
    let (partner, send, accept) = (Which::Partner.domain(), send.expose(), accept.expose());
    format!(
        "{toml}[[config_server.partners]]\nid = \"sip:{partner}\"\nsip_database = \"sipdb.{partner}\"\n\
             url = \"{scheme}://{partner}\"\nsend_token = \"{send}\"\naccept_token = \"{accept}\"\n\
             [[diameter.peers]]\nhost = \"sipdb.{partner}\"\nrealm = \"{partner}\"\nkind = \"database\"\n"
    )
}
