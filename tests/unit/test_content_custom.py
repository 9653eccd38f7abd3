"""CEL and JSONPath: what they say, what they may cost, and that no predicate makes them cost more."""

import json
from time import process_time

import pytest

from verifier.content import celcost
from verifier.content.custom import CEL_STEPS, CEL_UNITS, check_cel, check_path, holds_cel, select
from verifier.content.document import Predicate
from verifier.content.evaluate import evaluate
from verifier.content.model import ContentRule
from verifier.content.outcome import Mismatch
from verifier.content.predicates import COSIGN_CUSTOM

TYPE = "https://example.com/review/v1"
REVIEW = {
    "ok": True,
    "score": 7,
    "ratio": 0.5,
    "none": None,
    "text": "approved by alice",
    "reviewers": [{"name": "alice", "role": "owner"}, {"name": "bob", "role": "dev", "tags": ["x", "y"]}],
}


def judge(rule, predicate=REVIEW, predicate_type=TYPE):
    return evaluate(ContentRule.model_validate(rule), predicate_type, json.dumps(predicate).encode())


# ---------------------------------------------------------------------------------------------------------------- CEL


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("predicate.ok", ""),
        ("!predicate.ok", "is false"),
        ("predicate.score >= 7 && predicate.score < 8", ""),
        ("predicate.ratio == 0.5 && predicate.none == null", ""),
        ("predicate.reviewers.exists(r, r.name == 'alice' && r.role == 'owner')", ""),
        ("predicate.reviewers.all(r, has(r.tags))", "is false"),
        ("predicate.reviewers.exists_one(r, r.role == 'dev')", ""),
        ("predicate.reviewers.filter(r, r.role == 'dev').size() == 1", ""),
        ("predicate.reviewers.map(r, r.name) == ['alice', 'bob']", ""),
        ("predicate.text.matches('^approved by [a-z]+$')", ""),
        ("predicate.text.startsWith('approved') && predicate.text.contains('alice')", ""),
        ("predicateType == 'https://example.com/review/v1'", ""),
        ("timestamp('2026-01-01T00:00:00Z') < timestamp('2027-01-01T00:00:00Z')", ""),
        ("has(predicate.missing)", "is false"),
        ("predicate.missing", "fails: 'NOT_FOUND"),
        ("predicate.score", "fails"),
        ("predicate.text > 3", "fails"),
        ("predicate.score / 0 == 1", "divide by zero"),
        ("predicate['ok']", ""),
    ],
)
def test_cel(expression, says):
    result = judge({"cel": [{"expression": expression}]})
    assert result.holds is (says == ""), result.detail
    assert says in result.detail


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "not a CEL expression"),
        ("predicate.", "Syntax error"),
        ("1 + 1", "neither"),
        ("'true'", "neither"),
        ("unknown == 1", "undeclared reference"),
        ("request.time", "undeclared reference"),
        ("predicate.text.nope()", "undeclared reference"),
        ("(" * 100 + "true" + ")" * 100, "recursion"),
        ("true" + " && true" * 300, "at most 2000 characters"),
        ("predicate.text.matches(predicate.pattern)", "regular expression from the predicate"),
        ("predicate.a.all(x, predicate.a.all(y, predicate.a.all(z, x == z)))", "at most 3"),
        ("predicate.a.map(x, x).map(x, x).map(x, x) == []", "at most 3"),
    ],
)
def test_an_expression_is_refused_when_it_is_written(expression, says):
    with pytest.raises(ValueError, match=says):
        check_cel(expression)


def test_the_message_of_the_author_is_given():
    rule = {
        "cel": [{"expression": "predicate.ok"}, {"expression": "predicate.score > 9", "message": "Not good enough"}]
    }
    assert judge(rule).detail == "Not good enough"


EXPONENTS = [
    ("true", 0),
    ("predicateType == 'x'", 0),
    ("predicate.ok", 1),
    ("predicate.a.all(x, x.b == 'c')", 1),
    ("predicate.a.all(x, x.b.all(y, y.c.exists(z, z == 'd')))", 1),
    ("[1, 2, 3].all(n, n in predicate.a)", 1),
    ("predicate.a == predicate.b", 1),
    ("predicate.a.contains('x')", 1),
    ("predicate.a.contains(predicate.b)", 2),
    ("predicate.a.all(x, x in predicate.b)", 2),
    ("predicate.a.all(x, predicate.b.all(y, x == y))", 3),
    ("predicate.a.map(x, x.b) == []", 2),
    ("predicate.a.filter(x, x.b).size() == 0", 2),
    ("predicate.a.all(x, x.b.all(y, x == y))", 2),
    ("{'k': predicate.a}.k == predicate.b", 1),
]


@pytest.mark.parametrize(("expression", "exponent"), EXPONENTS)
def test_how_often_an_expression_goes_through_the_predicate(expression, exponent):
    from verifier.content.custom import _compile_cel  # noqa: PLC0415 - what is tested is behind the door

    assert len(_compile_cel(expression).cost.nodes) - 1 == exponent


def hostile(size):
    return {
        "a": list(range(size)),
        "b": list(range(size)),
        "s": "a" * size * 8,
        "t": "a" * size * 4 + "b",
        "o": [{"n": "x", "t": ["a", "b"]} for _ in range(size // 8)],
    }


ATTACKS = [
    "predicate.a.all(x, predicate.b.all(y, x + y >= 0))",
    "predicate.a.all(x, (x in predicate.b) || true)",
    "predicate.a.all(x, predicate.a == predicate.b)",
    "predicate.a.map(x, predicate.b).size() > 0",
    "predicate.a.map(x, x).size() > 0",
    "predicate.a.filter(x, x > 3).size() > 0",
    "predicate.a.all(x, predicate.s + predicate.t != 'x')",
    "predicate.a.all(x, !predicate.s.contains('aab'))",
    "predicate.s.contains(predicate.t)",
    "predicate.s.matches('(a*)*c')",
    "predicate.s + predicate.s + predicate.s == predicate.t",
    "predicate.o.all(x, x.t.exists(y, predicate.o.exists(z, z.n == y)))",
    "predicate.o.all(x, x.t.exists(y, y == 'b'))",
]


@pytest.mark.parametrize("expression", ATTACKS)
def test_a_predicate_made_to_stop_the_verifier_is_answered_at_once(expression):
    """At every size one of the two bounds strikes, or evaluation is quick: the worst is some tens of milliseconds."""
    rule = ContentRule.model_validate({"cel": [{"expression": expression}]})
    for size in (16, 64, 100, 200, 400, 1_000, 9_000, 100_000):
        predicate = Predicate(TYPE, hostile(size))
        start = process_time()
        evaluate(rule, TYPE, predicate)
        assert process_time() - start < 0.5, f"{expression} on {size}"


def test_bounds_of_size_are_said():
    with pytest.raises(Mismatch, match="too large for"):
        holds_cel("predicate.ok", Predicate(TYPE, {"ok": True, "a": [0] * CEL_UNITS}))
    with pytest.raises(Mismatch, match="too large for"):
        holds_cel("predicate.ok", Predicate(TYPE, {"ok": True, "a": "x" * 64 * (CEL_UNITS + 1)}))
    with pytest.raises(Mismatch, match="too large for"):
        holds_cel("predicate.a.all(x, x in predicate.a)", Predicate(TYPE, {"a": [0] * int(CEL_STEPS**0.5)}))


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, 2**63, 1e308, "\0", "é\U0001f600", {"": 1}, [[[[]]]], {"a": {"a": {}}}, None, True]
)
def test_odd_values_are_answered(value):
    result = judge({"cel": [{"expression": "predicate.v == predicate.v || true"}]}, {"v": value})
    assert result.holds or "fails" in result.detail


def test_a_deep_predicate_is_answered():
    value: list = []
    for _ in range(60):
        value = [value]
    assert judge({"cel": [{"expression": "predicate == predicate"}]}, value).holds


@pytest.mark.parametrize("tree", [b"", b"\x12\x00", b"\x12\x02\x22\x00", b"\x0f", b"\x12\x04\x22\x02\x52\x00"])
def test_a_tree_of_unknown_form_is_refused(tree):
    if tree == b"\x12\x02\x22\x00":  # an empty Expr is a constant without value
        assert celcost.cost_of(tree).steps(1_000) == 1
        return
    with pytest.raises(celcost.CostError):
        celcost.cost_of(tree)


# ----------------------------------------------------------------------------------------------------------- JSONPath


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"path": "$.ok"}, ""),
        ({"path": "$.missing"}, "selects 0, expected at least 1"),
        ({"path": "$.missing", "maxCount": 0}, ""),
        ({"path": "$.ok", "maxCount": 0}, "selects 1, expected at least 0, at most 0"),
        ({"path": "$.ok", "oneOf": [True]}, ""),
        ({"path": "$.ok", "oneOf": [1]}, "is 'True', expected '1'"),
        ({"path": "$.score", "oneOf": [7]}, ""),
        ({"path": "$.score", "oneOf": [7.0]}, ""),
        ({"path": "$.score", "oneOf": ["7"]}, "is '7'"),
        ({"path": "$.score", "oneOf": [True, False]}, "is '7'"),
        ({"path": "$.reviewers[*].role", "oneOf": ["owner", "dev"]}, ""),
        ({"path": "$.reviewers[*].role", "oneOf": ["owner"]}, "is 'dev'"),
        ({"path": "$.reviewers[?@.role == 'owner'].name", "matches": ["al*"]}, ""),
        ({"path": "$.reviewers[?@.role == 'owner' && @.name != 'alice']", "maxCount": 0}, ""),
        ({"path": "$.reviewers[?@.tags[?@ == 'y']].name", "oneOf": ["bob"]}, ""),
        ({"path": "$.reviewers[?count(@.tags[*]) == 2].name", "oneOf": ["bob"]}, ""),
        ({"path": "$.reviewers[?length(@.name) > 3].name", "oneOf": ["alice"]}, ""),
        ({"path": "$..name", "minCount": 2, "maxCount": 2}, ""),
        ({"path": "$..name", "minCount": 3}, "selects 2, expected at least 3"),
        ({"path": "$.reviewers[-1:].name", "oneOf": ["bob"]}, ""),
        ({"path": "$.reviewers", "matches": ["**"]}, "is a list of 2"),
        ({"path": "$['text']", "matches": ["approved by *"]}, ""),
        ({"path": "$", "minCount": 1}, ""),
    ],
)
def test_json_path(rule, says):
    result = judge({"jsonPath": [rule]})
    assert result.holds is (says == ""), result.detail
    assert says in result.detail


@pytest.mark.parametrize(
    "path",
    [
        *("", "ok", "$.", "$..", "$ .ok ", " $", "$.a | $.b", "$.a & $.b", "^.a", "$.~", "$[?_.x]", "$[?# == 1]"),
        *("$[?@.a in $.b]", "$[?@.a =~ /x/]", "$[01]", "$[?match(@.a, '(a*)*b')]", "$[?search(@.a, 'x')]"),
        *("$" + "[?@" * 100, "$[?nope(@)]", "$[?count(1) > 0]", "$[99999999999999999999]"),
    ],
)
def test_a_query_outside_rfc_9535_is_refused(path):
    with pytest.raises(ValueError, match="not a JSONPath query"):
        check_path(path)


PATHS = [
    "$.a[*]",
    "$..*",
    "$..*..*",
    "$.o[?@..*]",
    "$.a[?@ == $.b[0]]",
    "$.o[?count($.o[*]) > 1]",
    "$.o[?@ == $.o]",
    "$.o[?$.a == $.b]",
    "$.a[?@.nope]",
    "$.a[::2]",
    "$.o[*,*,*,*].t[*,*,*,*]",
    "$.o[?@.n == $.o[3].n]",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_predicate_made_to_stop_a_query_is_answered(path):
    rule = ContentRule.model_validate({"jsonPath": [{"path": path}]})
    for size in (100, 4_000, 100_000):
        predicate = Predicate(TYPE, hostile(size))
        start = process_time()
        result = evaluate(rule, TYPE, predicate)
        assert process_time() - start < 0.8, f"{path} on {size}"
        assert result.holds or any(part in result.detail for part in ("visits more", "too large", "selects 0"))


def test_a_query_remembers_nothing_of_another_predicate():
    path = "$.a[?@ == $.wanted]"
    assert [select(path, Predicate(TYPE, {"a": [1, 2, 2], "wanted": n})) for n in (1, 2, 3)] == [[1], [2, 2], []]


def test_long_names_in_deep_objects_are_not_multiplied():
    value: dict = {}
    for _ in range(60):
        value = {"k" * 50_000: value}
    start = process_time()
    assert len(select("$" + ".*" * 60, Predicate(TYPE, {"a": value}))) == 1
    assert process_time() - start < 1


@pytest.mark.parametrize("value", ["text", '{"a": 1}', 7, None, True])
def test_a_predicate_that_is_no_container_is_never_parsed_again(value):
    with pytest.raises(Mismatch, match="found neither"):
        select("$.a", Predicate(TYPE, value))


# ---------------------------------------------------------------------------------------------- cosign's custom type


def test_wrapped_data_is_unwrapped_once_and_strictly():
    rule = {"jsonPath": [{"path": "$.ok"}]}
    assert judge(rule, {"Data": '{"ok": 1}', "Timestamp": "2026-01-01T00:00:00Z"}, COSIGN_CUSTOM).holds
    assert not judge(rule, {"Data": '{"ok": 1}'}).holds
    assert "twice" in judge(rule, {"Data": '{"ok": 1, "ok": 2}'}, COSIGN_CUSTOM).detail
    assert "not the expected JSON" in judge(rule, {"Data": "plain words"}, COSIGN_CUSTOM).detail
    assert judge({"cel": [{"expression": "predicate.Data == 'x'"}]}, {"Data": "x"}, COSIGN_CUSTOM).holds is False
