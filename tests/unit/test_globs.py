"""Patterns: the truth table of the dialects, the traps of each, and what no text can do to a matcher."""

from functools import cache
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.models import ImageReference
from verifier.policy.fields import MAX_PATTERN_CHARACTERS
from verifier.policy.globs import compile_glob, image_texts, matches_everything, split_image

H = "sha256:" + "a" * 64

TRUTH = [
    # pattern, image, native, kyverno
    ("r.example/org/*", "r.example/org/app:v1", True, True),
    ("r.example/*", "r.example/a/b:v1", False, True),
    ("r.example/**", "r.example/a/b:v1", True, True),
    ("r.example/org/*", "rXexample/org/app:v1", False, False),
    ("r.example/a?", "r.example/a", False, False),
    ("r.example/a?", "r.example/ab", True, True),
    ("r.example/org*", "r.example/org-evil/app", False, True),
    ("r.example/org/app:*", f"r.example/org/app@{H}", False, False),
    ("*", "x/y", False, True),
    ("**", "x/y", True, True),
    ("foo", "docker.io/library/foo:latest", False, False),
    ("docker.io/library/foo", "docker.io/library/foo:latest", True, False),
    ("docker.io/library/foo", f"docker.io/library/foo@{H}", True, False),
    ("docker.io/library/foo:latest", "docker.io/library/foo:latest", True, True),
    ("docker.io/library/foo@*", f"docker.io/library/foo@{H}", True, True),
    ("docker.io/library/foo@*", "docker.io/library/foo:latest", False, False),
    ("r.example/app?1", "r.example/app:1", False, True),
    ("r.example/app*1", "r.example/app:1", False, True),
    ("r.example/*:1.*", "r.example/app:1.2", True, True),
    ("r.example/*:1.*", "r.example/app:2.1", False, False),
    ("r.example/*:1.*", f"r.example/app:1.2@{H}", True, True),
    ("r.example:5000/**", "r.example:5000/a/b:1", True, True),
    ("*/app", "r.example:5000/app:1", True, False),
    ("**/app", "r.example:5000/a/b/app:1", True, False),
    ("**:1", "r.example/a/b:1", True, True),
    ("r.example/**/app", "r.example/app:1", False, False),
    ("r.example/{a,b}", "r.example/a", False, False),
    ("r.example/[ab]", "r.example/a", False, False),
    ("R.example/a", "r.example/a:1", False, False),
    ("r.example/a", "evil/r.example/a:1", False, False),
    ("r.example/a", "r.example/a-evil:1", False, False),
]


@pytest.mark.parametrize(("pattern", "image", "native", "kyverno"), TRUTH)
def test_truth_table_of_the_dialects(pattern, image, native, kyverno):
    assert compile_glob(pattern, "native", "image")(image) is native
    assert compile_glob(pattern, "kyverno", "image")(image) is kyverno


KYVERNO_TRAPS = [
    ("a question mark is exactly one character, also a slash", "a/b?c", "a/b/c", True),
    ("a question mark is never nothing", "abc?", "abc", False),
    ("a star crosses slashes", "reg/*/app:*", "reg/a/b/c/app:1", True),
    ("a star may be empty", "reg/app*", "reg/app", True),
    ("a dot is a dot", "a.b", "aXb", False),
    ("a bracket is a bracket", "a[b]", "ab", False),
    ("the whole text is matched", "reg/app", "reg/app:1", False),
    ("a line feed is a character", "a*b", "a\nb", True),
]


@pytest.mark.parametrize(("_sentence", "pattern", "text", "expected"), KYVERNO_TRAPS)
def test_kyverno_traps(_sentence, pattern, text, expected):
    assert compile_glob(pattern, "kyverno", "value")(text) is expected


def naive(pattern, text, dialect):
    """The definition, by recursion."""

    @cache
    def at(i, j):
        if i == len(pattern):
            return j == len(text)
        if pattern[i] == "*":
            k = i
            while k < len(pattern) and pattern[k] == "*":
                k += 1
            crosses = dialect == "kyverno" or k - i > 1
            return at(k, j) or (j < len(text) and (crosses or text[j] != "/") and at(i, j + 1))
        if j == len(text):
            return False
        one = pattern[i] == "?" and (dialect == "kyverno" or text[j] != "/")
        return (one or pattern[i] == text[j]) and at(i + 1, j + 1)

    return at(0, 0)


@settings(max_examples=200)
@given(st.text("ab/?*", min_size=1, max_size=10), st.lists(st.text("ab/", max_size=12), min_size=5, max_size=20))
def test_matchers_agree_with_the_definition(pattern, texts):
    for text in texts:
        for dialect in ("native", "kyverno"):
            assert compile_glob(pattern, dialect, "repository")(text) is naive(pattern, text, dialect)


@pytest.mark.parametrize("pattern", ["*a" * 200 + "b", "**a" * 150 + "b", "**a*" * 120 + "b", "a*" * 250, "*a*?" * 100])
@pytest.mark.parametrize("dialect", ["native", "kyverno"])
def test_no_text_makes_a_pattern_slow(pattern, dialect):
    matcher = compile_glob(pattern, dialect, "repository")
    start = process_time()
    matcher("a" * 1000)
    matcher("a/" * 500)
    assert process_time() - start < 1  # measured: some milliseconds; backtracking would take years


@pytest.mark.parametrize("pattern", ["", " ", "a b", "a\nb", "a\x1b[31m", "a" * (MAX_PATTERN_CHARACTERS + 1)])
def test_unusable_patterns_are_refused(pattern):
    with pytest.raises(ValueError, match="pattern"):
        compile_glob(pattern, "native", "image")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("r.example:5000/a", ("r.example:5000/a", None, None)),
        ("r.example:5000/a:1", ("r.example:5000/a", "1", None)),
        (f"a/b:1@{H}", ("a/b", "1", H)),
        (f"a/b@{H}", ("a/b", None, H)),
    ],
)
def test_a_port_is_not_a_tag(text, parts):
    assert split_image(text) == parts


def test_a_running_image_is_looked_at_by_spec_reference_and_by_digest():
    image = ImageReference("r.example", "app", "1.2")
    assert image_texts(image, H, "native") == ("r.example/app:1.2", f"r.example/app@{H}")
    assert image_texts(image, "", "native") == ("r.example/app:1.2",)


def test_kyverno_prints_a_pinned_image_without_its_tag_and_docker_hub_without_library():
    pinned = ImageReference("r.example", "app", "1.2", H)
    assert image_texts(pinned, H, "kyverno")[0] == f"r.example/app@{H}"
    hub = image_texts(ImageReference("docker.io", "library/nginx", "1"), H, "kyverno")
    assert {"docker.io/library/nginx:1", "docker.io/nginx:1", f"docker.io/nginx@{H}"} <= set(hub)


@pytest.mark.parametrize(
    ("pattern", "dialect", "over", "expected"),
    [
        ("**", "native", "image", True),
        ("*/**", "native", "image", True),
        ("**:*", "native", "image", True),
        ("*", "native", "image", False),
        ("*", "kyverno", "image", True),
        ("*/*", "kyverno", "image", True),
        ("*:*", "kyverno", "image", True),
        ("*", "native", "namespace", True),
        ("team-*", "native", "namespace", False),
        ("docker.io/**", "native", "image", False),
    ],
)
def test_patterns_that_leave_next_to_nothing_out_are_known(pattern, dialect, over, expected):
    assert matches_everything(pattern, dialect, over) is expected
