"""Azure Key Vault, through Azure's libraries, against a local server that speaks the published REST shapes.

Shapes: learn.microsoft.com, "Get Secret - REST API (Azure Key Vault)", "Microsoft identity platform and the
OAuth 2.0 client credentials flow", "Key Vault authentication, requests and responses".
"""

import pytest
from published_apis import Answer, Cloud, web_token
from pydantic import ValidationError

from deployguard.errors import Refused
from deployguard.secret_sources.azure import Azure

VALUE = "the-value-that-nobody-may-see"
TENANT, CLIENT = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
LOGIN, VAULT = "login.microsoftonline.com", "team-keys.vault.azure.net"
TOKEN = web_token(appid=CLIENT, oid="an-object-id")
SECRET = ("GET", f"{VAULT}/secrets/field-key/")
SOURCE = Azure(vault="team-keys", secret="field-key")


def failure(status, code, inner=None):
    error = {"code": code, "message": f"no: {VALUE}", **({"innererror": {"code": inner}} if inner else {})}
    return Answer(status, {"error": error})


def challenge(request):
    return Answer(
        401,
        {"error": {"code": "Unauthorized", "message": "AKV10000: Request is missing a Bearer or PoP token."}},
        {"WWW-Authenticate": f'Bearer authorization="https://{LOGIN}/{TENANT}", resource="https://vault.azure.net"'},
    )


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """A tenant with one application, whose credentials are set here, and an empty vault."""
    with Cloud(tmp_path, [LOGIN, VAULT]).running() as cloud:
        authority = f"https://{LOGIN}/{TENANT}"
        cloud.routes["GET", f"{LOGIN}/{TENANT}/v2.0/.well-known/openid-configuration"] = Answer(
            200,
            {
                "token_endpoint": f"{authority}/oauth2/v2.0/token",
                "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
                "issuer": f"{authority}/v2.0",
            },
        )
        cloud.routes["POST", f"{LOGIN}/{TENANT}/oauth2/v2.0/token"] = Answer(
            200, {"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN}
        )
        for name, value in {
            "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": "app-password",
            "HTTPS_PROXY": f"http://127.0.0.1:{cloud.port}", "REQUESTS_CA_BUNDLE": str(cloud.authority),
            "NO_PROXY": "", "no_proxy": "", "https_proxy": f"http://127.0.0.1:{cloud.port}", "PATH": "",
            "HOME": str(tmp_path),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield cloud


@pytest.fixture
def vault(cloud):
    """Say what the vault answers to those who have the application's token."""

    def say(answer):
        cloud.routes[SECRET] = lambda r: answer if r.headers.get("authorization") == f"Bearer {TOKEN}" else challenge(r)

    say(Answer(200, {"value": VALUE, "id": f"https://{VAULT}/secrets/field-key/abc123", "attributes": {}}))
    return say


def refusal(base):
    with pytest.raises(Refused) as caught:
        SOURCE.fetch("field_key", base=base)
    assert VALUE not in caught.value.message + caught.value.hint
    return f"{caught.value.message}\n{caught.value.hint}"


def test_the_newest_version_is_given_to_the_application(vault, tmp_path):
    assert SOURCE.fetch("k", base=tmp_path).reveal() == VALUE
    assert SOURCE.version("k", base=tmp_path) == "abc123"


def test_a_field_can_be_picked(vault, tmp_path):
    vault(Answer(200, {"value": f'{{"key": "{VALUE}"}}', "id": f"https://{VAULT}/secrets/field-key/1"}))

    assert Azure(vault=f"https://{VAULT}", secret="field-key", field="key").fetch("k", base=tmp_path).reveal() == VALUE


def test_a_missing_permission_is_named_with_who_lacks_it(vault, tmp_path):
    vault(failure(403, "Forbidden", "ForbiddenByRbac"))

    said = refusal(tmp_path)

    assert f"the identity {CLIENT} may not read it (ForbiddenByRbac)" in said
    assert "Microsoft.KeyVault/vaults/secrets/getSecret/action" in said


def test_a_secret_that_is_not_there_is_named_with_who_asked(vault, tmp_path):
    vault(failure(404, "SecretNotFound"))

    assert f"team-keys secret field-key (secret field_key) is not there for the identity {CLIENT}" in refusal(tmp_path)


def test_a_login_that_is_refused_is_told(cloud, vault, tmp_path):
    denied = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
    cloud.routes["POST", f"{LOGIN}/{TENANT}/oauth2/v2.0/token"] = Answer(401, denied)

    assert "no credential that was found here is accepted" in refusal(tmp_path)


def test_a_server_of_another_authority_is_not_asked(vault, monkeypatch, tmp_path):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")

    refusal(tmp_path)


@pytest.mark.parametrize("vault_name", ["http://team-keys.vault.azure.net", "team keys", ""])
def test_a_vault_is_a_name_or_an_https_address(vault_name):
    with pytest.raises(ValidationError):
        Azure(vault=vault_name, secret="x")
