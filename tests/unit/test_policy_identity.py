"""Identities: exact, wildcard, anchored and unanchored expressions, extensions; and what is refused as anyone."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from verifier.evidence.x509 import FULCIO_EXTENSIONS
from verifier.models import LeafCertificate
from verifier.policy.attestors import Attestor
from verifier.policy.identity import EXTENSION_NAMES, MAX_REGEX_CHARACTERS, Identity, matches, show_identity

ISSUER, SUBJECT = "https://idp.example", "https://git.example/a/ci.yml@main"


def leaf(*sans: str, issuer: str = ISSUER, **extensions: str) -> LeafCertificate:
    return LeafCertificate("00", "11", "1", "CN=x", 0, 1, issuer, sans or (SUBJECT,), tuple(sorted(extensions.items())))


def identity(**members) -> Identity:
    return Identity.model_validate(members)


def test_the_names_of_extensions_are_those_that_are_read():
    assert frozenset(FULCIO_EXTENSIONS.values()) == EXTENSION_NAMES


ROWS = [
    ({"subject": SUBJECT}, leaf(), True),
    ({"subject": SUBJECT}, leaf("x", SUBJECT), True),
    ({"subject": SUBJECT + " "}, leaf(), False),
    ({"subject": SUBJECT.upper()}, leaf(), False),
    ({"subject": SUBJECT, "issuer": ISSUER}, leaf(), True),
    ({"subject": SUBJECT, "issuer": ISSUER + "/"}, leaf(), False),
    ({"subject": SUBJECT, "issuer": ISSUER}, leaf(issuer=""), False),
    ({"subjectPattern": "https://git.example/*"}, leaf(), True),
    ({"subjectPattern": "https://git.example/?/ci.yml@main"}, leaf(), True),
    ({"subjectPattern": "git.example/*"}, leaf(), False),
    ({"subjectPattern": "*"}, leaf(), True),
    ({"subjectPattern": "https://git.example/a.ci.yml@main"}, leaf(), False),
    ({"subjectRegExp": r"https://git\.example/.*"}, leaf(), True),
    ({"subjectRegExp": r"git\.example"}, leaf(), False),
    ({"subjectRegExp": r"git\.example", "unanchored": True}, leaf(), True),
    ({"subjectRegExp": r"^https://git\.example/a/", "unanchored": True}, leaf(), True),
    ({"subjectRegExp": r"^git", "unanchored": True}, leaf(), False),
    ({"subjectRegExp": r"a|https://git\.example/.*|b"}, leaf(), True),
    ({"subjectRegExp": r"https://git|x"}, leaf(), False),
    ({"subjectRegExp": r"(?m)^b$"}, leaf("a\nb"), False),
    ({"subjectRegExp": "abc"}, leaf("abc\n"), False),
    ({"subject": SUBJECT, "issuerRegExp": "https://idp.*"}, leaf(), True),
    ({"subject": SUBJECT, "issuerRegExp": "idp", "unanchored": True}, leaf(issuer="https://idp.evil"), True),
    ({"subject": SUBJECT, "issuerPattern": "https://idp.*"}, leaf(), True),
    ({"subject": SUBJECT, "issuerPattern": "https://idp.?"}, leaf(), False),
    (
        {"extensions": {"sourceRepositoryURI": "https://git.example/*"}},
        leaf(sourceRepositoryURI="https://git.example/a"),
        True,
    ),
    ({"extensions": {"sourceRepositoryURI": "*"}}, leaf(), False),
    ({"extensions": {"sourceRepositoryURI": "*"}}, leaf(sourceRepositoryURI=""), True),
    ({"extensions": {"buildTrigger": "push", "runnerEnvironment": "*hosted"}}, leaf(buildTrigger="push"), False),
    (
        {"extensions": {"buildTrigger": "push", "runnerEnvironment": "*hosted"}},
        leaf(buildTrigger="push", runnerEnvironment="github-hosted"),
        True,
    ),
    ({"extensions": {"buildTrigger": "a*b?c"}}, leaf(buildTrigger="a\n\nb\nc"), True),
    ({"subject": SUBJECT, "subjectPattern": "x*"}, leaf("x", SUBJECT), False),
    ({"subjectPattern": "a+b.c(d)[e]^$|\\"}, leaf("a+b.c(d)[e]^$|\\"), True),
    ({"subjectPattern": "é*"}, leaf("éa"), True),
]


@pytest.mark.parametrize(("wanted", "certificate", "expected"), ROWS)
def test_matching(wanted, certificate, expected):
    """All members of one identity are asked of one name; expressions match whole names unless they are unanchored."""
    assert matches(identity(**wanted), certificate) is expected


def test_no_certificate_without_names_has_a_subject():
    assert not matches(identity(subjectPattern="*"), LeafCertificate("00", "11", "1", "CN=x", 0, 1))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "is anyone"),
        ({"issuer": ISSUER}, "is anyone"),
        ({"issuerRegExp": ".*"}, "is anyone"),
        ({"unanchored": True}, "is anyone"),
        ({"extensions": {}}, "is anyone"),
        ({"subject": "", "issuer": ISSUER}, "is anyone"),
        ({"extensions": {"sourceRepository": "x"}}, "no Fulcio extension"),
        ({"subjectRegExp": ""}, "1 to"),
        ({"subjectRegExp": "a" * (MAX_REGEX_CHARACTERS + 1)}, "1 to"),
        ({"subjectRegExp": "(?=a)a"}, "RE2"),
        ({"subjectRegExp": r"(a)\1"}, "RE2"),
        ({"subjectRegExp": "((a{100}){100}){100}"}, "RE2"),
        ({"subjectRegExp": "("}, "RE2"),
        ({"subject": "a", "sub": "b"}, "Extra inputs"),
    ],
)
def test_what_is_no_identity(members, message):
    with pytest.raises(ValidationError, match=message):
        identity(**members)


ANYONE = [
    ({"keyless": {"identities": []}}, "would accept anybody"),
    ({"keyless": {"identities": [{"subject": "a"}]}}, "names its issuer"),
    ({"keyless": {"identities": [{"subject": "a", "issuer": ISSUER}, {"subject": "b"}]}}, "names its issuer"),
    ({"certificates": {"roots": ["corp"]}}, "say anyone: true"),
    ({"certificates": {"roots": ["corp"], "fingerprints": []}}, "say anyone: true"),
    ({"certificates": {"roots": [], "anyone": True}}, "without roots"),
    ({"certificates": {"roots": ["corp"], "fingerprints": ["AB" * 32]}}, "lower-case hex"),
    ({"notary": {"stores": ["ca:corp"], "identities": []}}, "accepts nobody"),
    ({"notary": {"stores": ["tsa:corp"], "identities": ["*"]}}, "signs no images"),
    ({"notary": {"stores": ["corp"], "identities": ["*"]}}, "ca:NAME"),
    ({"openpgp": {"keyrings": []}}, "can never have signed"),
]


@pytest.mark.parametrize(("attestor", "message"), ANYONE)
def test_an_attestor_that_anybody_or_nobody_could_be(attestor, message):
    with pytest.raises(ValidationError, match=message):
        Attestor.model_validate(attestor)


def test_anyone_has_to_be_said():
    assert Attestor.model_validate({"certificates": {"roots": ["corp"], "anyone": True}}).certificates is not None


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(.*a){20}", "a?" * 60 + "a" * 60])
def test_no_expression_takes_long(pattern):
    wanted = identity(subjectRegExp=pattern, unanchored=True)
    start = time.perf_counter()
    matches(wanted, leaf("a" * 2000 + "!"))
    assert time.perf_counter() - start < 0.5


@settings(max_examples=60)
@given(st.text("ab*?.\n", max_size=8).filter(lambda t: t.strip()), st.text("ab.\n", max_size=8))
def test_wildcards_agree_with_their_definition(pattern, text):
    def slow(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return slow(p[1:], t) or (bool(t) and slow(p, t[1:]))
        return bool(t) and (p[0] in ("?", t[0])) and slow(p[1:], t[1:])

    try:
        wanted = identity(extensions={"buildTrigger": pattern})
    except ValidationError:
        return
    assert matches(wanted, leaf(buildTrigger=text)) is slow(pattern, text)


def test_an_identity_for_people():
    wanted = identity(subject="a", issuerRegExp="b.*", extensions={"buildTrigger": "push"})
    assert show_identity(wanted) == "subject a, issuer matching b.*, buildTrigger push"
