"""Kubernetes: a mounted volume as the kubelet lays it out, and the API through its own client library,
against a local server that speaks the published REST shapes (kubernetes.io, "Kubernetes API": Secret,
SelfSubjectReview, Status).
"""

import base64
import json
import os

import pytest
from published_apis import Answer, Cloud
from pydantic import ValidationError

from deployguard.errors import Refused
from deployguard.secret_sources.kubernetes import Kubernetes

VALUE = "the-value-that-nobody-may-see"
WHO = "system:serviceaccount:shop:deploy"
SECRET = ("GET", "localhost/api/v1/namespaces/shop/secrets/field-key")
SOURCE = Kubernetes(secret="field-key", namespace="shop", key="primary")


def refusal(source, base):
    with pytest.raises(Refused) as caught:
        source.fetch("field_key", base=base)
    assert VALUE not in caught.value.message + caught.value.hint
    return f"{caught.value.message}\n{caught.value.hint}"


@pytest.fixture
def volume(tmp_path):
    """A secret's volume; call it for each state that the secret is to have."""
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "primary").symlink_to("..data/primary")

    def turn(state, value=VALUE):
        (folder / state).mkdir()
        (folder / state / "primary").write_text(value)
        (folder / "..data_tmp").symlink_to(state)
        (folder / "..data_tmp").rename(folder / "..data")
        return folder

    return turn


def test_a_mounted_key_follows_the_kubelets_turns(volume, tmp_path):
    source = Kubernetes(mount=str(volume("..2026_01_01")), key="primary")
    assert source.fetch("k", base=tmp_path).reveal() == VALUE
    assert source.version("k", base=tmp_path) == "..2026_01_01"

    volume("..2026_01_02", "another value")
    assert source.fetch("k", base=tmp_path).reveal() == "another value"
    assert source.version("k", base=tmp_path) == "..2026_01_02"


def test_a_single_file_mounted_by_sub_path_is_read(tmp_path):
    (tmp_path / "primary").write_text(VALUE)

    assert Kubernetes(mount=".", key="primary").fetch("k", base=tmp_path).reveal() == VALUE


def lead_away(folder):
    (folder / "..data").unlink()
    (folder.parent / "elsewhere").mkdir()
    (folder.parent / "elsewhere" / "primary").write_text(VALUE)
    (folder / "..data").symlink_to("../elsewhere")


def link_key(folder):
    (folder / "..data" / "primary").rename(folder.parent / "planted")
    (folder / "..data" / "primary").symlink_to(folder.parent / "planted")


def pipe(folder):
    (folder / "..data" / "primary").unlink()
    os.mkfifo(folder / "..data" / "primary")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lead_away, "its ..data leads elsewhere"),
        (link_key, "cannot be opened by user"),
        (pipe, "is not a regular file"),
        (lambda f: (f / "..data" / "primary").chmod(0o666), "that only its owner may write"),
        (lambda f: (f / "..data" / "primary").unlink(), "No such file"),
        (lambda f: (f / "..data" / "primary").write_text(""), "is empty"),
    ],
)
def test_a_volume_that_the_kubelet_did_not_write_is_refused(volume, tmp_path, spoil, message):
    folder = volume("..2026_01_01")
    spoil(folder)

    assert message in refusal(Kubernetes(mount=str(folder), key="primary"), tmp_path)


def test_a_key_is_no_path(volume, tmp_path):
    folder = volume("..2026_01_01")
    (tmp_path / "outside").write_text(VALUE)

    assert "is not a regular file" in refusal(Kubernetes(mount=str(folder), key="../../outside"), tmp_path)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster with one secret, and a kubeconfig whose token it knows."""
    with Cloud(tmp_path, ["localhost"]).running() as cluster:

        def known(answer):
            denied = status(401, "Unauthorized")
            return lambda r: answer if r.headers.get("authorization") == "Bearer cluster-token" else denied

        cluster.say = lambda answer: cluster.routes.__setitem__(SECRET, known(answer))
        data = {"primary": base64.b64encode(VALUE.encode()).decode(), "broken": "%%%"}
        meta = {"name": "field-key", "namespace": "shop", "resourceVersion": "4711"}
        cluster.say(Answer(200, {"kind": "Secret", "apiVersion": "v1", "metadata": meta, "data": data}))
        review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}}
        me = Answer(201, {**review, "status": {"userInfo": {"username": WHO}}})
        cluster.routes["POST", "localhost/apis/authentication.k8s.io/v1/selfsubjectreviews"] = known(me)
        write_kubeconfig(tmp_path / "config", cluster, "cluster-token")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield cluster


def write_kubeconfig(file, cluster, token):
    server = {"server": f"https://localhost:{cluster.port}", "certificate-authority": str(cluster.authority)}
    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": server}], "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip


def status(code, reason):
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": VALUE}
    return Answer(code, said)


def test_the_api_gives_a_key(cluster, tmp_path):
    assert SOURCE.fetch("k", base=tmp_path).reveal() == VALUE
    assert SOURCE.version("k", base=tmp_path) == "4711"
    assert SOURCE.describe() == "Kubernetes secret shop/field-key key primary"


def test_a_missing_permission_is_named_with_who_lacks_it(cluster, tmp_path):
    cluster.say(status(403, "Forbidden"))

    said = refusal(SOURCE, tmp_path)

    assert f"{WHO} may not read it (status 403)" in said
    assert "verbs [get] on resources [secrets], resourceNames [field-key]" in said


def test_a_secret_that_is_not_there_is_named_with_who_asked(cluster, tmp_path):
    cluster.say(status(404, "NotFound"))

    assert f"is not there for {WHO}" in refusal(SOURCE, tmp_path)


@pytest.mark.parametrize("key", ["none", "broken"])
def test_a_key_that_is_not_there_is_named(cluster, tmp_path, key):
    source = Kubernetes(secret="field-key", namespace="shop", key=key)

    assert f"key {key} (secret field_key) has no such key" in refusal(source, tmp_path)


def test_a_token_that_is_not_accepted_is_told(cluster, tmp_path):
    write_kubeconfig(tmp_path / "config", cluster, "an-old-token")

    assert "the credentials are not accepted" in refusal(SOURCE, tmp_path)


def test_a_machine_without_a_kubeconfig_is_told(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    assert "no usable kubeconfig" in refusal(SOURCE, tmp_path)


def test_a_server_of_another_authority_is_not_asked(cluster, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Cloud(tmp_path / "other", ["localhost"])
    with stranger.running():
        stranger.authority = cluster.authority
        write_kubeconfig(tmp_path / "config", stranger, "cluster-token")

        assert "cannot be asked: MaxRetryError" in refusal(SOURCE, tmp_path)
    assert not stranger.seen


@pytest.mark.parametrize("given", [{}, {"mount": "/a", "secret": "b"}])
def test_it_is_either_mounted_or_asked_for(given):
    with pytest.raises(ValidationError, match="give either mount: or secret:"):
        Kubernetes(key="k", **given)
