//! `anyExt`: the elements that later versions of the schema added, and those that nobody here knows.

use std::collections::BTreeSet;

use super::{
    DocumentError,
    document::{Credentials, DataNetwork, Extension, ServiceDetails, Slice, UserPassword},
    element::Place,
    fields::{Fields, TWICE, Value},
    values::Service,
};

/// Reads the content of an `anyExt`.
pub(super) fn any_ext(place: &Place<'_>) -> Result<Vec<Extension>, DocumentError> {
    let mut fields = Fields::of(place, &[])?;
    let mut extensions = Vec::new();
    let mut seen = BTreeSet::new();
    while let Some(child) = fields.next() {
        let extension = extension(&child)?;
        let key = match &extension {
            Extension::Slice(slice) => Some(slice.s_nssai.to_string()),
            Extension::DataNetwork(network) => Some(network.dnn.to_ascii_lowercase()),
            Extension::Other(_) => None,
            Extension::ServiceDetails(..)
            | Extension::SliceOf(..)
            | Extension::PduSessionType(_)
            | Extension::Lms(_)
            | Extension::IdmClientId(_)
            | Extension::Label(_) => Some(String::new()),
        };
        if let Some(key) = key
            && !seen.insert((child.own_name(), key))
        {
            return Err(child.error(TWICE));
        }
        extensions.push(extension);
    }
    Ok(extensions)
}

fn extension(place: &Place<'_>) -> Result<Extension, DocumentError> {
    let Some(name) = place.own_name() else { return place.detached().map(Extension::Other) };
    for service in Service::ALL {
        if name == service.details() {
            return service_details(place)
                .map(|details| Extension::ServiceDetails(service, details));
        }
        if name == service.slice() {
            let s_nssai = Value::of_element(*place, &[])?.s_nssai()?;
            return Ok(Extension::SliceOf(service, s_nssai));
        }
    }
    let value = || Value::of_element(*place, &[]);
    match name {
        "SNSSAI" => slice(place).map(Extension::Slice),
        "DN-Info" => data_network(place).map(Extension::DataNetwork),
        "PDU-Session-Type" => value()?.pdu_session_type().map(Extension::PduSessionType),
        "lms" => value()?.uri().map(Extension::Lms),
        "Idm-Client-Id" => value()?.text().map(Extension::IdmClientId),
        "mcServiceUELabel" => value()?.text().map(Extension::Label),
        _ => place.detached().map(Extension::Other),
    }
}

fn service_details(place: &Place<'_>) -> Result<ServiceDetails, DocumentError> {
    let mut fields = Fields::of(place, &[])?;
    let details = ServiceDetails {
        ipv6_required: fields.value("IPv6-Required", Value::boolean)?,
        server_uri: fields.value("Server-URI", Value::uri)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(details)
}

fn slice(place: &Place<'_>) -> Result<Slice, DocumentError> {
    let mut fields = Fields::of(place, &["SNSSAI"])?;
    let slice = Slice {
        s_nssai: fields.attribute("SNSSAI", Value::s_nssai)?,
        nssaa_server: fields.optional_value("NSSAA-Server", Value::uri)?,
        credentials: fields.optional("credentials", credentials)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(slice)
}

fn data_network(place: &Place<'_>) -> Result<DataNetwork, DocumentError> {
    let mut fields = Fields::of(place, &["DNN"])?;
    let network = DataNetwork {
        dnn: fields.attribute("DNN", Value::dnn)?,
        aaa_server: fields.optional_value("DN-AAA-Server", Value::uri)?,
        credentials: fields.optional("credentials", credentials)?,
        pap: fields.optional("Pap-parameters", user_password)?,
        chap: fields.optional("Chap-parameters", user_password)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(network)
}

fn credentials(place: &Place<'_>) -> Result<Credentials, DocumentError> {
    let mut fields = Fields::of(place, &[])?;
    let credentials = Credentials {
        id: fields.optional_value("ID", Value::personal)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(credentials)
}

fn user_password(place: &Place<'_>) -> Result<UserPassword, DocumentError> {
    let mut fields = Fields::of(place, &[])?;
    let parameters = UserPassword {
        user_name: fields.value("user-name", Value::personal)?,
        password: fields.value("password", Value::secret)?,
    };
    fields.end()?;
    Ok(parameters)
}
