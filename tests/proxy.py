"""A way to a server that breaks when it is told to: at any byte, or after a COMMIT and before its answer."""

import select
import socket
import threading


class Proxy:
    """Listens on a port of its own and passes bytes on; `cut_next` says how the next connection ends."""

    def __init__(self, port):
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._plans, self.cuts = [], []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def cut_next(self, *, after_bytes=None, after_commit=None):
        """End the next connection after so many bytes of the client, or after its n-th COMMIT has been carried out."""
        self._plans.append((after_bytes, after_commit))

    def close(self):
        self._listener.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            plan = self._plans.pop(0) if self._plans else (None, None)
            threading.Thread(target=self._pass_on, args=(client, *plan), daemon=True).start()

    def _pass_on(self, client, after_bytes, after_commit):
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            sent = commits = 0
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    try:
                        data = ready.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return
                    if ready is server:
                        client.sendall(data)
                        continue
                    if after_bytes is not None and sent + len(data) > after_bytes:
                        server.sendall(data[: after_bytes - sent])
                        self.cuts.append("bytes")
                        return
                    sent += len(data)
                    commits += b"COMMIT" in data
                    server.sendall(data)
                    if after_commit is not None and commits >= after_commit:
                        server.recv(65536)
                        self.cuts.append("commit")
                        return
