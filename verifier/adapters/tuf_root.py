"""Fetches a newer trust root from a TUF repository (theupdateframework.github.io/specification, client workflow).

    fetched = fetch_trusted_root("https://tuf-repo-cdn.sigstore.dev", public_good_tuf_root(), cache, now)
    fetched.content, fetched.root_version, fetched.expires

The TUF root that is given is what everything rests on. From it the client walks along signed rotations to today's root,
and accepts timestamp, snapshot and targets only under that. The metadata it accepted is kept in `cache_dir`, so that a
mirror cannot later present older ones. What is fetched is a proposal: it is not trusted before it is applied to trust.

Only this file knows the `tuf` library. It reads no other repository layout than the usual one (metadata at the mirror's
address, targets below `targets/`), and it does not go on with what it had when the mirror fails: it says so.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, RepositoryError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher

from verifier.errors import PlaceRefused, PlaceUnavailable
from verifier.evidence.content import excerpt
from verifier.evidence.limits import KIB
from verifier.models import Micros
from verifier.times import SECOND, since_epoch
from verifier.trust.sigstoreroot import TRUSTED_ROOT_BYTES

TARGET: Final = "trusted_root.json"
"""What a Sigstore TUF repository calls its trusted root."""

ROOT_ROTATIONS: Final = 64
"""Root versions walked in one fetch. The public repository had some 15 in five years."""

METADATA_BYTES: Final = 512 * KIB
"""Bytes of one metadata file. Those of the public repository have at most 10 KiB."""

SILENCE_SECONDS: Final = 10
"""Longest wait for a connection, and between two pieces of an answer."""

FETCH_SECONDS: Final = 60.0
"""Longest fetch of all files together, measured when pieces arrive: a mirror that drips must not hold a command."""

_CHUNK_BYTES: Final = 4 * KIB
_HTTP_LATER: Final = frozenset({408, 425, 429}) | frozenset(range(500, 600))
"""Statuses that may change by themselves."""
_UNAVAILABLE: Final = "root-unavailable"
_REFUSED: Final = "root-refused"


class FetchedRoot(NamedTuple):
    """A trusted root, verified by TUF metadata that was valid at the time of the fetch."""

    content: str
    sha256: str
    """Hex, of the content's bytes."""
    root_version: int
    timestamp_version: int
    snapshot_version: int
    targets_version: int
    expires: Micros
    """When the first of the metadata files expires; a fetch after it needs a mirror that went on."""


def fetch_trusted_root(mirror: str, root: bytes, cache_dir: Path, now: Micros, *, target: str = TARGET) -> FetchedRoot:
    """Today's trusted root of the repository at `mirror`.

    Args:
        mirror: http or https URL of the metadata; TUF's signatures protect it, whatever the transport.
        root: TUF root metadata to start from, obtained with revet or by hand.
        cache_dir: where accepted metadata is kept, per mirror; made if missing. One fetch at a time may use it.
        now: instant against which metadata expires.
        target: path of the target.

    Raises:
        PlaceUnavailable: `root-unavailable`: no connection, a time-out, an answer of 429 or 5xx.
        PlaceRefused: `root-refused`: metadata that is expired, older than before, not signed as the root demands, or no
            metadata; no such target; TLS failures, answers of 4xx, and a cache that cannot be written.
    """
    _check_address(mirror)
    try:
        with TemporaryDirectory(prefix="revet-root-") as targets:
            return _fetch(mirror, root, _cache_of(cache_dir, mirror), now, target, Path(targets))
    except RepositoryError as error:
        raise PlaceRefused(_REFUSED, f"{mirror}: TUF metadata refused: {_told(error)}") from error
    except DownloadError as error:
        raise _download_failed(mirror, error) from error
    except OSError as error:
        raise PlaceRefused(_REFUSED, f"cannot keep TUF metadata in {cache_dir}: {error.strerror}") from error


def _fetch(mirror: str, root: bytes, cache: Path, now: Micros, target: str, targets: Path) -> FetchedRoot:
    updater = Updater(
        metadata_dir=str(cache),
        metadata_base_url=mirror,
        target_dir=str(targets),
        target_base_url=f"{mirror.rstrip('/')}/targets/",
        fetcher=_Fetcher(),
        config=UpdaterConfig(
            max_root_rotations=ROOT_ROTATIONS,
            root_max_length=METADATA_BYTES,
            snapshot_max_length=METADATA_BYTES,
            targets_max_length=METADATA_BYTES,
        ),
        bootstrap=root,
    )
    # The library takes the machine's clock, and offers no other way to say what time it is.
    accepted = updater._trusted_set  # noqa: SLF001 - as said; a test fails when the member moves
    accepted.reference_time = _datetime(now)
    updater.refresh()
    content = _target(updater, target)
    return FetchedRoot(
        content=_text(content, target),
        sha256=hashlib.sha256(content).hexdigest(),
        root_version=accepted.root.version,
        timestamp_version=accepted.timestamp.version,
        snapshot_version=accepted.snapshot.version,
        targets_version=accepted.targets.version,
        expires=min(
            since_epoch(part.expires)
            for part in (accepted.root, accepted.timestamp, accepted.snapshot, accepted.targets)
        ),
    )


def _target(updater: Updater, target: str) -> bytes:
    found = updater.get_targetinfo(target)
    if found is None:
        raise RepositoryError(f"the repository has no target {target}")
    if found.length > TRUSTED_ROOT_BYTES:
        raise RepositoryError(f"{target} has {found.length} bytes, limit {TRUSTED_ROOT_BYTES}")
    return Path(updater.download_target(found)).read_bytes()


def _text(content: bytes, target: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise RepositoryError(f"{target} is not UTF-8 text") from error


class _Fetcher(Urllib3Fetcher):
    """The library's own, bounded in time, and with every failure of a transfer as a download error."""

    def __init__(self) -> None:
        super().__init__(socket_timeout=SILENCE_SECONDS, chunk_size=_CHUNK_BYTES, app_user_agent="revet")
        self._until = time.monotonic() + FETCH_SECONDS

    def _chunks(self, response: object) -> Iterator[bytes]:
        try:
            for chunk in super()._chunks(response):  # type: ignore[arg-type]  # urllib3's response, ours only to pass on
                if time.monotonic() > self._until:
                    raise DownloadError(f"the fetch took longer than {FETCH_SECONDS:.0f} seconds")
                yield chunk
        except DownloadError:
            raise
        except Exception as error:  # as in `FetcherInterface.fetch`, whose guard ends before the first piece is read
            raise DownloadError("the transfer broke off") from error


def _download_failed(mirror: str, error: DownloadError) -> PlaceUnavailable | PlaceRefused:
    status = error.status_code if isinstance(error, DownloadHTTPError) else None
    if status is not None and status not in _HTTP_LATER:
        return PlaceRefused(_REFUSED, f"{mirror} answered {status}: expected a TUF repository there")
    if isinstance(error, DownloadLengthMismatchError):
        return PlaceRefused(_REFUSED, f"{mirror} sent more than its metadata announced, or more than is read")
    if _is_tls(error):
        return PlaceRefused(_REFUSED, f"{mirror}: the TLS connection was refused: {_told(error)}")
    why = f"answered {status}" if status is not None else f"did not answer: {_told(error)}"
    return PlaceUnavailable(_UNAVAILABLE, f"{mirror} {why}; what is trusted now stays as it is")


def _is_tls(error: BaseException) -> bool:
    """Whether a TLS failure is behind the error; urllib3 puts it into `reason` or into the chain of causes."""
    seen: list[BaseException] = [error]
    for cause in seen:
        if isinstance(cause, ssl.SSLError):
            return True
        behind = (cause.__cause__, getattr(cause, "reason", None), *cause.args)
        seen.extend(part for part in behind if isinstance(part, BaseException) and part not in seen)
    return False


def _told(error: BaseException) -> str:
    """What the library says, escaped and cut: parts of it come from the mirror."""
    return excerpt(str(error) or type(error).__name__)


def _check_address(mirror: str) -> None:
    try:
        parts = urlsplit(mirror)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        usable = False
    if not usable:
        raise PlaceRefused(_REFUSED, f"{excerpt(mirror)}: expected an http or https URL of a TUF repository")


def _cache_of(cache_dir: Path, mirror: str) -> Path:
    """One folder per mirror: versions of two repositories have nothing to do with each other."""
    folder = cache_dir / hashlib.sha256(mirror.rstrip("/").encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _datetime(instant: Micros) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=instant // SECOND, microseconds=instant % SECOND)
