"""A local server for the REST calls that clouds have published, under the clouds' own host names.

It is an HTTPS proxy that answers itself: the client libraries reach it by HTTPS_PROXY, ask it to
connect to, say, login.microsoftonline.com:443, and do TLS with it under that name. So they run
unchanged, with their own addresses, certificate checks and login. What the server says is what the
services' references say, not what the services do: it knows only what a test told it.
"""

import base64
import datetime as dt
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Request(NamedTuple):
    method: str
    host: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    status: int
    data: object
    headers: dict[str, str] = {}  # noqa: RUF012 - never written to


Route = Callable[[Request], Answer]


class Cloud:
    """Address, authority and routes; every request is kept in `seen`."""

    def __init__(self, folder: Path, hosts: list[str]) -> None:
        self.authority, self._identity = folder / "ca.pem", folder / "server.pem"
        _make_certificate(hosts, self.authority, self._identity)
        self.routes: dict[tuple[str, str], Route | Answer] = {}
        self.seen: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_address[1]
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self._identity)

    def answer(self, request: Request) -> Answer:
        self.seen.append(request)
        route = self.routes.get((request.method, request.host + request.path.split("?")[0]))
        if route is None:
            return Answer(404, {"error": {"code": 404, "message": "no such route", "status": "NOT_FOUND"}})
        return route if isinstance(route, Answer) else route(request)

    @contextmanager
    def running(self) -> Iterator["Cloud"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def _handler(cloud: Cloud) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            self.close_connection = False  # http.client says HTTP/1.0 here
            self._talk_tls()

        def handle(self):
            # a client that knows the port speaks TLS at once: its first byte is a handshake record
            if self.connection.recv(1, 2) == b"\x16":  # MSG_PEEK
                self._talk_tls()
            super().handle()

        def _talk_tls(self):
            try:
                self.connection = cloud.tls.wrap_socket(self.connection, server_side=True)
            except (ssl.SSLError, OSError):
                self.close_connection = True
                return
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)

        def _answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {key.lower(): value for key, value in self.headers.items()}
            found = cloud.answer(Request(self.command, headers["host"].split(":")[0], self.path, headers, body))
            data = json.dumps(found.data).encode()
            self.send_response(found.status)
            for key, value in {"Content-Type": "application/json", **found.headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server's names

        def log_message(self, *words):
            pass

        def finish(self):
            super().finish()
            self.connection.close()

    return Handler


def web_token(**claims) -> str:
    """A JSON web token whose signature nobody here checks."""
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    return ".".join([*(_base64url(json.dumps(part).encode()) for part in parts), _base64url(b"signature")])


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _make_certificate(hosts: list[str], authority: Path, identity: Path) -> None:
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "deployguard tests")])
    now = dt.datetime.now(dt.UTC)

    def begun(subject, public):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    root = (
        begun(root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    server = (
        begun(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])]), key.public_key())
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    identity.write_bytes(
        server.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
