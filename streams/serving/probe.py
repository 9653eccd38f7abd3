"""Asks one process how it is doing: the health check of a container. Imports nothing slow; it runs every few seconds.

    python -m streams.serving.probe http://127.0.0.1:9890/healthz
    revet doctor --probe http://127.0.0.1:9890/healthz

Exit code 0: the answer was 200; 4: another answer or none; 2: it is no address of that kind.
"""

from __future__ import annotations

import http.client
import json
import sys
from typing import Final
from urllib.parse import urlsplit

SECONDS: Final = 3.0
"""Time for connecting, and for each read of the answer."""
BODY: Final = 64 * 1024
"""Bytes of an answer that are read."""
SHOWN: Final = 300
"""Characters of an answer that are shown."""

EXIT_OK: Final = 0
EXIT_USAGE: Final = 2
EXIT_SERVICE: Final = 4
EXAMPLE: Final = "http://127.0.0.1:9890/healthz"


def probe(url: str) -> tuple[int, str]:
    """Exit code, and one line that tells why. Raises nothing: what cannot be asked is an answer too."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if host is None or parts.scheme != "http" or parts.username is not None:
        return EXIT_USAGE, f"no address to probe; example: {EXAMPLE}"
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    try:
        connection.request("GET", parts.path or "/healthz", headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(BODY)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return EXIT_SERVICE, f"{host}:{port}: {_plain(str(error) or type(error).__name__)}"
    finally:
        connection.close()
    code = EXIT_OK if answer.status == 200 else EXIT_SERVICE
    return code, f"{host}:{port}: {answer.status} {_summary(body)}"


def _summary(body: bytes) -> str:
    """The parts of a report a person wants first; any other answer as it is."""
    try:
        report = json.loads(body)
        words = [f"{report['component']} {report['status']}", *([] if report["ready"] else ["not ready"])]
        words += [f"{s['component']} {s['shard']} stalled {s['seconds']:.0f} s" for s in report["stalled"][:3]]
        words += [f"{t['what']}: {t['message']}" for t in report["troubles"][:3]]
        words += [f"{worker} died: {error}" for worker, error in list(report["failed"].items())[:3]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return _plain(body.decode("utf-8", "replace"))
    return _plain("; ".join(words))


def _plain(text: str) -> str:
    """One line of printable ASCII: an answer may come from anybody."""
    return text[:SHOWN].strip().encode("unicode_escape").decode()


if __name__ == "__main__":
    code, line = probe(sys.argv[1] if len(sys.argv) == 2 else "")
    sys.stdout.write(f"{line}\n")
    sys.exit(code)
