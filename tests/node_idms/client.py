"""A client of two identity management servers that this project did not write: Authlib, PyJWT, requests.

It logs a user in at home (authorization code with PKCE), checks the ID token with the keys that discovery names,
refreshes, exchanges the access token for a security token, presents that at the partner (twice: an answer may get lost),
and checks the partner's tokens with the partner's keys.

    client.py HOME PARTNER CLIENT_ID USER PASSWORD
"""

import html.parser
import sys
from urllib.parse import parse_qs, urlsplit

import jwt
import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

REDIRECT = "http://127.0.0.1:4711/back"
SCOPE = "openid 3gpp:mc:ptt_service 3gpp:mc:ptt_config_management_service"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class LogInPage(html.parser.HTMLParser):
    """The form of the page to log in."""

    def __init__(self):
        super().__init__()
        self.action, self.fields = None, {}

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            assert attrs["method"] == "post"
            self.action = attrs["action"]
        elif tag == "input":
            self.fields[attrs["name"]] = attrs.get("value", "")


def discover(issuer):
    """What the server says of itself."""
    found = requests.get(issuer + "/.well-known/openid-configuration", timeout=10).json()
    assert found["issuer"] == issuer, found
    return found


def verified(token, server, audience):
    """The claims of a token, if its server's keys verify it."""
    key = jwt.PyJWKClient(server["jwks_uri"]).get_signing_key_from_jwt(token)
    return jwt.decode(token, key.key, algorithms=["ES256"], audience=audience, issuer=server["issuer"])


def log_in(session, server, user, password):
    """Logs a user in as a browser does, and returns the tokens."""
    verifier, nonce = generate_token(48), generate_token(20)
    url, _ = session.create_authorization_url(
        server["authorization_endpoint"], code_verifier=verifier, nonce=nonce, acr_values="3gpp:acr:password"
    )
    browser = requests.Session()
    shown = browser.get(url, timeout=10)
    assert shown.status_code == 200, shown.text
    page = LogInPage()
    page.feed(shown.text)
    page.fields.update(user=user, password=password)
    action = requests.compat.urljoin(shown.url, page.action)
    answer = browser.post(action, data=page.fields, allow_redirects=False, timeout=30)
    assert answer.status_code == 303, (answer.status_code, answer.text)
    back = answer.headers["Location"]
    assert back.startswith(REDIRECT), back
    assert parse_qs(urlsplit(back).query)["iss"] == [server["issuer"]]
    tokens = session.fetch_token(
        server["token_endpoint"], authorization_response=back, code_verifier=verifier
    )
    claims = verified(tokens["id_token"], server, session.client_id)
    assert claims["nonce"] == nonce and claims["acr"] == "3gpp:acr:password", claims
    return tokens


def main(home, partner, client_id, user, password):
    home, partner = discover(home), discover(partner)
    session = OAuth2Session(
        client_id, scope=SCOPE, redirect_uri=REDIRECT, token_endpoint_auth_method="none",
        code_challenge_method="S256",
    )
    tokens = log_in(session, home, user, password)
    old = tokens["refresh_token"]
    tokens = session.refresh_token(home["token_endpoint"], refresh_token=old)
    assert tokens["refresh_token"] != old

    exchanged = requests.post(home["token_endpoint"], timeout=10, data={
        "grant_type": EXCHANGE,
        "client_id": client_id,
        "resource": partner["issuer"],
        "subject_token": tokens["access_token"],
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    })
    assert exchanged.status_code == 200, exchanged.text
    exchanged = exchanged.json()
    assert exchanged["issued_token_type"] == "urn:ietf:params:oauth:token-type:jwt", exchanged
    says = verified(exchanged["access_token"], home, partner["issuer"])
    assert client_id in says["aud"], says

    for _ in range(2):
        visiting = OAuth2Session(client_id, token_endpoint_auth_method="none")
        tokens = visiting.fetch_token(
            partner["token_endpoint"], grant_type=ASSERTION, assertion=exchanged["access_token"], scope=SCOPE,
        )
        claims = verified(tokens["access_token"], partner, "sip:b.example")
        assert verified(tokens["id_token"], partner, client_id)["sub"] == claims["sub"]
    print(claims["mcptt_id"])


if __name__ == "__main__":
    main(*sys.argv[1:])
