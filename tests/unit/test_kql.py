"""The query language: what a query means, what it refuses and where, and that two ways of answering agree."""

from __future__ import annotations

import json
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.queries.conditions import (
    EVERYTHING,
    AllOf,
    AnyOf,
    Compare,
    Condition,
    Exists,
    Is,
    Like,
    Not,
    OneOf,
    Says,
    both,
    full_name,
    is_,
    like,
    matches,
)
from streams.queries.kql import MAX_DEPTH, MAX_QUERY, MAX_TERMS, QueryError, parse, quoted, render
from streams.queries.sqlite import SqliteReader
from streams.sinks.document import document, prepared
from streams.sinks.sqlite import SqliteRecord
from verifier.errors import InputError

VERDICT, NAMESPACE, POLICY = "provenance.verdict", "orchestrator.namespace", "provenance.policy.id"
SHOP, PAY = Is(NAMESPACE, "shop"), Is(NAMESPACE, "pay")
BAD = Is(VERDICT, "violates")


# ------------------------------------------------------------------------------------------------ what a query means


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("", EVERYTHING),
        ("   ", EVERYTHING),
        ("*", EVERYTHING),
        ("*:*", EVERYTHING),
        ("verdict:violates", BAD),
        ("provenance.verdict:violates", BAD),
        ("verdict : violates", BAD),
        ('verdict:"violates"', BAD),
        ('"verdict":violates', BAD),
        ("verdict:violates and namespace:shop", AllOf((BAD, SHOP))),
        ("verdict:violates AND namespace:shop", AllOf((BAD, SHOP))),
        ("verdict:violates and namespace:shop or namespace:pay", AnyOf((AllOf((BAD, SHOP)), PAY))),
        ("verdict:violates and (namespace:shop or namespace:pay)", AllOf((BAD, AnyOf((SHOP, PAY))))),
        ("namespace:(shop or pay)", AnyOf((SHOP, PAY))),
        ("namespace:(not shop and not pay)", AllOf((Not(SHOP), Not(PAY)))),
        ("not namespace:shop and verdict:violates", AllOf((Not(SHOP), BAD))),
        ("not not namespace:shop", Not(Not(SHOP))),
        ("not (namespace:shop or namespace:pay)", Not(AnyOf((SHOP, PAY)))),
        ("namespace:*", Exists(NAMESPACE)),
        ("namespace:sh*", Like(NAMESPACE, ("sh", ""))),
        ("namespace:*-prod-**x", Like(NAMESPACE, ("", "-prod-", "x"))),
        (r"namespace:sh\*", Is(NAMESPACE, "sh*")),
        ('namespace:"sh*"', Is(NAMESPACE, "sh*")),
        (r"namespace:\or", Is(NAMESPACE, "or")),
        (r"namespace:orders", Is(NAMESPACE, "orders")),
        (r"digest:sha256\:ab", Is("provenance.image.digest", "sha256:ab")),
        ('digest:"sha256:ab"', Is("provenance.image.digest", "sha256:ab")),
        (r'namespace:"say \"hi\" \\ there"', Is(NAMESPACE, 'say "hi" \\ there')),
        ("affected >= 10", Compare("provenance.finding.affected_count", ">=", 10)),
        ("affected>10", Compare("provenance.finding.affected_count", ">", 10)),
        ("affected:10", Is("provenance.finding.affected_count", 10)),
        ("break_glass:true", Is("provenance.admission.break_glass", True)),
        ("namespace > m", Compare(NAMESPACE, ">", "m")),
        (
            '@timestamp >= "2026-11-20T01:00:00+01:00"',
            Compare("@timestamp", ">=", "2026-11-20T00:00:00.000000Z"),
        ),
        ("started < now-1h", Compare("provenance.run.started", "<", "1970-01-01T00:00:00.000000Z")),
        ("timeout", Says("message", "timeout")),
        ('"time out"', Says("message", "time out")),
        ('message:"time out"', Says("message", "time out")),
        ("provenance.cluster.labels.env:prod", Is("provenance.cluster.labels.env", "prod")),
        ("cluster_labels.env:prod", Is("provenance.cluster.labels.env", "prod")),
        ("labels.app:*", Exists("kubernetes.labels.app")),
        ("ip:2001:db8::1".replace(":", r"\:").replace("ip\\:", "ip:"), Is("source.ip", "2001:db8::1")),
    ],
)
def test_query_means(query, condition):
    """Precedence, quotation marks, wildcards, ranges, short and full names."""
    assert parse(query, now=3_600_000_000) == condition


@pytest.mark.parametrize(
    ("query", "column", "says"),
    [
        ("verdict:", 9, "expected a value of provenance.verdict"),
        ("verdict:violates and", 21, "expected a field, a value or (, got the end"),
        ("and verdict:valid", 1, "expected a field, a value or (, got `and`"),
        ("(verdict:valid", 15, "a closing ) for the one in column 1"),
        ("verdict:valid)", 14, "expected `and`, `or` or the end"),
        ("verdict:valid namespace:shop", 15, "`and` or `or` between two conditions"),
        ("verdict:very bad", 14, "quotation marks around several words"),
        ("digest:sha256:ab", 14, 'write "sha256:…" in quotation marks'),
        ('namespace:"shop', 11, "a quotation that does not end"),
        ("namespce:shop", 1, "did you mean namespace"),
        ("verdct:valid", 1, "did you mean verdict?"),
        ("no.such.field:x", 1, "no field 'no.such.field'"),
        ("kubernetes.*:x", 1, "wildcards in field names"),
        ("provenance.policies:x", 1, "kept for reading"),
        ("event.original:x", 1, "kept for reading"),
        ("provenance.cluster.labels:prod", 1, "name a member, such as provenance.cluster.labels.env"),
        ("affected:many", 10, "a whole number"),
        ("affected:1*", 10, "is a long; a wildcard needs a keyword"),
        ("break_glass:yes", 13, "true or false"),
        ("break_glass > true", 1, "has no order"),
        ("message > a", 1, "has no order"),
        ("pay*", 1, "a wildcard in a text"),
        ('message:" "', 9, "nothing to look for"),
        ("started > 2026-11-20", 11, "names a day, not an instant"),
        ("started > soon", 11, "expected a time with zone"),
        ("started > x*", 11, "one value without wildcards"),
        ("ip:10.0.0.0/8", 4, "networks are not part of this subset"),
        ("namespace:{ name:x }", 11, "nested fields"),
        ('name"x"', 5, "inside a word"),
        ("namespace:a\\", 12, "nothing behind it"),
        (r"namespace:a\q", 12, r"\q means nothing"),
        ("x" * (MAX_QUERY + 1), MAX_QUERY + 1, "at most"),
        ("(" * (MAX_DEPTH + 1), MAX_DEPTH + 1, "nested deeper"),
        ("not " * (MAX_DEPTH + 1) + "x", MAX_DEPTH * 4 + 1, "nested deeper"),
        (" or ".join(["x"] * (MAX_TERMS + 1)), MAX_TERMS * 5 + 1, "more than"),
    ],
)
def test_query_is_refused_with_column_and_expectation(query, column, says):
    """Whoever wrote the query can see what is wrong and what to write."""
    with pytest.raises(QueryError) as caught:
        parse(query, now=0)
    assert caught.value.column == column
    assert says in str(caught.value)
    assert f"column {column}" in str(caught.value)


def test_now_needs_a_clock():
    """The parser reads no clock; without an instant `now` is refused."""
    with pytest.raises(QueryError, match="`now` cannot be used here"):
        parse("started > now")


@pytest.mark.parametrize(
    "query", ["\\", '"', "(", ":", "<", "a:<", "not", "or or", "a:(b", "a:()", "()", "\0", "a\udcff", "\u202e:x"]
)
def test_rubbish_is_an_input_error(query):
    """No other kind of error leaves the parser."""
    with pytest.raises(InputError):
        parse(query)


@settings(max_examples=150)
@given(st.text(alphabet='ab:()<>="*{}\\ ornt', max_size=30))
def test_any_text_is_a_query_or_refused(query):
    """Nothing but QueryError leaves the parser, and what it accepts it can write down again."""
    try:
        condition = parse(query)
    except QueryError:
        return
    assert parse(render(condition)) == condition


# ------------------------------------------------------------------------------------------------ conditions


def test_everything_is_true_or_false_for_a_document_without_the_field():
    """`not verdict:valid` holds where there is no verdict at all."""
    assert matches(Not(Is(VERDICT, "valid")), {})
    assert not matches(Is(VERDICT, "valid"), {})


def test_one_of_several_values_is_enough():
    """A container has several policies."""
    body = {POLICY: ["a", "b"]}
    assert matches(Is(POLICY, "b"), body)
    assert matches(AllOf((Is(POLICY, "a"), Is(POLICY, "b"))), body)
    assert not matches(Is(POLICY, "c"), body)


@pytest.mark.parametrize(
    ("parts", "text", "fits"),
    [
        (("a",), "a", True),
        (("a",), "ab", False),
        (("a", ""), "ab", True),
        (("", "b"), "ab", True),
        (("ab", "bc"), "abc", False),
        (("ab", "bc"), "abbc", True),
        (("", "x", ""), "axb", True),
        (("", "x", "x", ""), "axb", False),
        (("", "aa", "a"), "aaa", True),
        (("[", "?"), "[x?", True),
    ],
)
def test_wildcards(parts, text, fits):
    """Parts may not overlap; nothing else has a meaning."""
    assert like(parts, text) is fits


def test_helpers_flatten():
    """`both` does not nest, and of one condition it is that condition."""
    assert both(SHOP, both(PAY, BAD), EVERYTHING) == AllOf((SHOP, PAY, BAD))
    assert both(SHOP) == SHOP
    assert both() == EVERYTHING
    with pytest.raises(InputError, match="did you mean"):
        is_("namespac", "x")


def test_conditions_of_different_kinds_differ():
    """All of and any of the same are not equal."""
    same: list[Condition] = [AllOf((SHOP,)), AnyOf((SHOP,))]
    assert same[0] != same[1]


# --------------------------------------------------------------------------- two ways of answering, one answer

_TEXTS = st.sampled_from(["shop", "pay", "prod", "a*b", "a?b", "[x]", "é", "Shop", "", 'q"uote', "b\\s", "x y"])
_KEYWORDS = (
    NAMESPACE,
    VERDICT,
    POLICY,
    "provenance.image.index_digest",
    "provenance.reason.code",
    "kubernetes.labels.app",
)
_FIELDS = st.sampled_from(_KEYWORDS)


def _leaves() -> st.SearchStrategy[Condition]:
    numbers = st.integers(-3, 3)
    operators = st.sampled_from(["<", "<=", ">", ">="])
    parts = (
        st.lists(_TEXTS, min_size=2, max_size=4).filter(any).map(lambda p: (p[0], *(x for x in p[1:-1] if x), p[-1]))
    )
    return st.one_of(
        st.just(EVERYTHING),
        st.builds(Is, _FIELDS, _TEXTS),
        st.builds(Like, _FIELDS, parts),
        st.builds(Exists, _FIELDS),
        st.builds(Compare, _FIELDS, operators, _TEXTS),
        st.builds(Is, st.just("provenance.class.members"), numbers),
        st.builds(Compare, st.just("provenance.class.members"), operators, numbers),
        st.builds(Is, st.just("provenance.signature.exists"), st.booleans()),
        st.builds(Says, st.just("message"), _TEXTS.filter(str.strip)),
        st.builds(
            Compare,
            st.just("@timestamp"),
            operators,
            st.sampled_from([f"2026-11-20T00:00:0{n}.000000Z" for n in range(3)]),
        ),
    )


_CONDITIONS = st.recursive(
    st.one_of(_leaves(), st.builds(OneOf, _FIELDS, st.lists(_TEXTS, min_size=1, max_size=3).map(tuple))),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)

_BODIES = st.fixed_dictionaries(
    {},
    optional={
        NAMESPACE: _TEXTS,
        VERDICT: _TEXTS,
        POLICY: st.lists(_TEXTS, max_size=3),
        "provenance.image.index_digest": st.lists(_TEXTS, max_size=3),
        "provenance.reason.code": st.lists(_TEXTS, max_size=3),
        "provenance.class.members": st.integers(-3, 3),
        "provenance.signature.exists": st.booleans(),
        "message": _TEXTS.map(lambda t: f"A {t} B"),
        "kubernetes.labels": st.dictionaries(st.sampled_from(["app", "a.b"]), _TEXTS, max_size=2),
    },
)

SECOND = 1_000_000
MIDNIGHT = 1_795_132_800 * SECOND


@settings(max_examples=200)
@given(_CONDITIONS, st.lists(_BODIES, min_size=1, max_size=5))
def test_sql_and_predicate_agree(condition, bodies):
    """The compiled SQL finds exactly the documents the predicate accepts."""
    made = [
        document("verification", f"d{n}", MIDNIGHT + (n % 3) * SECOND, prepared(body)) for n, body in enumerate(bodies)
    ]
    connection = sqlite3.connect(":memory:", isolation_level=None)
    SqliteRecord(connection).write(made)
    found = {hit.id for hit in SqliteReader(connection).find("revet.verification", condition).hits}
    connection.close()
    assert found == {d.id for d in made if matches(condition, d.body)}


@settings(max_examples=200)
@given(_CONDITIONS, _BODIES)
def test_a_condition_survives_being_written_down(condition, body):
    """The query with full names asks the same; writing it twice gives the same text."""
    text = render(condition)
    again = parse(text)
    made = document("verification", "d", MIDNIGHT, prepared(body)).body
    assert matches(again, made) == matches(condition, made)
    assert render(parse(render(again))) == render(again)


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_any_value_can_be_asked_for(text):
    """Quotation survives every text, whatever it tries to break out of."""
    assert parse(f"namespace:{quoted(text)}") == Is(NAMESPACE, text)
    assert parse(f"namespace:{quoted(text)} and verdict:valid") == AllOf((Is(NAMESPACE, text), Is(VERDICT, "valid")))


def test_hostile_values_stay_values():
    """Quotes of SQL, JSON paths and queries are data."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    record, reader = SqliteRecord(connection), SqliteReader(connection)
    hostile = ["'; DROP TABLE record; --", 'x" or "1":"1', "%_[]?*", "\x1b[2J\u202e", '$."a"', json.dumps({"a": "'"})]
    for number, text in enumerate(hostile):
        body = prepared({NAMESPACE: text, "kubernetes.labels": {text: text}})
        record.write([document("containers", str(number), 0, body, version=1)])
    for number, text in enumerate(hostile):
        page = reader.find("revet-state-containers", parse(f"namespace:{quoted(text)}"))
        assert [hit.id for hit in page.hits] == [str(number)]
        page = reader.find("revet-state-containers", Is(f"kubernetes.labels.{text}", text))
        assert [hit.id for hit in page.hits] == [str(number)]
    connection.close()


def test_names():
    """Short and full names are the same field."""
    assert full_name("digest") == full_name("provenance.image.digest") == "provenance.image.digest"
    assert parse("cluster_labels.env:prod") == parse("provenance.cluster.labels.env:prod")
