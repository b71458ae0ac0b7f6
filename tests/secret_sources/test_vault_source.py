"""Vault's key-value engines, through hvac, against a real OpenBao server over TLS."""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import hvac
import pytest
from published_apis import Answer, Cloud, web_token
from servers import free_port

from deployguard.errors import Refused
from deployguard.secret_sources.vault import Vault

VALUE = "the-value-that-nobody-may-see"
ROOT = "root-token-of-the-tests"
ACCOUNT = {
    "iss": "https://kubernetes.default.svc",
    "sub": "system:serviceaccount:shop:deploy",
    "iat": 1_700_000_000,
    "nbf": 1_700_000_000,
    "exp": 4_000_000_000,
    "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "deploy", "uid": "7"}},
}


def wait_until_up(address, folder, server):
    """The file of its authority, once it answers under it."""
    for _ in range(300):
        if server.poll() is not None:
            break
        for authority in folder.glob("*ca.pem"):
            with suppress(OSError):
                context = ssl.create_default_context(cafile=authority)
                with urllib.request.urlopen(f"{address}/v1/sys/health", context=context, timeout=1):
                    return authority
        time.sleep(0.1)
    raise AssertionError((folder / "log").read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address of an OpenBao server, and the file of its authority."""
    folder = tmp_path_factory.mktemp("bao")
    address = f"https://127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("bao"), "server", "-dev-tls", f"-dev-tls-cert-dir={folder}",
             f"-dev-root-token-id={ROOT}", "-dev-no-store-token",
             f"-dev-listen-address={address.removeprefix('https://')}"],
            stdout=output, stderr=output, env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        )  # fmt: skip
    try:
        yield address, wait_until_up(address, folder, process)
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def root(server):
    address, authority = server
    client = hvac.Client(url=address, token=ROOT, verify=str(authority))
    client.sys.enable_secrets_engine("kv", path="old", options={"version": "1"})
    client.sys.create_or_update_policy(
        "reader", 'path "secret/data/app/*" { capabilities = ["read"] }\npath "old/app" { capabilities = ["read"] }'
    )
    client.secrets.kv.v2.create_or_update_secret("app/key", {"field_key": "an older value", "user": "app"})
    client.secrets.kv.v2.create_or_update_secret("app/key", {"field_key": VALUE, "user": "app"})
    client.secrets.kv.v2.create_or_update_secret("other", {"field_key": VALUE})
    client.secrets.kv.v2.create_or_update_secret("app/gone", {"field_key": VALUE})
    client.secrets.kv.v2.delete_latest_version_of_secret("app/gone")
    client.secrets.kv.v1.create_or_update_secret("app", {"field_key": VALUE}, mount_point="old")
    return client


@pytest.fixture
def vault(server, root, tmp_path, monkeypatch):
    """A source on that server, logged in with a token that may read `secret/app/*` and `old/app`."""
    for name in ("VAULT_NAMESPACE", "VAULT_SECRET_ID", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAULT_ADDR", server[0])
    monkeypatch.setenv("VAULT_CACERT", str(server[1]))
    token = root.auth.token.create(policies=["reader"], display_name="ci")["auth"]["client_token"]
    monkeypatch.setenv("VAULT_TOKEN", token)
    return lambda **given: Vault(**{"path": "app/key", "field": "field_key", **given})


def refusal(source, base):
    with pytest.raises(Refused) as caught:
        source.fetch("field_key", base=base)
    for hidden in (VALUE, ROOT, os.environ.get("VAULT_TOKEN", ROOT)):
        assert hidden not in caught.value.message + caught.value.hint
    assert caught.value.hint
    return f"{caught.value.message}\n{caught.value.hint}"


def test_the_newest_version_of_a_field_is_given(vault, tmp_path):
    assert vault().fetch("k", base=tmp_path).reveal() == VALUE
    assert vault().version("k", base=tmp_path) == "2"
    assert vault().describe() == "vault secret/app/key field field_key"


def test_version_1_of_the_engine_is_read(vault, tmp_path):
    assert vault(kv=1, mount="old", path="app").fetch("k", base=tmp_path).reveal() == VALUE


def test_the_token_that_vault_login_left_is_used(vault, tmp_path, monkeypatch):
    (tmp_path / ".vault-token").write_text(os.environ["VAULT_TOKEN"])
    (tmp_path / ".vault-token").chmod(0o600)
    monkeypatch.delenv("VAULT_TOKEN")

    assert vault().fetch("k", base=tmp_path).reveal() == VALUE

    (tmp_path / ".vault-token").chmod(0o644)
    assert "open to others" in refusal(vault(), tmp_path)


def test_a_missing_permission_is_named_with_who_lacks_it(vault, tmp_path):
    said = refusal(vault(path="other"), tmp_path)

    assert "the token token-ci with policies default, reader may not read secret/data/other" in said
    assert 'path "secret/data/other" { capabilities = ["read"] }' in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"path": "app/none"}, "there is nothing at secret/data/app/none"),
        ({"path": "app/gone"}, "there is nothing at secret/data/app/gone, or it was deleted"),
        ({"field": "none"}, "has no field none"),
        ({"address": "http://vault.example.org:8200"}, "vault.example.org is not https"),
        ({"address": "https://127.0.0.1:1"}, "cannot be asked: ConnectionError"),
    ],
)
def test_what_is_not_there_is_named(vault, tmp_path, given, message):
    assert message in refusal(vault(**given), tmp_path)


def test_where_a_token_was_looked_for_is_told(vault, tmp_path, monkeypatch):
    monkeypatch.delenv("VAULT_TOKEN")

    assert f"VAULT_TOKEN is not set and {tmp_path}/.vault-token is not there" in refusal(vault(), tmp_path)


def test_a_token_that_is_not_valid_is_told_from_a_missing_permission(vault, tmp_path, monkeypatch):
    monkeypatch.setenv("VAULT_TOKEN", "s.notAtoken")

    assert "the token is not valid there" in refusal(vault(), tmp_path)


def test_a_server_of_another_authority_is_not_asked(vault, tmp_path, monkeypatch):
    monkeypatch.delenv("VAULT_CACERT")

    assert "cannot be asked: SSLError" in refusal(vault(), tmp_path)


@pytest.fixture
def approle(root, vault, monkeypatch):
    if "approle/" not in root.sys.list_auth_methods()["data"]:
        root.sys.enable_auth_method("approle")
    root.auth.approle.create_or_update_approle("deploy", token_policies=["reader"])
    monkeypatch.delenv("VAULT_TOKEN")
    role = root.auth.approle.read_role_id("deploy")["data"]["role_id"]
    secret = root.auth.approle.generate_secret_id("deploy")["data"]["secret_id"]
    return lambda **given: (vault(auth="approle", role=role, **given), secret)


def test_an_approle_logs_in_and_its_token_is_given_back(approle, root, tmp_path, monkeypatch):
    source, secret = approle()
    monkeypatch.setenv("VAULT_SECRET_ID", secret)
    before = len(root.list("auth/token/accessors")["data"]["keys"])

    assert source.fetch("k", base=tmp_path).reveal() == VALUE
    assert len(root.list("auth/token/accessors")["data"]["keys"]) == before


def test_an_approles_secret_id_may_be_in_a_file(approle, tmp_path):
    source, secret = approle(secret_id_file="secret-id")
    (tmp_path / "secret-id").write_text(secret + "\n")
    (tmp_path / "secret-id").chmod(0o600)

    assert source.fetch("k", base=tmp_path).reveal() == VALUE


def test_an_approle_that_is_refused_is_named(approle, tmp_path, monkeypatch):
    source, secret = approle()
    assert "no secret id for the AppRole" in refusal(source, tmp_path)

    monkeypatch.setenv("VAULT_SECRET_ID", secret[:-1])
    assert f"the login as AppRole {source.role} at auth/approle was refused" in refusal(source, tmp_path)

    monkeypatch.setenv("VAULT_SECRET_ID", secret)
    lacking, _ = approle(path="other")
    assert f"the AppRole {source.role} may not read secret/data/other" in refusal(lacking, tmp_path)


@pytest.fixture
def pod(root, vault, tmp_path, monkeypatch):
    """A pod's token folder, and a cluster that vouches for that token to the server."""
    monkeypatch.delenv("VAULT_TOKEN")
    token = web_token(**ACCOUNT)
    state = tmp_path / "pod" / "..2026_01_01"
    state.mkdir(parents=True)
    (state / "token").write_text(token)
    (tmp_path / "pod" / "..data").symlink_to(state.name)
    with Cloud(tmp_path, ["localhost"]).running() as cluster:

        def review(request):
            asked = json.loads(request.body)
            account = {"username": "system:serviceaccount:shop:deploy", "uid": "7", "groups": []}
            good = asked["spec"]["token"] == token
            status = {"authenticated": good, **({"user": account} if good else {})}
            return Answer(201, {**asked, "status": status})

        cluster.routes["POST", "localhost/apis/authentication.k8s.io/v1/tokenreviews"] = review
        if "kubernetes/" not in root.sys.list_auth_methods()["data"]:
            root.sys.enable_auth_method("kubernetes")
        config = {
            "kubernetes_host": f"https://localhost:{cluster.port}",
            "kubernetes_ca_cert": cluster.authority.read_text(),
            "disable_local_ca_jwt": True,
        }
        root.write_data("auth/kubernetes/config", data=config)
        root.auth.kubernetes.create_role("deploy", ["deploy"], ["shop"], policies=["reader"])
        yield tmp_path / "pod"


def test_a_pods_service_account_logs_in(pod, vault, tmp_path):
    source = vault(auth="kubernetes", role="deploy", pod=str(pod))

    assert source.fetch("k", base=tmp_path).reveal() == VALUE


def test_a_pod_that_is_not_vouched_for_is_refused(pod, vault, tmp_path):
    (pod / "..data" / "token").write_text(web_token(**ACCOUNT, jti="another"))

    said = refusal(vault(auth="kubernetes", role="deploy", pod=str(pod)), tmp_path)

    assert "the login as Kubernetes role deploy at auth/kubernetes was refused" in said
