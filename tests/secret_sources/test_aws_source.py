"""AWS's two places for secrets, through boto3, against moto's server with its permission checks on."""

import json
import urllib.request

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import ValidationError

from deployguard.errors import Refused
from deployguard.secret_sources.aws import Aws

VALUE = "the-value-that-nobody-may-see"


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def account(server, tmp_path, monkeypatch):
    """An empty account; calls are made with the root's keys until `as_user`."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    call(server, "reset")
    yield boto3.session.Session
    check_permissions(server, on=False)


def call(server, action, data=b""):
    request = urllib.request.Request(f"{server}/moto-api/{action}", data=data, headers={"Content-Type": "text/plain"})
    urllib.request.urlopen(request, timeout=5).close()


def check_permissions(server, *, on):
    call(server, "reset-auth", b"0" if on else b"inf")


@pytest.fixture
def as_user(account, server, monkeypatch):
    """Go on as the IAM user `deploy`, who may do these actions."""

    def become(*actions):
        iam = account().client("iam")
        iam.create_user(UserName="deploy")
        statement = {"Effect": "Allow", "Action": ["sts:GetCallerIdentity", *actions], "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="deploy", PolicyName="p", PolicyDocument=document)
        key = iam.create_access_key(UserName="deploy")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        check_permissions(server, on=True)

    return become


@pytest.fixture
def secret(account):
    def create(**value):
        return account().client("secretsmanager").create_secret(Name="app/key", **value)["VersionId"]

    return create


def refusal(source, base):
    with pytest.raises(Refused) as caught:
        source.fetch("field_key", base=base)
    assert VALUE not in caught.value.message + caught.value.hint
    return f"{caught.value.message}\n{caught.value.hint}"


def test_a_secret_is_read_with_the_permission_that_the_hint_names(secret, as_user, tmp_path):
    version = secret(SecretString=VALUE)
    as_user("secretsmanager:GetSecretValue")

    assert Aws(secret="app/key").fetch("k", base=tmp_path).reveal() == VALUE
    assert Aws(secret="app/key").version("k", base=tmp_path) == version


def test_a_field_or_bytes_can_be_the_secret(account, secret, tmp_path):
    secret(SecretString=json.dumps({"user": "app", "key": VALUE}))
    account().client("secretsmanager").create_secret(Name="bytes", SecretBinary=VALUE.encode())

    assert Aws(secret="app/key", field="key").fetch("k", base=tmp_path).reveal() == VALUE
    assert Aws(secret="bytes").fetch("k", base=tmp_path).reveal() == VALUE


def test_a_parameter_is_decrypted_with_the_permission_that_the_hint_names(account, as_user, tmp_path):
    account().client("ssm").put_parameter(Name="/app/key", Value="old", Type="SecureString")
    account().client("ssm").put_parameter(Name="/app/key", Value=VALUE, Type="SecureString", Overwrite=True)
    as_user("ssm:GetParameter")

    assert Aws(parameter="/app/key").fetch("k", base=tmp_path).reveal() == VALUE
    assert Aws(parameter="/app/key").version("k", base=tmp_path) == "2"


@pytest.mark.parametrize(
    ("source", "action"),
    [
        (Aws(secret="app/key"), "secretsmanager:GetSecretValue"),
        (Aws(parameter="/app/key"), "ssm:GetParameter"),
    ],
)
def test_a_missing_permission_is_named_with_who_lacks_it(secret, as_user, tmp_path, source, action):
    secret(SecretString=VALUE)
    as_user()

    said = refusal(source, tmp_path)

    assert f":user/deploy was refused {action} (" in said
    assert f"Allow {action} on " in said


def test_keys_that_aws_does_not_know_are_told(secret, server, monkeypatch, tmp_path):
    secret(SecretString=VALUE)
    check_permissions(server, on=True)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0000000000000000")

    assert "the credentials found by 'env' was refused" in refusal(Aws(secret="app/key"), tmp_path)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (Aws(secret="none"), "ResourceNotFoundException"),
        (Aws(parameter="/none"), "ParameterNotFound"),
        (Aws(secret="app/key", region="us-east-1"), "ResourceNotFoundException"),
    ],
)
def test_what_is_not_there_is_named_with_who_asked(secret, tmp_path, source, code):
    secret(SecretString=VALUE)

    said = refusal(source, tmp_path)

    assert "is not there for arn:aws:" in said
    assert code in said


def test_a_secret_marked_for_deletion_is_not_there(account, secret, tmp_path):
    secret(SecretString=VALUE)
    account().client("secretsmanager").delete_secret(SecretId="app/key")

    assert "is not there for arn:aws:" in refusal(Aws(secret="app/key"), tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("AWS_DEFAULT_REGION", None, "NoRegionError"),
        ("AWS_ACCESS_KEY_ID", None, "NoCredentialsError"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", "EndpointConnectionError"),
        ("AWS_PROFILE", "none", "ProfileNotFound"),
    ],
)
def test_a_machine_that_is_not_set_up_is_told(secret, monkeypatch, tmp_path, name, value, error):
    monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)

    assert f"cannot be asked: {error}" in refusal(Aws(secret="app/key"), tmp_path)


@pytest.mark.parametrize("given", [{}, {"secret": "a", "parameter": "b"}])
def test_it_is_one_of_the_two_services(given):
    with pytest.raises(ValidationError, match="give either secret: or parameter:"):
        Aws(**given)
