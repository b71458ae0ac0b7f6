"""`tls.expiry`: certificates are judged as a browser would, on a real TLS server."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from checking import context
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from deployguard.errors import Refused
from deployguard.steps.tls_expiry import TlsExpiry


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder):
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        own = self._builder(self.name, self.key, 3650).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        signed = own.add_extension(usage, critical=True).sign(self.key, hashes.SHA256())
        (folder / "ca.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _builder(self, name, key, days):
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400)).not_valid_after(now + timedelta(days=days))
        )  # fmt: skip

    def issue(self, days, names=("localhost",)):
        """A server's context with a certificate that is good for so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        known = [x509.DNSName(n) if n[0].isalpha() else x509.IPAddress(ip_address(n)) for n in names]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = self._builder(subject, key, days).add_extension(x509.SubjectAlternativeName(known), critical=False)
        path = self.folder / f"server{days}-{names[0]}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        served.load_cert_chain(path)
        return served


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def serve():
    """A server that shakes hands and closes; without a context it only closes. Returns its port."""
    listeners = []

    def answer(listener, served):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                if served is None:
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                else:
                    served.wrap_socket(connection, server_side=True).close()

    def serve(served):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        thread = threading.Thread(target=answer, args=[listener, served], daemon=True)
        thread.start()
        return listener.getsockname()[1]

    yield serve
    for listener in listeners:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def check(folder, *urls, **settings):
    return TlsExpiry(urls=urls, **{"ca": "ca.pem", **settings}).execute(context(folder))


def test_a_good_certificate_passes_with_the_days_it_has(tmp_path, authority, serve):
    port = serve(authority.issue(90, ("127.0.0.1",)))

    outcome = check(tmp_path, f"https://127.0.0.1:{port}/health", f"127.0.0.1:{port}")

    assert outcome.status == "pass"
    assert outcome.evidence["days"] == {f"127.0.0.1:{port}": pytest.approx(90, abs=0.2)}


def test_a_certificate_that_ends_soon_is_a_fault(tmp_path, authority, serve):
    port = serve(authority.issue(5, ("127.0.0.1",)))

    outcome = check(tmp_path, f"127.0.0.1:{port}")

    assert outcome.status == "fail"
    assert re.search(rf"^127\.0\.0\.1:{port}: the certificate is good for [45] days", outcome.summary)
    assert "Renew it" in outcome.hint
    assert check(tmp_path, f"127.0.0.1:{port}", at_least="2d").status == "pass"


WRONG = {
    "expired": (-3, ("127.0.0.1",), "certificate has expired"),
    "of another name": (90, ("example.org",), "IP address mismatch"),
}


@pytest.mark.parametrize(("days", "names", "what"), WRONG.values(), ids=WRONG)
def test_a_certificate_that_a_browser_would_not_take_is_a_fault(tmp_path, authority, serve, days, names, what):
    outcome = check(tmp_path, f"127.0.0.1:{serve(authority.issue(days, names))}")

    assert outcome.status == "fail"
    assert what in outcome.summary


def test_an_authority_that_nobody_knows_is_a_fault(tmp_path, authority, serve):
    outcome = check(tmp_path, f"127.0.0.1:{serve(authority.issue(90, ('127.0.0.1',)))}", ca="")

    assert outcome.status == "fail"
    assert "unable to get local issuer certificate" in outcome.summary


def test_a_server_without_tls_is_a_fault(tmp_path, authority, serve):
    assert "does not speak TLS" in check(tmp_path, f"127.0.0.1:{serve(None)}").summary


def test_a_port_that_is_closed_is_a_fault(tmp_path, authority):
    with socket.socket() as ours:  # bound, so that nobody else opens the port meanwhile, and not listening
        ours.bind(("127.0.0.1", 0))

        outcome = check(tmp_path, f"127.0.0.1:{ours.getsockname()[1]}")

    assert "does not answer: Connection refused" in outcome.summary


def test_a_server_that_says_nothing_is_given_up(tmp_path, authority):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outcome = check(tmp_path, f"127.0.0.1:{listener.getsockname()[1]}", timeout="300ms")

    assert "does not answer: timed out" in outcome.summary


def test_a_name_without_an_address_is_a_fault(tmp_path, authority):
    outcome = check(tmp_path, "https://nowhere.invalid/")

    assert outcome.summary == "the name nowhere.invalid has no address"


def test_every_address_of_a_name_is_asked(tmp_path, authority, serve, monkeypatch):
    port = serve(authority.issue(90))
    resolve = socket.getaddrinfo

    def two(host, *more, **named):
        if host != "localhost":
            return resolve(host, *more, **named)
        return [*resolve("127.0.0.1", *more, **named), *resolve("127.0.0.9", *more, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", two)

    outcome = check(tmp_path, f"localhost:{port}")

    assert f"localhost:{port} (127.0.0.1)" in outcome.evidence["days"]
    assert f"localhost:{port} (127.0.0.9) does not answer" in outcome.summary


def test_a_file_of_authorities_that_is_none_is_refused(tmp_path, authority):
    (tmp_path / "empty").write_text("")

    for ca in ("empty", "absent"):
        with pytest.raises(Refused, match="cannot be used"):
            check(tmp_path, "localhost:1", ca=ca)


RUNBOOK = """
version: 1
name: watched
environments: {{ production: {{}} }}
vars: {{ host: "127.0.0.1:{port}", other: "" }}
preflight:
  - uses: tls.expiry
    with: {{ ca: ca.pem }}
steps:
  - id: before
    uses: http.baseline
    with: {{ url: "https://${{{{ vars.host }}}}/" }}
  - id: left-out
    uses: http
    if: vars.other
    with: {{ url: "${{{{ vars.other }}}}" }}
  - id: not-here
    uses: http
    if: environment.name == 'staging'
    with: {{ url: "https://staging.invalid/" }}
  - id: monitor
    uses: monitor
    with:
      for: 1h
      conditions:
        - http: {{ url: "https://127.0.0.1:{port}/health", p95: "< 2 * ${{{{ steps.before.outputs.p95 }}}}" }}
        - http: {{ url: "https://nowhere.invalid/" }}
        - http: {{ url: "https://late/${{{{ steps.before.outputs.p95 }}}}" }}
        - metric: {{ prometheus: "http://127.0.0.1:9090", query: up, expect: 1 }}
        - metric: {{ prometheus: "http://prometheus.invalid", query: up, expect: 1 }}
"""


def test_by_default_the_pages_that_the_runbook_watches_are_looked_at(tmp_path, authority, serve):
    port = serve(authority.issue(90, ("127.0.0.1",)))
    (tmp_path / "runbook.yaml").write_text(RUNBOOK.format(port=port))

    done = subprocess.run(
        [sys.executable, "-m", "deployguard", "preflight", "--env", "production", "--json"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = next(each for each in json.loads(done.stdout)["checks"] if each["uses"] == "tls.expiry")

    assert said["status"] == "fail"
    assert said["summary"] == ("the name nowhere.invalid has no address; the name prometheus.invalid has no address")
    assert list(said["evidence"]["days"]) == [f"127.0.0.1:{port}"]
    assert said["evidence"]["plain"] == ["127.0.0.1:9090"]


def test_a_runbook_that_watches_no_page_has_nothing_to_check_and_that_is_no_pass(tmp_path):
    with pytest.raises(Refused, match="ask no page"):
        TlsExpiry().execute(context(tmp_path))


@pytest.mark.parametrize(
    "urls", [[], ["http://example.org"], ["https://"], ["example.org:port"], [":443"], ["https://a:0"]]
)
def test_urls_that_have_no_certificate_are_refused(urls):
    with pytest.raises(ValidationError):
        TlsExpiry(urls=urls)
