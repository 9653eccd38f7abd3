"""Keeping things in a registry, without a socket: tags listed, blobs and manifests put (OCI distribution 1.1).

    at = At(endpoint, "revet/evidence", login)
    run(put_blob(at, payload), send)           # send: HttpRequest -> HttpReply | HttpFailure
    run(put_manifest(at, "a-tag", document), send)
    run(list_tags(at, after="a-"), send)        Tags(("a-tag",))

Every step may be repeated: a blob is named by its bytes, and a tag is only ever put with one content. Nothing is
deleted. Credentials go where `verifier.oci.http` sends them, and never to an upload address on another host.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.strictjson import loads_strict
from verifier.oci.http import (
    Endpoint,
    HttpFailure,
    HttpReply,
    HttpRequest,
    Login,
    Outcome,
    Steps,
    authorized,
    failed_by_status,
    follow,
    join_url,
    next_link,
    origin_of,
)
from verifier.oci.limits import TAGS_BYTES
from verifier.oci.media import OCI_MANIFEST, digest_of
from verifier.oci.wire import Absent, Failed

_JSON: Final = ("application/json",)
_BYTES: Final = "application/octet-stream"


class At(NamedTuple):
    """A repository that is written to. Holds secrets in `login`; prints none."""

    endpoint: Endpoint
    path: str
    """Repository without the registry."""
    login: Login

    def url(self, below: str) -> str:
        """`…/v2/<path>/<below>`."""
        return f"{self.endpoint.origin}/v2/{quote(self.path)}/{below}"


class Tags(msgspec.Struct, frozen=True):
    """One page of a repository's tags, in the registry's order."""

    tags: tuple[str, ...]
    next_page: str = ""
    """Where the registry says that it goes on; empty on the last page."""


class _TagsAnswer(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


def list_tags(at: At, *, after: str = "", most: int = 0, page: str = "") -> Steps[Tags | Absent | Failed]:
    """A page of tags. Raises nothing.

    Args:
        at: the repository.
        after: begin behind this tag; empty: at the beginning.
        most: tags that are wanted; 0: as many as the registry likes. A registry that knows neither parameter answers
            with something else: the caller looks at what it got.
        page: `Tags.next_page` of the page before, in place of both.
    """
    url = at.url("tags/list")
    if page:
        url = join_url(url, page)
        if origin_of(url) != origin_of(at.endpoint.origin):
            return Failed("registry-protocol", "a page of tags on another host")
    elif query := {name: value for name, value in (("n", most), ("last", after)) if value}:
        url += f"?{urlencode(query)}"
    asked = HttpRequest(url, _JSON, limit=TAGS_BYTES)
    outcome = yield from authorized(asked, at.endpoint, at.path, at.login)
    if not isinstance(outcome, HttpReply):
        return _failed(outcome)
    if outcome.status == 404:
        return Absent()
    if outcome.status != 200:
        return failed_by_status(outcome)
    try:
        answer = msgspec.convert(loads_strict(outcome.body, limit=TAGS_BYTES), _TagsAnswer)
    except (EvidenceError, msgspec.ValidationError):
        return Failed("registry-protocol", "a list of tags that is none")
    return Tags(tuple(answer.tags or ()), next_link(outcome.every("link")))


def has_blob(at: At, digest: str) -> Steps[bool | Failed]:
    """Whether the repository holds the bytes already. Raises nothing."""
    asked = HttpRequest(at.url(f"blobs/{quote(digest, safe=':')}"), ("*/*",), method="HEAD")
    outcome = yield from authorized(asked, at.endpoint, at.path, at.login)
    if not isinstance(outcome, HttpReply):
        return _failed(outcome)
    return outcome.status == 200 if outcome.status in {200, 404} else failed_by_status(outcome)


def put_blob(at: At, data: bytes) -> Steps[Failed | None]:
    """Uploads bytes whole: a POST for an upload address, a PUT there. None when the registry has them.

    Raises nothing.
    """
    begun = HttpRequest(at.url("blobs/uploads/"), _JSON, method="POST")
    outcome = yield from authorized(begun, at.endpoint, at.path, at.login)
    if not isinstance(outcome, HttpReply) or outcome.status != 202:
        return _failed(outcome)
    location = join_url(begun.url, outcome.first("location"))
    origin = origin_of(location)
    if origin is None or "@" in origin:
        return Failed("registry-protocol", "an upload address that is none")
    digest = urlencode({"digest": digest_of(data)})
    put = HttpRequest(_with_query(location, digest), _JSON, method="PUT", body=data, content_type=_BYTES)
    if origin == origin_of(at.endpoint.origin):
        done = yield from authorized(put, at.endpoint, at.path, at.login)
    elif origin.startswith("http://") and not at.endpoint.plain_http:
        return Failed("registry-protocol", "an upload address without TLS (is it told its public URL?)")
    else:  # an address on another host is its own key
        done = (yield from follow(put)).outcome
    return None if isinstance(done, HttpReply) and done.status == 201 else _failed(done)


def put_manifest(at: At, tag: str, document: bytes) -> Steps[Failed | None]:
    """Puts a manifest under a tag. None when it is there. Raises nothing."""
    url = at.url(f"manifests/{quote(tag, safe='')}")
    asked = HttpRequest(url, _JSON, method="PUT", body=document, content_type=OCI_MANIFEST)
    outcome = yield from authorized(asked, at.endpoint, at.path, at.login)
    return None if isinstance(outcome, HttpReply) and outcome.status in {200, 201} else _failed(outcome)


def _with_query(url: str, more: str) -> str:
    parts = urlsplit(url)
    return parts._replace(query="&".join(filter(None, (parts.query, more))), fragment="").geturl()


def _failed(outcome: Outcome | Failed) -> Failed:
    if isinstance(outcome, Failed):
        return outcome
    if isinstance(outcome, HttpFailure):
        return Failed(outcome.code, outcome.detail, outcome.retryable)
    if outcome.status == 404:
        return Failed("registry-not-found", "HTTP 404: no such repository, or nobody may write to it")
    return failed_by_status(outcome)
