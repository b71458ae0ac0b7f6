"""Google's Secret Manager, through Google's libraries, against a local server that speaks the published REST shapes.

Shapes: cloud.google.com, "Method: projects.secrets.versions.access"; google.aip.dev/193 for errors;
developers.google.com, "Using OAuth 2.0 for Server to Server Applications" for the login.
"""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from published_apis import Answer, Cloud

from deployguard.errors import Refused
from deployguard.secret_sources.gcp import Gcp

VALUE = "the-value-that-nobody-may-see"
LOGIN, MANAGER = "oauth2.googleapis.com", "secretmanager.googleapis.com"
WHO = "deploy@shop.iam.gserviceaccount.com"
ACCESS = ("GET", f"{MANAGER}/v1/projects/shop/secrets/field-key/versions/latest:access")
SOURCE = Gcp(project="shop", secret="field-key")


def version(value):
    payload = {"data": base64.b64encode(value).decode()}
    return Answer(200, {"name": "projects/123/secrets/field-key/versions/7", "payload": payload})


def failure(code, status):
    return Answer(code, {"error": {"code": code, "status": status, "message": f"no: {VALUE}"}})


@pytest.fixture(scope="module")
def private_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()


@pytest.fixture
def cloud(tmp_path, monkeypatch, private_key):
    """A service account whose key file is named here, and a manager that has version 7 of one secret."""
    with Cloud(tmp_path, [LOGIN, MANAGER]).running() as cloud:
        key_file = tmp_path / "key.json"
        key_file.write_text(json.dumps({
            "type": "service_account", "project_id": "shop", "private_key_id": "1", "private_key": private_key,
            "client_email": WHO, "client_id": "1", "token_uri": f"https://{LOGIN}/token",
        }))  # fmt: skip
        cloud.routes["POST", f"{LOGIN}/token"] = Answer(
            200, {"access_token": "ya29.token", "expires_in": 3599, "token_type": "Bearer"}
        )
        cloud.routes[ACCESS] = version(VALUE.encode())
        for name, value in {
            "GOOGLE_APPLICATION_CREDENTIALS": str(key_file), "HTTPS_PROXY": f"http://127.0.0.1:{cloud.port}",
            "https_proxy": f"http://127.0.0.1:{cloud.port}", "REQUESTS_CA_BUNDLE": str(cloud.authority),
            "NO_PROXY": "", "no_proxy": "", "HOME": str(tmp_path), "NO_GCE_CHECK": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield cloud


def refusal(base):
    with pytest.raises(Refused) as caught:
        SOURCE.fetch("field_key", base=base)
    assert VALUE not in caught.value.message + caught.value.hint
    return f"{caught.value.message}\n{caught.value.hint}"


def test_the_newest_version_is_given(cloud, tmp_path):
    assert SOURCE.fetch("k", base=tmp_path).reveal() == VALUE
    assert SOURCE.version("k", base=tmp_path) == "7"


def test_a_field_can_be_picked(cloud, tmp_path):
    cloud.routes[ACCESS] = version(json.dumps({"key": VALUE}).encode())

    assert Gcp(project="shop", secret="field-key", field="key").fetch("k", base=tmp_path).reveal() == VALUE


def test_bytes_that_are_not_text_are_refused(cloud, tmp_path):
    cloud.routes[ACCESS] = version(b"\xff" + VALUE.encode())

    assert "is not text" in refusal(tmp_path)


def test_a_missing_permission_is_named_with_who_lacks_it(cloud, tmp_path):
    cloud.routes[ACCESS] = failure(403, "PERMISSION_DENIED")

    said = refusal(tmp_path)

    assert f"{WHO} may not read its newest version" in said
    assert "secretmanager.versions.access" in said


def test_a_disabled_version_is_told_from_a_missing_permission(cloud, tmp_path):
    cloud.routes[ACCESS] = failure(400, "FAILED_PRECONDITION")

    assert f"its newest version cannot be read by {WHO}, nor by anybody" in refusal(tmp_path)


def test_a_secret_that_is_not_there_is_named_with_who_asked(cloud, tmp_path):
    cloud.routes[ACCESS] = failure(404, "NOT_FOUND")

    assert f"Secret Manager shop/field-key (secret field_key) is not there for {WHO}" in refusal(tmp_path)


def test_an_account_that_is_refused_is_named(cloud, tmp_path):
    cloud.routes[ACCESS] = failure(401, "UNAUTHENTICATED")

    assert f"{WHO}: not accepted (Unauthorized)" in refusal(tmp_path)


def test_a_person_whose_login_has_run_out_is_told(cloud, tmp_path):
    user = {"type": "authorized_user", "client_id": "1", "client_secret": "2", "refresh_token": "3"}
    (tmp_path / "key.json").write_text(json.dumps(user))
    cloud.routes["POST", f"{LOGIN}/token"] = Answer(400, {"error": "invalid_grant", "error_description": "no"})

    assert "the user's own credentials: not accepted (RefreshError)" in refusal(tmp_path)


def test_a_machine_without_credentials_is_told(cloud, tmp_path, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")

    assert "the credentials found here: not accepted (DefaultCredentialsError)" in refusal(tmp_path)


def test_a_server_of_another_authority_is_not_asked(cloud, tmp_path, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")

    refusal(tmp_path)
    assert not cloud.seen
