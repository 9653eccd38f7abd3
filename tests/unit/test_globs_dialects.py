"""The dialects of image patterns: each tool's own table, the truth table of all of them, and what no pattern can do."""

from functools import cache
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import ImageReferenceError
from verifier.models import ImageReference, Scope
from verifier.policy.fields import MAX_PATTERN_CHARACTERS
from verifier.policy.globs import compile_glob, image_texts, matches_everything
from verifier.policy.gobwas import MAX_ALTERNATIVES, gobwas_regexes
from verifier.policy.lint import overreach, why_never
from verifier.policy.model import MatchRule, Policy, Requirement
from verifier.policy.selection import compile_policy
from verifier.reference import parse_reference

H = "sha256:" + "a" * 64
PINNED = "5504f2a95018e3d8a52d80d9e1a128c6ea337581808ff9fe96f5628ce2336350"
ERROR = "an error"


def matches(pattern, dialect, image, digest=""):
    texts = image_texts(parse_reference(image), digest, dialect)
    return any(map(compile_glob(pattern, dialect, "image"), texts))


# ------------------------------------------------------------------------------------------------- policy-controller

POLICY_CONTROLLER = [
    # image, glob, matches: the rows of sigstore/policy-controller pkg/apis/glob/glob_test.go (v0.15.1)
    ("foo", "index.docker.io/library/foo:latest", True),
    ("foo", "index.docker.io/library/foo:*", True),
    ("foo", "index.docker.io/library/*", True),
    ("foo", "index.docker.io/library/*:latest", True),
    ("foo", "index.docker.io/*/*", True),
    ("foo", "index.docker.io/**", True),
    ("foo", "index.docker.**", True),
    ("foo", "inde**", True),
    ("foo", "**", True),
    ("foo", "foo", True),
    ("foo", "foo*", True),
    ("foo", "foo**", True),
    ("myuser/myapp", "index.docker.io/myuser/myapp:latest", True),
    ("myuser/myapp", "index.docker.io/myuser/myapp:*", True),
    ("myuser/myapp", "index.docker.io/myuser/*", True),
    ("myuser/myapp", "index.docker.io/myuser/*:latest", True),
    ("myuser/myapp", "index.docker.io/*/*", True),
    ("myuser/myapp", "index.docker.io/**", True),
    ("myuser/myapp", "index.docker.**", True),
    ("myuser/myapp", "inde**", True),
    ("myuser/myapp", "**", True),
    ("myuser/myapp", "myuser/myapp", True),
    ("myuser/myapp", "myuser/myapp*", True),
    ("myuser/myapp", "myuser/myapp**", True),
    ("ghcr.io/foo/bar", "ghcr.io/*/*", True),
    ("ghcr.io/foo/bar", "ghcr.io/**", True),
    ("ghcr.io/foo", "ghcr.io/*/*", False),
    ("ghcr.io/foo", "ghcr.io/**", True),
    ("ghcr.io/foo", "ghc**", True),
    ("ghcr.io/foo", "**", True),
    ("ghcr.io/foo", "*/**", True),
    ("ghcr.io/foo", "ghcr.io/foo*", True),
    ("ghcr.io/foo", "ghcr.io/foo**", True),
    ("prefix-ghcr.io/foo", "ghcr.io/foo", False),
    ("ghcr.io/foo-suffix", "ghcr.io/foo", False),
    ("ghcrxio/foo", "ghcr.io/**", False),
    ("invalid&name", "**", ERROR),
    ("invalid-glob", ".+", ERROR),
    ("invalid-glob", "[a-z]*", ERROR),
    ("foo", "*", True),
    ("myuser/myapp", "*/*", True),
    (f"ghcr.io/foo@sha256:{PINNED}", f"ghcr.io/foo@sha256:{PINNED}", True),
]


def test_the_table_is_whole():
    assert len(POLICY_CONTROLLER) == 42


@pytest.mark.parametrize(("image", "glob", "expected"), POLICY_CONTROLLER)
def test_policy_controllers_own_table(image, glob, expected):
    if expected is ERROR:
        with pytest.raises((ValueError, ImageReferenceError)):
            matches(glob, "cip", image)
    else:
        assert matches(glob, "cip", image) is expected


def test_a_glob_is_tried_on_the_digest_that_runs_too():
    """policy-controller pins every image before it looks."""
    assert matches("ghcr.io/foo@*", "cip", "ghcr.io/foo:v1", H)
    assert matches("index.docker.io/library/foo@*", "cip", "foo", H)
    assert not matches("ghcr.io/foo:v2", "cip", "ghcr.io/foo:v1", H)


# ---------------------------------------------------------------------------------------------------- all side by side

NO = "not a pattern of the dialect"
TRUTH = [
    # pattern, image, cip, kyverno, gobwas, connaisseur
    ("r.example/org/*", "r.example/org/app:v1", True, True, True, True),
    ("r.example/*", "r.example/a/b:v1", False, True, True, True),
    ("r.example/org/*", "rxexample/org/app:v1", False, False, False, False),
    ("r.example/a?", "r.example/a", NO, False, False, True),
    ("r.example/a?", "r.example/ab", NO, False, True, True),
    ("r.example/a?:*", "r.example/ab", NO, True, True, True),
    ("r.example/org*", "r.example/org-evil/app", False, True, True, True),
    ("r.example/org/app:*", f"r.example/org/app@{H}", False, False, False, False),
    ("*", "r.example/x", False, True, True, True),
    ("*", "x", True, True, True, True),
    ("foo", "foo", True, False, True, True),
    ("docker.io/library/foo:*", "foo", True, True, True, True),
    ("my.registry/test", "evil.invalid/my.registry/test-x:1", False, False, False, True),
    ("r.example/{a,b}:*", "r.example/b:1", NO, False, True, True),
    ("r.example/[ab]:*", "r.example/b:1", NO, False, True, True),
    ("r.example/[!ab]:*", "r.example/b:1", NO, False, False, False),
    ("R.example/app", "r.example/app:1", False, False, False, True),
]
DIALECTS = ("cip", "kyverno", "gobwas", "connaisseur")


@pytest.mark.parametrize(("pattern", "image", *DIALECTS), TRUTH)
def test_truth_table_of_the_dialects(pattern, image, cip, kyverno, gobwas, connaisseur):
    for dialect, expected in zip(DIALECTS, (cip, kyverno, gobwas, connaisseur), strict=True):
        if expected is NO:
            with pytest.raises(ValueError, match="letters, digits"):
                matches(pattern, dialect, image)
        else:
            assert matches(pattern, dialect, image) is expected, dialect


# ------------------------------------------------------------------------------------------------------------- gobwas

GOBWAS = [
    ("a star crosses slashes", "a*c", "a/b/c", True),
    ("so does a double star", "a**c", "a/b/c", True),
    ("a star may be nothing", "a*", "a", True),
    ("a question mark is one character, also a slash", "a?c", "a/c", True),
    ("a question mark is never nothing", "ab?", "ab", False),
    ("a set", "[abc]", "b", True),
    ("a set, negated", "[!abc]", "b", False),
    ("a range", "[a-c]x", "bx", True),
    ("a range, negated", "[!a-c]x", "dx", True),
    ("a dash at the end of a set is a character", "[ab-]", "-", True),
    ("a bracket that only closes is a character", "a]", "a]", True),
    ("a brace that only closes is a character", "a}", "a}", True),
    ("a comma outside a group is a character", "a,b", "a,b", True),
    ("a group", "{ab,cd}e", "cde", True),
    ("a group with an empty alternative", "a{,b}", "a", True),
    ("groups nest", "{a,{b,c}d}e", "cde", True),
    ("wildcards inside a group", "{a*,b?}/x", "a/1/x", True),
    ("an escaped star is a star", "a\\*", "a*", True),
    ("and nothing else", "a\\*", "ab", False),
    ("a dot is a dot", "a.b", "axb", False),
    ("a caret in a set is a character", "[^a]", "^", True),
    ("a plus, a pipe and parentheses are characters", "a+|(b)", "a+|(b)", True),
    ("the whole text is matched", "a", "ab", False),
    ("both ends of a pattern are not the same character (gobwas 0.2.3 says so)", "a*a", "a", False),
]


@pytest.mark.parametrize(("_sentence", "pattern", "text", "expected"), GOBWAS)
def test_gobwas(_sentence, pattern, text, expected):
    assert compile_glob(pattern, "gobwas", "image")(text) is expected


@pytest.mark.parametrize(
    "pattern", ["{a", "[a", "a\\", "[]", "[!]", "[c-a]", "[a-cx]", "{a,{b}", "{" * 9 + "a" + "}" * 9, "é"]
)
def test_what_gobwas_reads_by_accident_is_refused(pattern):
    with pytest.raises(ValueError, match=r"\w"):
        compile_glob(pattern, "gobwas", "image")


def test_groups_stand_for_a_bounded_number_of_patterns():
    assert len(gobwas_regexes("{a,b}{c,{d,e}}")) == 6
    with pytest.raises(ValueError, match=str(MAX_ALTERNATIVES)):
        compile_glob("{a,b}" * 7, "gobwas", "image")


@settings(max_examples=200)
@given(st.text("ab/?*", min_size=1, max_size=10), st.lists(st.text("ab/", max_size=12), min_size=5, max_size=20))
def test_matchers_agree_with_the_definition(pattern, texts):
    for text in texts:
        assert compile_glob(pattern, "gobwas", "image")(text) is naive(pattern, text, crosses=True)
        if "?" not in pattern and pattern not in ("*", "*/*"):
            assert compile_glob(pattern, "cip", "image")(text) is naive(pattern, text, crosses=False)


def naive(pattern, text, *, crosses):
    """The definition, by recursion."""

    @cache
    def at(i, j):
        if i == len(pattern):
            return j == len(text)
        if pattern[i] == "*":
            double = pattern[i : i + 2] == "**"
            over = crosses or double
            rest = i + 2 if double else i + 1
            return at(rest, j) or (j < len(text) and (over or text[j] != "/") and at(i, j + 1))
        return j < len(text) and pattern[i] in (text[j], "?") and at(i + 1, j + 1)

    return at(0, 0)


# ------------------------------------------------------------------------------------------- repositories and scopes

SCOPES = [
    # dialect, scope, image, matches
    ("notation", "*", "r.example/a/b:1", True),
    ("notation", "r.example/a/b", "r.example/a/b:1", True),
    ("notation", "r.example/a/b", f"r.example/a/b@{H}", True),
    ("notation", "r.example/a", "r.example/a/b:1", False),
    ("notation", "R.Example/a", "r.example/a:1", True),
    ("notation", "r.example:5000/a", "r.example:5000/a:1", True),
    ("notation", "docker.io/library/foo", "foo", True),
    ("containers", "*", "r.example/a/b:1", True),
    ("containers", "r.example", "r.example/a/b:1", True),
    ("containers", "r.example", "r.example.evil.invalid/a:1", False),
    ("containers", "r.example", "r.example:5000/a:1", False),
    ("containers", "r.example:5000", "r.example:5000/a:1", True),
    ("containers", "r.example/a", "r.example/a/b:1", True),
    ("containers", "r.example/a", "r.example/ab:1", False),
    ("containers", "r.example/a", "r.example/a:1", True),
    ("containers", "r.example/a:1", "r.example/a:1", True),
    ("containers", "r.example/a:1", "r.example/a:12", False),
    ("containers", "r.example/a:1", f"r.example/a:1@{H}", False),
    ("containers", f"r.example/a@{H}", f"r.example/a:1@{H}", True),
    ("containers", "docker.io/library/busybox:latest", "busybox", True),
    ("containers", "docker.io/library", "busybox", True),
    ("containers", "busybox", "busybox", False),
    ("containers", "*.example.com", "a.example.com/x:1", True),
    ("containers", "*.example.com", "a.b.example.com:5000/x:1", True),
    ("containers", "*.example.com", "example.com/x:1", False),
    ("containers", "*.example.com", "evilexample.com/x:1", False),
    ("containers", "*.example.com", "r.invalid/a.example.com/x:1", False),
]


@pytest.mark.parametrize(("dialect", "scope", "image", "expected"), SCOPES)
def test_scopes(dialect, scope, image, expected):
    assert matches(scope, dialect, image) is expected


def test_the_digest_that_runs_chooses_no_scope():
    """Only the most specific scope counts: one by digest must not take an image from the scope it was asked by."""
    assert not matches(f"r.example/a@{H}", "containers", "r.example/a:1", H)
    assert not matches("*@sha256:*", "connaisseur", "r.example/a:1", H)


REFUSED = [
    ("notation", "r.example"),
    ("notation", "r.example/a:1"),
    ("notation", f"r.example/a@{H}"),
    ("notation", "r.example/*"),
    ("notation", "*/a"),
    ("containers", "r.example/*"),
    ("containers", "example*.*.com"),
    ("containers", "*.example.com/a"),
    ("containers", "*.example.com:5000"),
    ("containers", "*."),
    ("containers", "/a"),
    ("containers", "r.example//a"),
    ("containers", "https://r.example/a"),
    ("containers", "r.example/a/"),
    ("cip", "r.example/a?"),
    ("cip", "r.example/[ab]"),
    ("cip", "r.example/a b"),
    ("connaisseur", "{a"),
    ("connaisseur", "\ud800"),
    ("cip", "a" * (MAX_PATTERN_CHARACTERS + 1)),
]


@pytest.mark.parametrize(("dialect", "pattern"), REFUSED)
def test_what_is_no_pattern_of_a_dialect_is_refused(dialect, pattern):
    with pytest.raises(ValueError, match=r"\w"):
        compile_glob(pattern, dialect, "image")
    assert why_never(pattern, dialect, "image") is not None


# ------------------------------------------------------------------------------------------------------------ hostile


@pytest.mark.parametrize("dialect", ["cip", "gobwas", "connaisseur"])
@pytest.mark.parametrize("pattern", ["*a" * 200 + "b", "**a" * 150 + "b", "a*" * 250, "**a*" * 120 + "b"])
def test_no_text_makes_a_pattern_slow(pattern, dialect):
    matcher = compile_glob(pattern, dialect, "image")
    start = process_time()
    matcher("a" * 1000 + "c")
    matcher("a/" * 500)
    assert process_time() - start < 1  # measured: a millisecond


@pytest.mark.parametrize(
    "pattern",
    ["{a,b}" * 6 + "*a" * 200, "{*,?}" * 6 + "*a" * 150, "[!b]*" * 100, "*[ab]" * 100 + "c", "{{{{a,b},c},d},e}*" * 2],
)
def test_no_group_makes_a_pattern_slow(pattern):
    matcher = compile_glob(pattern, "gobwas", "image")
    start = process_time()
    matcher("ab" * 500)
    assert process_time() - start < 1


@pytest.mark.parametrize("text", ["r.example/\ud800", "r.example/é", "r.example/a\n", "\x00"])
@pytest.mark.parametrize("dialect", ["cip", "gobwas", "connaisseur", "notation", "containers"])
def test_a_text_that_is_no_reference_is_no_error(text, dialect):
    assert compile_glob("r.example/app", dialect, "image")(text) is False


@given(st.text(max_size=30), st.sampled_from(["cip", "gobwas", "connaisseur", "notation", "containers"]))
def test_any_text_is_a_pattern_or_refused(pattern, dialect):
    try:
        matcher = compile_glob(pattern, dialect, "image")
    except ValueError:
        return
    assert matcher("r.example/a/b:1") in (True, False)


# ---------------------------------------------------------------------------------------------------- beside the image


@pytest.mark.parametrize("dialect", ["cip", "gobwas", "connaisseur", "notation", "containers"])
def test_namespaces_and_labels_are_native_in_every_dialect(dialect):
    """Connaisseur's "anywhere in the name" is about images: `prod` must not govern `prod-test`."""
    assert compile_glob("prod", dialect, "namespace")("prod")
    assert not compile_glob("prod", dialect, "namespace")("prod-test")
    assert compile_glob("team-*", dialect, "value")("team-a")


@pytest.mark.parametrize(
    ("pattern", "dialect", "expected"),
    [
        ("**", "cip", True),
        ("*", "cip", False),
        ("*", "gobwas", True),
        ("*:*", "connaisseur", True),
        ("/", "connaisseur", True),
        ("*", "notation", True),
        ("*", "containers", True),
        ("*.com", "containers", False),
    ],
)
def test_patterns_that_leave_next_to_nothing_out_are_known(pattern, dialect, expected):
    assert matches_everything(pattern, dialect, "image") is expected


def a_policy(dialect, match, exclude=()):
    rules = [MatchRule(images=found) for found in (match, exclude) if found]
    return Policy(
        id="p", dialect=dialect, match=tuple(rules[:1]), exclude=tuple(rules[1:]), require=Requirement(denied="no")
    )


def test_a_pattern_nobody_checked_governs_rather_than_not():
    scope = Scope(ImageReference("r.example", "a", "1"))
    assert compile_policy(a_policy("cip", ("r.example/[a",))).governs(scope, H)
    assert compile_policy(a_policy("cip", ("**",), ("r.example/[a",))).governs(scope, H)


@pytest.mark.parametrize(
    ("dialect", "match", "exclude", "governed"),
    [
        ("containers", ("r.example",), ("r.example/a",), ["r.example/b:1"]),
        ("notation", ("*",), ("r.example/a",), ["r.example/b:1", "r.example/a/c:1"]),
        ("connaisseur", ("*:*",), ("r.example/a:*",), ["r.example/b:1", "r.example/a/c:1"]),
    ],
)
def test_what_is_more_specific_is_taken_out(dialect, match, exclude, governed):
    compiled = compile_policy(a_policy(dialect, match, exclude))
    images = ["r.example/a:1", "r.example/b:1", "r.example/a/c:1"]
    found = [image for image in images if compiled.governs(Scope(parse_reference(image)), H)]
    assert found == governed


def test_what_a_pattern_covers_beyond_its_looks_is_said():
    assert "evil.invalid/my.registry/test-other" in str(overreach("my.registry/test", "connaisseur"))
    assert overreach("*/test", "connaisseur") is None
    assert "org-other" in str(overreach("r.example/org**", "cip"))
    assert overreach("r.example/org*", "cip") is None
    assert overreach("r.example", "containers") is None
