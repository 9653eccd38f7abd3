"""What stands before registries: somebody who asks who it is, lists tags in another way, or is away for a moment.

    with registry_process(program) as host, RegistryProxy(host, bearer=True) as proxy:
        OciEvidenceStore(f"{proxy.host}/revet/evidence", …)

It forwards to a real registry, and changes only what a test asks for.
"""

import http.client
import json
import re
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Mapping[str, str], bytes]
USER, PASSWORD = "writer", "planted-password-0a1b2c3d"
READS, WRITES = "planted-token-that-reads", "planted-token-that-writes"


class RegistryProxy:
    """Runs on a thread until the block ends."""

    def __init__(self, behind: str, *, auth: str = "none") -> None:
        self.behind = behind
        self.auth = auth
        """`none`, `basic`, or `bearer` with tokens that read and tokens that write."""
        self.tags: Callable[[list[str], dict[str, str]], tuple[list[str], str]] | None = None
        """(all tags, parameters) -> (those of the page, Link header)."""
        self.fault: Callable[[str, str], Answer | None] = lambda method, path: None
        """(method, path) -> what is answered instead."""
        self.location: Callable[[str], str] = lambda location: location
        self.asked: list[tuple[str, str, str]] = []
        """(method, path with query, authorization)"""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forward(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self.behind, timeout=10)
        connection.request(method, path, body or None, dict(headers))
        answer = connection.getresponse()
        told = {name: value for name, value in answer.getheaders() if name.lower() != "transfer-encoding"}
        content = answer.read()
        connection.close()
        return answer.status, told, content

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked.append((method, path, headers.get("Authorization", "")))
        parts = urlsplit(path)
        if parts.path == "/token":
            return self._token(parse_qs(parts.query)["scope"][0], headers)
        instead = self.fault(method, path) or self._refused(method, headers)
        if instead is not None:
            return instead
        kept = {name: value for name, value in headers.items() if name in {"Content-Type", "Accept"}}
        if self.tags is not None and parts.path.endswith("/tags/list"):
            return self._listed(parts.path, kept, {name: each[0] for name, each in parse_qs(parts.query).items()})
        status, told, content = self.forward(method, path, kept, body)
        if "Location" in told:
            told = {**told, "Location": self.location(told["Location"])}
        return status, told, content

    def _listed(self, path: str, headers: Mapping[str, str], query: dict[str, str]) -> Answer:
        status, told, content = self.forward("GET", path, headers, b"")
        if status != 200 or self.tags is None:
            return status, told, content
        tags, link = self.tags(json.loads(content)["tags"], query)
        return 200, {"Link": link} if link else {}, json.dumps({"name": "x", "tags": tags}).encode()

    def _refused(self, method: str, headers: Mapping[str, str]) -> Answer | None:
        given = headers.get("Authorization", "")
        if self.auth == "basic" and given != self._basic():
            return 401, {"WWW-Authenticate": 'Basic realm="registry"'}, b""
        writes = method not in {"GET", "HEAD"}
        good = {f"Bearer {WRITES}"} if writes else {f"Bearer {WRITES}", f"Bearer {READS}"}
        if self.auth == "bearer" and given not in good:
            scope = "repository:revet/evidence:" + ("pull,push" if writes else "pull")
            realm = f'Bearer realm="http://{self.host}/token",service="registry.test",scope="{scope}"'
            return 401, {"WWW-Authenticate": realm}, b""
        return None

    def _token(self, scope: str, headers: Mapping[str, str]) -> Answer:
        if headers.get("Authorization", "") != self._basic():
            return 401, {}, b""
        return 200, {}, json.dumps({"token": WRITES if "push" in scope else READS}).encode()

    @staticmethod
    def _basic() -> str:
        return "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer in one piece: in two, each waits 40 ms for the other's acknowledgement
            disable_nagle_algorithm = True

            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, content = proxy.answer(self.command, self.path, dict(self.headers), body)
                self.send_response(status)
                length = next((text for name, text in headers.items() if name.lower() == "content-length"), None)
                for name, value in headers.items():
                    if name.lower() != "content-length":
                        self.send_header(name, value)
                self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815  # names of http.server

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as in http.server
                """Says nothing."""

        return Handler


def paged(tags: list[str], query: dict[str, str]) -> tuple[list[str], str]:
    """As the specification says, with pages of two whatever is asked for."""
    behind = [tag for tag in tags if tag > query.get("last", "")]
    most = min(int(query.get("n", 2)), 2)
    more = f'<list?n=2&last={behind[most - 1]}>; rel="next"' if len(behind) > most else ""
    return behind[:most], more


def whole(tags: list[str], query: dict[str, str]) -> tuple[list[str], str]:
    """Of a registry that knows no pages."""
    return tags, ""


def shuffled(tags: list[str], query: dict[str, str]) -> tuple[list[str], str]:
    """Of a registry that lists the newest first, in pages with a token of its own."""
    order = sorted(tags, key=lambda tag: re.sub(r"[^0-9]", "", tag) + tag, reverse=True)
    start = int(query.get("token", 0))
    more = f'<list?token={start + 3}>; rel="next"' if start + 3 < len(order) else ""
    return order[start : start + 3], more


LISTINGS = (paged, whole, shuffled)
