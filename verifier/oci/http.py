"""The distribution API over HTTP, without a socket: URLs, redirects, challenges, and what each answer means.

    machine = exchange(request, endpoint, login)
    response = run(machine, send)         # send: HttpRequest -> HttpReply | HttpFailure

The steps of one exchange:

    1  ask, with the authorization that worked for this repository before, if there was one
    2  follow redirects; the authorization goes with them only to the same origin
    3  answer one challenge of the registry itself: Basic, or Bearer with a token from its realm
    4  say what the answer means: found, absent, or why nobody can tell

Steps 1 to 3 are `authorized`, which `verifier.oci.writing` uses too. Credentials are found by the host that is spoken
to, and never sent before that host has asked for them.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, Literal, NamedTuple, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from verifier.errors import EvidenceError
from verifier.evidence.strictjson import loads_strict
from verifier.oci.auth import Challenge, CredentialBook, Secret, parse_challenges, parse_token, token_url
from verifier.oci.limits import ERROR_BYTES, REDIRECTS, RETRY_AFTER_SECONDS, TOKEN_BYTES
from verifier.oci.media import ACCEPT, OCI_INDEX
from verifier.oci.remembered import Remembered
from verifier.oci.wire import Absent, Failed, FailureCode, Found, Request, Response

SECOND: Final = 1_000_000
"""Microseconds."""


class HttpRequest(msgspec.Struct, frozen=True):
    """One request. Its representation holds neither query (signed links), body nor authorization."""

    url: str
    accept: tuple[str, ...] = ()
    authorization: Secret | None = None
    limit: int = ERROR_BYTES
    """Bytes of a 200 answer worth reading; one more byte and the answer is `HttpFailure("limit-exceeded")`."""
    method: Literal["GET", "HEAD", "POST", "PUT"] = "GET"
    body: bytes = b""
    content_type: str = ""

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.url.partition('?')[0]})"


class HttpReply(msgspec.Struct, frozen=True):
    """An answer. `headers` with lower-case names, repeated ones repeated. The body of an error may be cut."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def first(self, name: str) -> str:
        """The first value of a header; empty when there is none."""
        return next((value for key, value in self.headers if key == name), "")

    def every(self, name: str) -> tuple[str, ...]:
        """All values of a header."""
        return tuple(value for key, value in self.headers if key == name)


class HttpFailure(msgspec.Struct, frozen=True):
    """No answer. `detail` is of the adapter's own words."""

    code: FailureCode
    detail: str
    retryable: bool = True
    """Worth asking again later."""
    repeat: bool = False
    """Worth asking again at once: it broke in the middle, or nobody was there for a moment."""
    retry_after: int | None = None
    """Microseconds to wait, where that is known without an answer."""


Outcome = HttpReply | HttpFailure
T = TypeVar("T")
Steps = Generator[HttpRequest, Outcome, T]


class Endpoint(msgspec.Struct, frozen=True):
    """Where a registry answers: `https://registry.example.com`, without a path."""

    origin: str
    itself: bool = False
    """It is the registry that references name, not a mirror."""

    @property
    def host(self) -> str:
        """`host[:port]`, the name credentials are found by."""
        return urlsplit(self.origin).netloc

    @property
    def plain_http(self) -> bool:
        """Whether the registry is spoken to without TLS, as configured."""
        return self.origin.startswith("http://")

    def url(self, request: Request) -> str | None:
        """The URL of a request, or None when it asks for a page on another origin."""
        kind = {"manifest": "manifests", "blob": "blobs", "referrers": "referrers"}[request.kind]
        url = f"{self.origin}/v2/{quote(request.path)}/{kind}/{quote(request.reference, safe=':')}"
        if not request.page:
            return url
        page = join_url(url, request.page)
        return page if origin_of(page) == origin_of(self.origin) else None


_API_HOSTS: Final = {"docker.io": "registry-1.docker.io"}
"""Registries whose API answers under another host than the one in references."""


def endpoint_of(registry: str, mirrors: Mapping[str, str], plain_http: frozenset[str]) -> Endpoint:
    """The endpoint of a registry as references name it.

    Args:
        registry: `host[:port]`.
        mirrors: registry -> origins (`http://127.0.0.1:5000`) that are asked in its place; the first counts here.
        plain_http: registries without TLS; `*` for all.
    """
    return endpoints_of(registry, mirrors, plain_http)[0]


ITSELF: Final = "itself"
"""Among the mirrors of a registry: the registry, asked as well."""


def endpoints_of(registry: str, mirrors: Mapping[str, str], plain_http: frozenset[str]) -> tuple[Endpoint, ...]:
    """Where a registry may be asked, in the order of the mirrors; `mirrors` gives one or more with a space between."""
    scheme = "http" if {registry, "*"} & plain_http else "https"
    own = Endpoint(f"{scheme}://{_API_HOSTS.get(registry, registry)}", itself=True)
    written = mirrors.get(registry, "").split()
    return tuple(own if name == ITSELF else Endpoint(name.rstrip("/")) for name in written) or (own,)


def asked_for(request: Request, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """The endpoints that may answer a request. What bytes a digest names every mirror knows as well as the registry;
    what a tag means, and what refers to an image, the registry itself knows best: a mirror's word may be old.
    """
    if request.kind == "blob" or (request.kind == "manifest" and ":" in request.reference):
        return endpoints
    return tuple(endpoint for endpoint in endpoints if endpoint.itself) or endpoints


def agreed(answers: tuple[Response, ...]) -> Response:
    """What several endpoints said, asked one after the other until one had it: absent only if each of them says so."""
    last = answers[-1]
    if isinstance(last, Found):
        return last
    return next((answer for answer in answers if isinstance(answer, Failed)), last)


_HELPER: Final = (
    "; a credential helper or an identity token is configured, which revet does not use: write user and password into"
    " `auths`"
)
_REMEMBERED: Final = 4096
"""Repositories whose authorization is kept; a token has some kilobytes."""


class Login:
    """What has worked for each repository so far, and the credentials to try. Holds secrets; prints none."""

    def __init__(self, book: CredentialBook | None = None) -> None:
        self._own = self._book = book or CredentialBook()
        self._known: dict[tuple[str, str], Secret] = {}

    def lend(self, book: CredentialBook) -> None:
        """Credentials beside one's own, in the place of those that were lent before. What was traded for one that is
        gone, or for another one, is forgotten with it.
        """
        before, self._book = self._book, self._own.beside(book)
        if not before.says_the_same(self._book):
            self._known.clear()

    def known(self, endpoint: Endpoint, path: str) -> Secret | None:
        """The authorization that worked last time."""
        return self._known.get((endpoint.origin, path))

    def answer(self, endpoint: Endpoint, path: str, challenges: tuple[Challenge, ...]) -> Steps[Secret | Failed]:
        """An authorization for the first challenge that can be answered; Bearer before Basic, as it is narrower."""
        self._known.pop((endpoint.origin, path), None)
        credential = self._book.find(endpoint.host, path)
        hint = _HELPER if self._book.wants_helper(endpoint.host) else ""
        for challenge in sorted(challenges, key=lambda each: each.scheme != "bearer"):
            if challenge.scheme == "basic" and credential and credential.basic:
                return self._remember(endpoint, path, Secret(f"Basic {credential.basic.reveal()}"))
            if challenge.scheme == "bearer" and credential and credential.bearer:
                return self._remember(endpoint, path, Secret(f"Bearer {credential.bearer.reveal()}"))
            if challenge.scheme == "bearer" and (url := token_url(challenge, path, plain_http=endpoint.plain_http)):
                basic = Secret(f"Basic {credential.basic.reveal()}") if credential and credential.basic else None
                token = yield from _token(url, basic)
                if isinstance(token, Secret):
                    return self._remember(endpoint, path, token)
                return msgspec.structs.replace(token, detail=token.detail + hint)
        return Failed("registry-unauthorized", f"{endpoint.host} asks for credentials, and none are configured{hint}")

    def _remember(self, endpoint: Endpoint, path: str, authorization: Secret) -> Secret:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[endpoint.origin, path] = authorization
        return authorization


def _token(url: str, basic: Secret | None) -> Steps[Secret | Failed]:
    """A bearer token from the realm (GET with service and scope; Basic credentials, or anonymous)."""
    reply = (yield from follow(HttpRequest(url, ("application/json",), basic, TOKEN_BYTES))).outcome
    if isinstance(reply, HttpFailure):
        return Failed(reply.code, f"token service: {reply.detail}", reply.retryable, reply.retry_after)
    if reply.status != 200:
        failed = failed_by_status(reply)
        return msgspec.structs.replace(failed, detail=f"token service: {failed.detail}")
    token = parse_token(reply.body)
    if token is None:
        return Failed("registry-protocol", "token service: an answer without a token")
    return Secret(f"Bearer {token.reveal()}")


def exchange(
    request: Request, endpoint: Endpoint, login: Login, remembered: Remembered | None = None
) -> Steps[Response]:
    """One request to its response; the steps are those of the module. Raises nothing.

    With `remembered`, for hosts that count manifests: a HEAD comes first, and what it names need not be read again.
    """
    url = endpoint.url(request)
    if url is None:
        return Failed("registry-protocol", "a referrers page on another host")
    accept = {"manifest": ACCEPT, "referrers": (OCI_INDEX,), "blob": ("*/*",)}[request.kind]
    asked = HttpRequest(url, accept, limit=request.limit)
    if remembered is not None and request.kind == "manifest":
        short = yield from _headed(asked, request, endpoint, login, remembered)
        if short is not None:
            return short
    # 1, 2, 3 ask, follow, answer a challenge
    outcome = yield from authorized(asked, endpoint, request.path, login)
    # 4 what it means
    answer = outcome if isinstance(outcome, Failed) else _meaning(request.kind, outcome)
    if remembered is not None and request.kind == "manifest" and isinstance(answer, Found):
        remembered.put(endpoint.origin, request.path, request.reference, answer)
    return answer


def _headed(
    asked: HttpRequest, request: Request, endpoint: Endpoint, login: Login, remembered: Remembered
) -> Steps[Response | None]:
    """What a HEAD comes to: not there, why nobody can tell, or bytes known from before; None: it has to be read."""
    outcome = yield from authorized(msgspec.structs.replace(asked, method="HEAD"), endpoint, request.path, login)
    if isinstance(outcome, Failed):
        return outcome
    if isinstance(outcome, HttpReply) and outcome.status in {200, 405, 501}:
        digest = request.reference if ":" in request.reference else outcome.first("docker-content-digest").strip()
        known = remembered.get(endpoint.origin, request.path, digest) if outcome.status == 200 else None
        return known if known is None or len(known.body) <= request.limit else None
    return _meaning(request.kind, outcome)


def authorized(asked: HttpRequest, endpoint: Endpoint, path: str, login: Login) -> Steps[Outcome | Failed]:
    """The answer to a request about a repository, as somebody the registry knows. Raises nothing.

    `Failed`: the registry asked who it is, and there was nothing to say.
    """
    # 1, 2 ask and follow
    result = yield from follow(msgspec.structs.replace(asked, authorization=login.known(endpoint, path)))
    # 3 answer one challenge: of the registry itself, never of a host it redirected to
    if isinstance(result.outcome, HttpReply) and result.outcome.status == 401 and result.same_origin:
        challenges = parse_challenges(result.outcome.every("www-authenticate"))
        authorization = yield from login.answer(endpoint, path, challenges)
        if isinstance(authorization, Failed):
            return authorization
        result = yield from follow(msgspec.structs.replace(asked, authorization=authorization))
    return result.outcome


class Followed(NamedTuple):
    """The end of a chain of redirects."""

    outcome: Outcome
    same_origin: bool
    """Whether the answer is of the origin that was asked."""


_REDIRECT: Final = frozenset({301, 302, 303, 307, 308})
_REPEATED: Final = frozenset({307, 308})
"""Redirects by which a request that writes keeps its method and body (RFC 9110, 15.4)."""


def follow(request: HttpRequest) -> Steps[Followed]:
    """The answer at the end of the redirects. On another origin the authorization stays behind, for good.

    Raises nothing.
    """
    first = origin_of(request.url)
    for _ in range(REDIRECTS + 1):
        outcome = yield request
        if isinstance(outcome, HttpFailure) or outcome.status not in _REDIRECT:
            return Followed(outcome, origin_of(request.url) == first)
        if request.method in {"POST", "PUT"} and outcome.status not in _REPEATED:
            told = f"HTTP {outcome.status} in answer to a {request.method}"
            return Followed(HttpFailure("registry-protocol", told, False), False)
        url = join_url(request.url, outcome.first("location"))
        origin = origin_of(url)
        if origin is None or "@" in origin:
            return Followed(HttpFailure("registry-protocol", "a redirect to nowhere", False), False)
        if request.url.startswith("https://") and origin.startswith("http://"):
            return Followed(HttpFailure("registry-protocol", "a redirect from HTTPS to plain HTTP", False), False)
        kept = request.authorization if origin == origin_of(request.url) else None
        request = msgspec.structs.replace(request, url=url, authorization=kept)
    return Followed(HttpFailure("registry-protocol", f"more than {REDIRECTS} redirects", False), False)


_DEFAULT_PORT: Final = {"http": 80, "https": 443}


def join_url(base: str, target: str) -> str:
    """The target as seen from base; empty when it is no URL at all."""
    try:
        return urljoin(base, target)
    except ValueError:
        return ""


_URL_CHARACTERS: Final = re.compile(r"[\x21-\x7e]{1,8192}")


def origin_of(url: str) -> str | None:
    """`scheme://host:port` in one spelling, or None for what is no HTTP URL or could break a request line."""
    if not _URL_CHARACTERS.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORT.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORT or not parts.hostname:
        return None
    user = "@" if parts.username is not None else ""
    return f"{parts.scheme}://{user}{parts.hostname}:{port}"


_NOT_OFFERED: Final = frozenset({400, 404, 405, 406, 501})
"""Answers of registries without the referrers API. The specification says 404; the others are what older registries
answer to an unknown route, and what go-containerregistry, cosign's library, reads as "use the tag" as well."""


def _meaning(kind: str, outcome: Outcome) -> Response:
    if isinstance(outcome, HttpFailure):
        return Failed(outcome.code, outcome.detail, outcome.retryable, outcome.retry_after)
    if outcome.status == 200:
        next_page = next_link(outcome.every("link")) if kind == "referrers" else ""
        return Found(outcome.body, outcome.first("content-type"), next_page)
    if outcome.status == 404 or (kind == "referrers" and outcome.status in _NOT_OFFERED):
        return Absent(_error_code(outcome.body))
    return failed_by_status(outcome)


def failed_by_status(reply: HttpReply) -> Failed:
    """Table of the statuses that tell why nobody can tell."""
    status = reply.status
    if status in {401, 403}:
        return Failed("registry-unauthorized", f"HTTP {status}")
    if status == 429:
        wait = _wait_of(reply)
        told = "" if wait is None else f", retry after {wait // SECOND} s"
        return Failed("registry-rate-limited", f"HTTP 429{told}", retryable=True, retry_after=wait)
    if status >= 500 or status == 408:
        return Failed("registry-unavailable", f"HTTP {status}", True, _wait_of(reply))
    return Failed("registry-protocol", f"HTTP {status}, which is no answer to this question")


def _wait_of(reply: HttpReply) -> int | None:
    return retry_after(reply.first("retry-after"), reply.first("date"))


def retry_after(value: str, date: str = "") -> int | None:
    """Microseconds of a `Retry-After`, capped; None for what is none. A date counts from the answer's own `Date`: whose
    clock is wrong does not matter then.
    """
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return min(int(text), RETRY_AFTER_SECONDS) * SECOND
    try:
        seconds = (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError, OverflowError):  # no date, or one with a time zone and one without
        return None
    return min(max(int(seconds), 0), RETRY_AFTER_SECONDS) * SECOND


class _Error(msgspec.Struct, frozen=True):
    code: str = ""


class _Errors(msgspec.Struct, frozen=True):
    errors: list[_Error] = []


_ERROR_CODE: Final = re.compile(r"[A-Z][A-Z_]{0,39}")


def _error_code(body: bytes) -> str:
    """The first error code of the distribution specification in an answer; empty when there is none."""
    try:
        errors = msgspec.convert(loads_strict(body, limit=ERROR_BYTES), _Errors).errors
    except (EvidenceError, msgspec.ValidationError):
        return ""
    code = errors[0].code if errors else ""
    return code if _ERROR_CODE.fullmatch(code) else ""


_LINK: Final = re.compile(r"<([^<>]*)>((?:\s*;\s*[^,;<]+)*)")
_NEXT: Final = re.compile(r';\s*rel\s*=\s*"?next"?\s*(?:;|\Z)', re.IGNORECASE)


def next_link(values: tuple[str, ...]) -> str:
    """The target of the link to the next page (RFC 8288); empty when this is the last."""
    for value in values:
        for target, parameters in _LINK.findall(value[:8192]):
            if _NEXT.search(parameters):
                return str(target)
    return ""
