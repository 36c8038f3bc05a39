//! MC services on the command line: which the UE has, and the file of an access token for each.

use std::{fs, path::PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::{Session, UeError, not_done};
use crate::{
    identity::McSystemId,
    mc_info::{
        ServiceInfo,
        settings::{AnswerMode, Settings},
    },
    node::ue::{Contact, RunningUe},
    secret::SecretText,
    token::BearerToken,
    ue::{ServiceLogOn, ServiceState, State},
    user_profile::ProfileService,
};

/// The MC services that the UE tells of.
#[derive(Args, Debug)]
pub struct Services {
    /// An MC service that the UE has: mcptt, mcvideo or mcdata; with the file of an access token it is authorised for it.
    /// May be repeated. A refresh that does not name a service logs off from it.
    #[arg(long = "service", value_name = "NAME[=TOKEN-FILE]", value_parser = service_file)]
    services: Vec<ServiceFile>,
    /// The MC client ID, a URN.
    #[arg(long, value_name = "URN", requires = "services")]
    mc_client_id: Option<String>,
}

/// One MC service, and its server.
#[derive(Args, Debug)]
pub struct Published {
    /// The MC service: mcptt, mcvideo or mcdata.
    #[arg(long, value_name = "NAME[=TOKEN-FILE]", value_parser = service_file)]
    service: ServiceFile,
    /// The public service identity of the MC server, such as sip:mcptt@a.example.
    #[arg(long, value_name = "URI")]
    server: String,
    /// The MC client ID, a URN.
    #[arg(long, value_name = "URN")]
    mc_client_id: Option<String>,
}

/// An MC service, and the file of an access token for it.
#[derive(Clone, Debug)]
pub struct ServiceFile {
    service: ProfileService,
    token: Option<PathBuf>,
}

fn service_file(text: &str) -> Result<ServiceFile, &'static str> {
    let (name, file) = match text.split_once('=') {
        Some((name, file)) => (name, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let service = ProfileService::parse(name).ok_or("write mcptt, mcvideo or mcdata")?;
    Ok(ServiceFile { service, token: file })
}

impl ServiceFile {
    fn info(&self, client_id: Option<&String>) -> Result<ServiceInfo, UeError> {
        let access_token = match &self.token {
            Some(path) => {
                let failed = |why: String| UeError::TokenFile { path: path.clone(), why };
                let text = fs::read_to_string(path).map(Zeroizing::new);
                let text = text.map_err(|error| failed(error.to_string()))?;
                let token = BearerToken::parse(text.trim());
                let token = token.map_err(|error| failed(error.to_string()))?;
                Some(SecretText::new(token.expose()))
            }
            None => None,
        };
        Ok(ServiceInfo { access_token, client_id: client_id.cloned() })
    }
}

impl Services {
    /// What the next registration tells.
    pub(super) fn log_ons(&self) -> Result<Vec<ServiceLogOn>, UeError> {
        let log_on = |it: &ServiceFile| {
            let info = it.info(self.mc_client_id.as_ref())?;
            Ok(ServiceLogOn { service: it.service, info })
        };
        self.services.iter().map(log_on).collect()
    }
}

impl Session {
    /// Prolongs the registration, and is authorised for a service by PUBLISH.
    pub(super) async fn authorise(&mut self, published: &Published) -> Result<(), UeError> {
        let info = published.service.info(published.mc_client_id.as_ref())?;
        let (at, mut ue) = self.prolonged(published).await?;
        let settings = Settings { answer_mode: Some(AnswerMode::Manual), profile_index: Some(0) };
        let service = (published.service.service, published.server.as_str());
        let outcome = ue.publish(service, &info, &settings).await.cloned();
        let state = self.outcome(&at, outcome)?;
        if state != ServiceState::Authorised {
            return Err(refused("service authorisation", &at, &state));
        }
        self.say(&format!("authorised for {} at {at}", published.service.service.as_str()))
    }

    /// Prolongs the registration, and logs off from a service by PUBLISH.
    pub(super) async fn log_off(&mut self, published: &Published) -> Result<(), UeError> {
        let (at, mut ue) = self.prolonged(published).await?;
        let service = (published.service.service, published.server.as_str());
        let outcome = ue.log_off(service).await.cloned();
        let state = self.outcome(&at, outcome)?;
        if state != ServiceState::LoggedOff {
            return Err(refused("log-off", &at, &state));
        }
        self.say(&format!("logged off from {} at {at}", published.service.service.as_str()))
    }

    /// A SIP core knows a user over TCP by the connection of the registration: so that comes first.
    async fn prolonged(
        &mut self,
        published: &Published,
    ) -> Result<(McSystemId, RunningUe), UeError> {
        let (at, config) = self.current()?;
        let service = published.service.service;
        let mut ue = self.open_ue(&at, config, Contact::Prolonged).await?;
        ue.set_services(vec![ServiceLogOn { service, info: ServiceInfo::default() }]);
        let outcome = ue.register_kept(&mut self.file).await.cloned();
        match self.outcome(&at, outcome)? {
            State::Registered(_) => Ok((at, ue)),
            state @ (State::Idle | State::Busy | State::Failed(_)) => {
                Err(not_done("registration", &at, &state))
            }
        }
    }
}

fn refused(what: &'static str, at: &McSystemId, state: &ServiceState) -> UeError {
    let why = match state {
        ServiceState::Refused { warning: Some(101), .. } => {
            "the token is not taken: get a new one with the scope of the service".to_owned()
        }
        ServiceState::Refused { warning: Some(141), .. } => {
            "the user is not authorised for the service: bring a token".to_owned()
        }
        ServiceState::Refused { warning: Some(164), .. } => {
            "the user is authorised too often at a time: log off elsewhere".to_owned()
        }
        ServiceState::Refused { status, .. } => format!("refused with {status}"),
        ServiceState::Timeout => "no answer within 32 s; try again".to_owned(),
        ServiceState::Authorised | ServiceState::LoggedOff | ServiceState::Busy => {
            "it ended otherwise".to_owned()
        }
    };
    UeError::Sip { what, at: at.clone(), why }
}
