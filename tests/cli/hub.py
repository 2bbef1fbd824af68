"""A model hub on loopback: lists and serves files, breaks off transfers as the test says."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = "coqui/XTTS-v2"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 100_000
"""From this size a file is listed with its SHA-256, as large files are."""


class Hub:
    """Serves `files` until `close`.

    Attributes:
        files: Content by name.
        listed: Content that the listing describes, where it differs from what is served.
        breaks: For each name, after how many bytes the next transfers break off.
        status: Answer this to every request of a name instead.
        ranges: Honour the Range header.
        requests: "NAME FIRST_BYTE" of every transfer, in order.
        listings: How often the listing was asked for.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.listed: dict[str, bytes] = {}
        self.breaks: dict[str, deque[int]] = defaultdict(deque)
        self.status: dict[str, int] = {}
        self.ranges = True
        self.requests: list[str] = []
        self.listings = 0
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub._answer(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        if path == f"/api/models/{REPOSITORY}/revision/main":
            self.listings += 1
            self._send(request, 200, json.dumps(self._listing()).encode())
            return
        name = path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/")
        if path.startswith("/store/"):
            self._transfer(request, path.removeprefix("/store/"))
        elif name not in self.files or name in self.status:
            self._send(request, self.status.get(name, 404), b"")
        else:  # files lie on another host, as the public hub's do
            request.send_response(302)
            request.send_header("Location", f"{self.address}/store/{name}")
            request.send_header("Content-Length", "0")
            request.end_headers()

    def _listing(self) -> dict[str, object]:
        siblings = []
        for name, served in self.files.items():
            data = self.listed.get(name, served)
            blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            entry: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob}
            if len(data) >= LARGE:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            siblings.append(entry)
        return {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}

    def _transfer(self, request: BaseHTTPRequestHandler, name: str) -> None:
        data = self.files[name]
        wanted = request.headers.get("Range", "") if self.ranges else ""
        first = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        self.requests.append(f"{name} {first}")
        request.send_response(206 if wanted else 200)
        request.send_header("Content-Length", str(len(data) - first))
        request.end_headers()
        stop = self.breaks[name].popleft() if self.breaks[name] else len(data)
        request.wfile.write(data[first : first + stop])
        request.close_connection = True

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
