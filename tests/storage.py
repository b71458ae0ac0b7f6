"""A bucket as its owner sees it, and a way to it that meddles with what passes."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Bucket:
    """What is in a bucket, seen with boto3's own client."""

    def __init__(self, name, client):
        self.name, self.client = name, client

    def held(self):
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())]

    def uploads(self):
        return self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])

    def versions(self):
        found = self.client.list_object_versions(Bucket=self.name)
        return [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]

    def get(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def put(self, key, data):
        self.client.put_object(Bucket=self.name, Key=key, Body=data)


class Meddler:
    """Passes requests on to storage; `meddle(method, path, body)` may change a body or answer (status, body) itself.

    `cut` ends the next answer of more bytes than that after so many.
    """

    def __init__(self, server):
        self.asked, self.cut = [], None
        self.meddle = lambda _method, _path, body: body
        methods = {f"do_{method}": _Between.pass_on for method in ("GET", "PUT", "POST", "DELETE", "HEAD")}
        between = type("Between", (_Between,), {**methods, "meddler": self, "there": urlsplit(server.url).netloc})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), between)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # whoever asked may be dead
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Between(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.meddler.asked.append((self.command, self.path, dict(self.headers)))
        body = self.meddler.meddle(self.command, self.path, body)
        if isinstance(body, tuple):
            self.answer(*body)
        else:
            self.answer(*self.ask(body))

    def ask(self, body):
        upstream = http.client.HTTPConnection(self.there)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in {"content-length", "expect", "connection"}:
                upstream.putheader(name, value)
        upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        headers = [h for h in answer.getheaders() if h[0].lower() not in {"connection", "content-length"}]
        upstream.close()
        return answer.status, data, headers

    def answer(self, status, data, headers=()):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.meddler.cut is not None and len(data) > self.meddler.cut:
            data, self.meddler.cut, self.close_connection = data[: self.meddler.cut], None, True
        self.wfile.write(data)

    def log_message(self, *_):
        pass
