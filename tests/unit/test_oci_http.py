"""The distribution API without a socket: URLs, statuses, redirects, challenges, and where credentials go."""

import json
import pickle
from base64 import b64encode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import PlaceRefused
from verifier.oci.auth import (
    Challenge,
    CredentialBook,
    Secret,
    basic_credential,
    parse_challenges,
    parse_docker_config,
    parse_token,
    token_url,
)
from verifier.oci.http import (
    Endpoint,
    HttpFailure,
    HttpReply,
    HttpRequest,
    Login,
    endpoint_of,
    exchange,
    next_link,
    origin_of,
    retry_after,
)
from verifier.oci.wire import Absent, Failed, Found, Request, run

REGISTRY = "registry.example.com"
ENDPOINT = Endpoint(f"https://{REGISTRY}")
MANIFEST = Request("manifest", REGISTRY, "payments/api", "1.4.2", 1000)
REFERRERS = Request("referrers", REGISTRY, "payments/api", "sha256:" + "a" * 64, 1000)
USER, PASSWORD = "reader", "planted-8f14e45f"
BASIC = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def login(*hosts: str) -> Login:
    return Login(CredentialBook({host: basic_credential(USER, PASSWORD) for host in hosts}))


def ask(request: Request, answers, known: Login | None = None) -> tuple[object, list[HttpRequest]]:
    """The response, and every HTTP request that was made for it; `answers` is a list or a function."""
    made: list[HttpRequest] = []
    remaining = iter(answers) if isinstance(answers, list) else None

    def send(asked: HttpRequest):
        made.append(asked)
        return answers(asked) if remaining is None else next(remaining)

    return run(exchange(request, ENDPOINT, known or login()), send), made


def errors(*codes: object) -> bytes:
    return json.dumps({"errors": [{"code": code} for code in codes]}).encode()


# ------------------------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("registry", "mirrors", "plain", "origin"),
    [
        ("registry.example.com:5000", {}, frozenset(), "https://registry.example.com:5000"),
        ("docker.io", {}, frozenset(), "https://registry-1.docker.io"),
        ("registry.example.com", {}, frozenset({"*"}), "http://registry.example.com"),
        ("a", {}, frozenset({"b"}), "https://a"),
        ("a", {"a": "http://127.0.0.1:5000/"}, frozenset(), "http://127.0.0.1:5000"),
    ],
)
def test_where_a_registry_answers(registry, mirrors, plain, origin):
    assert endpoint_of(registry, mirrors, plain).origin == origin


def test_a_manifest_is_asked_for_with_the_types_that_are_read():
    _, (asked,) = ask(MANIFEST, [HttpReply(404)])
    assert asked.url == "https://registry.example.com/v2/payments/api/manifests/1.4.2"
    assert "application/vnd.oci.image.index.v1+json" in asked.accept
    assert asked.limit == 1000
    assert asked.authorization is None


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://A.example/x", "https://a.example:443"),
        ("http://a.example:80", "http://a.example:80"),
        ("http://u@a.example", "http://@a.example:80"),
        ("ftp://a.example:21", None),
        ("file:///etc/passwd", None),
        ("https://a.example:99999", None),
        ("https://[::1", None),
        ("https://a.example/ HTTP/1.1", None),
        ("https://a.example/\r\nHost: b", None),
        ("/relative", None),
    ],
)
def test_origins(url, origin):
    assert origin_of(url) == origin


# --------------------------------------------------------------------------------------------------------- meanings


@pytest.mark.parametrize(
    ("request_", "reply", "expected"),
    [
        (MANIFEST, HttpReply(404, body=errors("MANIFEST_UNKNOWN")), Absent("MANIFEST_UNKNOWN")),
        (MANIFEST, HttpReply(404, body=errors("NAME_UNKNOWN", "OTHER")), Absent("NAME_UNKNOWN")),
        (MANIFEST, HttpReply(404, body=b"404 page not found"), Absent("")),
        (MANIFEST, HttpReply(404, body=errors("\x1b[31m")), Absent("")),
        (MANIFEST, HttpReply(404, body=errors(7)), Absent("")),
        (REFERRERS, HttpReply(400), Absent("")),
        (REFERRERS, HttpReply(405, body=errors("UNSUPPORTED")), Absent("UNSUPPORTED")),
        (MANIFEST, HttpReply(403), Failed("registry-unauthorized", "HTTP 403")),
        (MANIFEST, HttpReply(429), Failed("registry-rate-limited", "HTTP 429", True)),
        (
            MANIFEST,
            HttpReply(429, (("retry-after", "30"),)),
            Failed("registry-rate-limited", "HTTP 429, retry after 30 s", True, 30_000_000),
        ),
        (MANIFEST, HttpReply(503), Failed("registry-unavailable", "HTTP 503", True)),
        (MANIFEST, HttpReply(408), Failed("registry-unavailable", "HTTP 408", True)),
        (MANIFEST, HttpReply(400), Failed("registry-protocol", "HTTP 400, which is no answer to this question")),
        (
            MANIFEST,
            HttpReply(206, body=b"x"),
            Failed("registry-protocol", "HTTP 206, which is no answer to this question"),
        ),
        (
            MANIFEST,
            HttpFailure("registry-unavailable", "no connection"),
            Failed("registry-unavailable", "no connection", True),
        ),
        (MANIFEST, HttpReply(200, (("content-type", "a/b"),), b"x"), Found(b"x", "a/b")),
    ],
)
def test_what_an_answer_means(request_, reply, expected):
    assert ask(request_, [reply])[0] == expected


@pytest.mark.parametrize(
    ("value", "microseconds"),
    [
        ("0", 0),
        ("120", 120_000_000),
        ("99999999", 6 * 3600 * 1_000_000),
        ("-1", None),
        ("soon", None),
        ("1" * 40, None),
        ("٣", None),
    ],
)
def test_retry_after_is_bounded_and_in_microseconds(value, microseconds):
    assert retry_after(value) == microseconds


# ------------------------------------------------------------------------------------------------------- pagination


@pytest.mark.parametrize(
    ("links", "target"),
    [
        (('</v2/a/referrers/d?n=2>; rel="next"',), "/v2/a/referrers/d?n=2"),
        (("</p>; rel=next",), "/p"),
        (('</prev>; rel="prev", </next>; rel="next"',), "/next"),
        (('</prev>; rel="prev"', '</next>;  REL="next"'), "/next"),
        (('</p>; rel="prev"',), ""),
        (("garbage <<<<",), ""),
        ((), ""),
    ],
)
def test_the_link_to_the_next_page(links, target):
    assert next_link(links) == target


@pytest.mark.parametrize(
    ("page", "url"),
    [
        ("?from=2", "https://registry.example.com/v2/payments/api/referrers/" + REFERRERS.reference + "?from=2"),
        ("/v2/x?last=1", "https://registry.example.com/v2/x?last=1"),
        ("https://registry.example.com:443/v2/x", "https://registry.example.com:443/v2/x"),
        ("https://evil.example/v2/x", None),
        ("//evil.example/v2/x", None),
        ("http://registry.example.com/v2/x", None),
    ],
)
def test_pages_stay_on_the_registry(page, url):
    request = msgspec.structs.replace(REFERRERS, page=page)
    response, made = ask(request, lambda asked: HttpReply(200))
    assert [asked.url for asked in made] == ([url] if url else [])
    assert isinstance(response, Found if url else Failed)


# -------------------------------------------------------------------------------------------------------- challenges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://a/t",service="s",scope="repository:x:pull"',
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull"})],
        ),
        ('Basic realm="a \\"b\\" c"', [("basic", {"realm": 'a "b" c'})]),
        ('Basic realm="x", Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        ("Negotiate", [("negotiate", {})]),
        ('BEARER REALM = "y" , Service=z', [("bearer", {"realm": "y", "service": "z"})]),
        ('Bearer realm="first",realm="second"', [("bearer", {"realm": "first"})]),
        ("", []),
        ('Bearer realm="unfinished', [("bearer", {})]),
        ("," * 9000, []),
    ],
)
def test_challenges(header, expected):
    assert [(c.scheme, c.parameters) for c in parse_challenges([header])] == expected


@given(st.text(max_size=300))
@settings(max_examples=200)
def test_any_header_is_parsed_without_error(header):
    for challenge in parse_challenges([header]):
        assert challenge.scheme


@pytest.mark.parametrize(
    ("realm", "plain", "url"),
    [
        (
            "https://auth.example/token",
            False,
            "https://auth.example/token?service=s&scope=repository%3Apayments%2Fapi%3Apull",
        ),
        (
            "https://auth.example/token?a=1",
            False,
            "https://auth.example/token?a=1&service=s&scope=repository%3Apayments%2Fapi%3Apull",
        ),
        ("http://auth.example/token", False, None),
        ("http://auth.example/t", True, "http://auth.example/t?service=s&scope=repository%3Apayments%2Fapi%3Apull"),
        ("https://user@auth.example/token", False, None),
        ("file:///etc/passwd", True, None),
        ("", True, None),
        ("https://[", False, None),
    ],
)
def test_a_realm_is_followed_over_tls_unless_the_registry_has_none(realm, plain, url):
    challenge = Challenge("bearer", {"realm": realm, "service": "s"})
    assert token_url(challenge, "payments/api", plain_http=plain) == url


BEARER = HttpReply(401, (("www-authenticate", 'Bearer realm="https://auth.example/token",service="s"'),))
TOKEN = HttpReply(200, body=b'{"token":"planted-token"}')


def test_a_bearer_token_is_fetched_once_and_used_again():
    known = login(REGISTRY)
    response, made = ask(MANIFEST, [BEARER, TOKEN, HttpReply(200, body=b"x")], known)
    assert response == Found(b"x")
    assert [asked.authorization and asked.authorization.reveal() for asked in made] == [
        None,
        BASIC,
        "Bearer planted-token",
    ]
    response, made = ask(MANIFEST, [HttpReply(200, body=b"y")], known)
    assert [asked.authorization and asked.authorization.reveal() for asked in made] == ["Bearer planted-token"]


def test_an_expired_token_is_replaced_once():
    known = login()
    ask(MANIFEST, [BEARER, TOKEN, HttpReply(200)], known)
    fresh = HttpReply(200, body=b'{"access_token":"fresh"}')
    response, made = ask(MANIFEST, [BEARER, fresh, HttpReply(200, body=b"z")], known)
    assert response == Found(b"z")
    assert made[-1].authorization is not None
    assert made[-1].authorization.reveal() == "Bearer fresh"


def test_a_registry_that_refuses_the_token_it_asked_for_is_asked_no_third_time():
    response, made = ask(MANIFEST, [BEARER, TOKEN, BEARER], login(REGISTRY))
    assert response == Failed("registry-unauthorized", "HTTP 401")
    assert len(made) == 3


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (HttpReply(401), "registry-unauthorized"),
        (HttpReply(429, (("retry-after", "9"),)), "registry-rate-limited"),
        (HttpReply(500), "registry-unavailable"),
        (HttpReply(200, body=b"<html>"), "registry-protocol"),
        (HttpReply(200, body=b'{"token":"a\\r\\nX: y"}'), "registry-protocol"),
        (HttpReply(200, body=b'{"token":""}'), "registry-protocol"),
        (HttpFailure("registry-unavailable", "no connection"), "registry-unavailable"),
    ],
)
def test_a_token_service_that_fails_is_told_as_such(answer, code):
    response, _ = ask(MANIFEST, [BEARER, answer])
    assert isinstance(response, Failed)
    assert response.code == code
    assert response.detail.startswith("token service")


def test_without_credentials_a_basic_challenge_ends_there():
    challenge = HttpReply(401, (("www-authenticate", 'Basic realm="r"'),))
    response, made = ask(MANIFEST, [challenge], login("other.example"))
    assert isinstance(response, Failed)
    assert response.code == "registry-unauthorized"
    assert len(made) == 1


def test_a_helper_is_named_and_not_run():
    book = parse_docker_config(json.dumps({"credHelpers": {REGISTRY: "pass"}}).encode())
    challenge = HttpReply(401, (("www-authenticate", 'Basic realm="r"'),))
    response, _ = ask(MANIFEST, [challenge], Login(book))
    assert isinstance(response, Failed)
    assert "helper" in response.detail


# --------------------------------------------------------------------------------------------------------- redirects


def to(url: str, status: int = 307) -> HttpReply:
    return HttpReply(status, (("location", url),))


def test_credentials_stay_behind_when_a_redirect_leaves_the_registry():
    known = login(REGISTRY, "blobs.example")
    ask(MANIFEST, [HttpReply(401, (("www-authenticate", "Basic realm=r"),)), HttpReply(200)], known)
    response, made = ask(MANIFEST, [to("https://blobs.example/x?signature=planted"), HttpReply(200, body=b"x")], known)
    assert response == Found(b"x")
    assert [asked.authorization is not None for asked in made] == [True, False]
    assert "planted" not in repr(made)


def test_a_challenge_of_another_host_is_not_answered():
    known = login(REGISTRY, "blobs.example")
    challenge = HttpReply(401, (("www-authenticate", "Basic realm=r"),))
    response, made = ask(MANIFEST, [to("https://blobs.example/x"), challenge], known)
    assert response == Failed("registry-unauthorized", "HTTP 401")
    assert len(made) == 2


@pytest.mark.parametrize(
    "location",
    [
        "http://registry.example.com/x",
        "http://blobs.example/x",
        "ftp://blobs.example/x",
        "https://u:p@blobs.example/",
        "https://[",
        "",
    ],
)
def test_redirects_that_are_not_followed(location):
    response, made = ask(MANIFEST, lambda asked: to(location) if location else to("", 301))
    assert isinstance(response, Failed)
    assert response.code == "registry-protocol"
    assert len(made) <= 6


def test_redirects_end():
    response, made = ask(MANIFEST, lambda asked: to(asked.url + "x"))
    assert response == Failed("registry-protocol", "more than 5 redirects")
    assert len(made) == 6


ORIGINS = [f"https://{REGISTRY}", f"https://{REGISTRY}:5000", "https://blobs.example", "https://auth.example"]
STEPS = st.one_of(
    st.sampled_from(ORIGINS).map(lambda origin: to(f"{origin}/x")),
    st.sampled_from(["/relative", "//blobs.example/x"]).map(to),
    st.sampled_from(
        ['Basic realm="r"', 'Bearer realm="https://auth.example/token"', 'Bearer realm="http://auth.example/"']
    ).map(lambda challenge: HttpReply(401, (("www-authenticate", challenge),))),
    st.sampled_from([HttpReply(200, body=b'{"token":"t"}'), HttpReply(404), HttpReply(500), HttpReply(302)]),
)


@given(st.lists(STEPS, min_size=1, max_size=8), st.integers(1, 3))
@settings(max_examples=200)
def test_whatever_a_registry_answers_credentials_reach_only_it_and_its_realm(steps, rounds):
    """Tokens and passwords of the registry go to the registry, passwords to its realm over TLS, and nowhere else."""
    known = login(REGISTRY, "blobs.example")
    cycle = iter(steps * 40)
    made: list[HttpRequest] = []

    def send(asked: HttpRequest):
        made.append(asked)
        return next(cycle)

    for _ in range(rounds):
        response = run(exchange(MANIFEST, ENDPOINT, known), send)
        assert isinstance(response, Found | Absent | Failed)
        assert PASSWORD not in repr(response)
    for asked in made:
        origin = origin_of(asked.url)
        if asked.authorization is not None:
            assert origin in {f"https://{REGISTRY}:443", "https://auth.example:443"}
            if origin != f"https://{REGISTRY}:443":
                assert asked.authorization.reveal() == BASIC


# ------------------------------------------------------------------------------------------------------- credentials


def config(**auths) -> CredentialBook:
    return parse_docker_config(json.dumps({"auths": auths}).encode())


def entry(user: str, password: str) -> dict:
    return {"auth": b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("written", "host", "path", "found"),
    [
        ("registry.example.com", "registry.example.com", "a/b", True),
        ("https://registry.example.com", "registry.example.com", "a", True),
        ("https://registry.example.com/v2/", "registry.example.com", "a", True),
        ("https://index.docker.io/v1/", "registry-1.docker.io", "library/nginx", True),
        ("docker.io", "registry-1.docker.io", "library/nginx", True),
        ("registry.example.com/a", "registry.example.com", "a/b", True),
        ("registry.example.com/a", "registry.example.com", "ab", False),
        ("registry.example.com:5000", "registry.example.com", "a", False),
        ("registry.example.com", "registry.example.com:5000", "a", False),
        ("example.com", "registry.example.com", "a", False),
        ("registry.example.com", "registry.example.com.evil.example", "a", False),
    ],
)
def test_credentials_are_found_for_their_host_only(written, host, path, found):
    assert (config(**{written: entry("u", "p")}).find(host, path) is not None) == found


def test_the_longest_path_wins():
    book = config(**{"r.example": entry("u", "host"), "r.example/team": entry("u", "team")})
    chosen = book.find("r.example", "team/app")
    assert chosen is not None
    assert chosen.basic is not None
    assert chosen.basic.reveal() == b64encode(b"u:team").decode()


def test_a_ready_token_is_sent_as_bearer():
    known = Login(config(**{REGISTRY: {"registrytoken": "ready"}}))
    _, made = ask(MANIFEST, [BEARER, HttpReply(200)], known)
    assert made[-1].authorization is not None
    assert made[-1].authorization.reveal() == "Bearer ready"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"auths": {"a": {"auth": "planted!"}}}',
        b'{"auths": "planted"}',
        b'{"auths": {"planted": {"auth": 1}}}',
        b"\xff",
    ],
)
def test_a_broken_configuration_is_refused_without_quoting_it(data):
    with pytest.raises(PlaceRefused) as refused:
        parse_docker_config(data)
    assert "planted" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_secrets_print_encode_and_copy_not():
    secret = Secret("planted")
    book = config(**{"r.example": entry("u", "planted")})
    known = Login(book)
    request = HttpRequest("https://a.example/?signature=planted", (), secret)
    for thing in (secret, book, known, request, book.find("r.example", "x")):
        assert "planted" not in repr(thing)
        assert "planted" not in str(thing)
    with pytest.raises(TypeError):
        msgspec.json.encode(request)
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_tokens_that_cannot_stand_in_a_header_are_none():
    assert parse_token(b'{"token":"a b"}') is None
    assert parse_token(b'{"token":7}') is None
    token = parse_token(b'{"access_token":"x.y-z"}')
    assert token is not None
    assert token.reveal() == "x.y-z"
