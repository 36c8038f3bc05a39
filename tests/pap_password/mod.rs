//! A secret in what administrators exchange: the PAP password of a data network.

use migcore::{
    secret::SecretText,
    ue_configuration::{DataNetwork, Document, Extension, PersonalText, UserPassword},
};

/// Adds a data network that UEs log in to with this password.
pub(crate) fn add_pap_password(document: &mut Document, password: &str) {
    document.on_network.extensions.push(Extension::DataNetwork(DataNetwork {
        dnn: "mc-services".to_owned(),
        aaa_server: None,
        credentials: None,
        pap: Some(UserPassword {
            user_name: PersonalText::new("engine"),
            password: SecretText::new(password),
        }),
        chap: None,
        extensions: Vec::new(),
    }));
}
