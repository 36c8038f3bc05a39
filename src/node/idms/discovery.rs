//! What clients are told of the interface (OpenID Connect Discovery clause 3, RFC 8414).

use serde_json::{Value, json};

use crate::{
    api::identity_management::{AUTHORIZATION_PATH, IssuerUrl, KEYS_PATH, TOKEN_PATH},
    token::{jws::Algorithm, scope::Scopes},
};

/// The document of the server at `issuer`.
pub(super) fn document(issuer: &IssuerUrl) -> Value {
    let signing = [Algorithm::Es256.as_str()];
    let accepted: Vec<&str> = Algorithm::ACCEPTED.iter().map(|one| one.as_str()).collect();
    json!({
        "issuer": issuer,
        "authorization_endpoint": issuer.endpoint(AUTHORIZATION_PATH),
        "token_endpoint": issuer.endpoint(TOKEN_PATH),
        "jwks_uri": issuer.endpoint(KEYS_PATH),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": super::token::GRANT_TYPES,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": signing,
        "scopes_supported": Scopes::ALL.names().collect::<Vec<_>>(),
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "nonce", "acr", "mcptt_id", "mcvideo_id", "mcdata_id",
        ],
        "acr_values_supported": ["3gpp:acr:password"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported":
            ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": accepted,
        "dpop_signing_alg_values_supported": accepted,
        "authorization_response_iss_parameter_supported": true,
    })
}
