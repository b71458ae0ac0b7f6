"""A web server for whoever asks one: it answers as it was told, and as Prometheus does under /api."""

import contextlib
import http.server
import json
import threading
from urllib.parse import parse_qs, urlsplit


class Page(http.server.BaseHTTPRequestHandler):
    """Answers as its server was told: status (of several the next, the last again and again), body, seconds, values."""

    def do_GET(self):
        told = self.server.told
        self.server.over.wait(told.get("seconds", 0))
        body = told.get("body", b"all is well")
        if self.path.startswith("/api/v1/query"):
            self.server.asked = parse_qs(urlsplit(self.path).query)["query"][0]
            series = [{"metric": {}, "value": [0, str(v)]} for v in told.get("values", [1])]
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}}).encode()
        self.send_response(self._status(told.get("status", 200)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the other side had enough
            self.wfile.write(body)

    @staticmethod
    def _status(told):
        if isinstance(told, int):
            return told
        return told.pop(0) if len(told) > 1 else told[0]

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def page_server():
    """Running, with `url`; `told` says how it answers, `asked` what Prometheus was asked last."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as running:
        running.told, running.over = {}, threading.Event()
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.over.set()  # whoever still waits for an answer is no longer there
        running.shutdown()
