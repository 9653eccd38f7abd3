"""SLSA provenance: both versions, every member of the rule, and what a fact keeps of a provenance."""

import json

import pytest

from verifier.content.builder import (
    MAX_COMMITS,
    MAX_IMAGES,
    MAX_SOURCES,
    MAX_TEXT,
    build_of,
    builder_of,
    commits_of,
)
from verifier.content.evaluate import evaluate
from verifier.content.model import ContentRule
from verifier.content.predicates import SLSA_V02, SLSA_V1
from verifier.content.provenance import Source, split_source
from verifier.times import parse_instant

GENERATOR = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/container.yml@refs/tags/v2.1.0"
ACTIONS = "https://actions.github.io/buildtypes/workflow/v1"
SHA = "9f2c" * 10


def v02(**changes):
    """As slsa-github-generator writes it."""
    source = {"uri": "git+https://github.com/acme/app@refs/tags/v1.2.3", "digest": {"sha1": SHA}}
    return {
        "builder": {"id": GENERATOR},
        "buildType": "https://github.com/slsa-framework/slsa-github-generator/container@v1",
        "invocation": {
            "configSource": {**source, "entryPoint": ".github/workflows/release.yml"},
            "parameters": {"branch": "main"},
            "environment": {"github_ref": "refs/heads/evil"},
        },
        "metadata": {"buildStartedOn": "2026-01-01T00:00:00Z", "buildFinishedOn": "2026-01-01T00:10:00Z"},
        "materials": [source],
    } | changes


def v1(*, parameters=None, **changes):
    """As GitHub's attest-build-provenance writes it."""
    workflow = {"ref": "refs/heads/main", "repository": "https://github.com/acme/app", "path": ".github/w.yml"}
    return {
        "buildDefinition": {
            "buildType": ACTIONS,
            "externalParameters": {"workflow": workflow} if parameters is None else parameters,
            "internalParameters": {"workflow": {"repository": "https://github.com/evil/app"}},
            "resolvedDependencies": [
                {"uri": "git+https://github.com/acme/app@refs/heads/main", "digest": {"gitCommit": SHA}}
            ],
        },
        "runDetails": {
            "builder": {"id": "https://github.com/actions/runner/github-hosted"},
            "metadata": {"startedOn": "2026-01-01T00:00:00Z", "finishedOn": "2026-01-01T00:10:00Z"},
        },
    } | changes


def judge(predicate, **rule):
    return evaluate(ContentRule.model_validate({"slsa": rule}), SLSA_V1, json.dumps(predicate).encode())


@pytest.mark.parametrize(
    ("predicate", "rule", "says"),
    [
        (v02(), {"builders": ["https://github.com/slsa-framework/slsa-github-generator/**"]}, ""),
        (v1(), {"builders": ["https://github.com/actions/runner/*"]}, ""),
        (v1(), {"builders": ["https://github.com/actions/*"]}, "builder.id is"),
        (v02(), {"sources": ["git+https://github.com/acme/*"]}, ""),
        (v1(), {"sources": ["git+https://github.com/acme/*"]}, ""),
        (v1(), {"sources": ["https://github.com/acme/app.git"]}, ""),
        (v1(), {"sources": ["https://github.com/evil/*"]}, "source is 'https://github.com/acme/app'"),
        (v1(), {"sources": ["https://github.com/acme"]}, "source is"),
        (v02(), {"sourceRefs": ["refs/tags/v*"]}, ""),
        (v1(), {"sourceRefs": ["refs/tags/v*"]}, "source reference is 'refs/heads/main'"),
        (v1(parameters={}), {"sources": ["**"]}, "name no source"),
        (v1(parameters={"source": "git+https://github.com/acme/app#v1"}), {"sourceRefs": ["v1"]}, ""),
        (v1(parameters={"source": {"uri": "git+https://github.com/evil/x"}}), {"sources": ["**/acme/*"]}, "evil"),
        (v1(), {"buildTypes": [ACTIONS]}, ""),
        (v02(), {"buildTypes": [ACTIONS]}, "buildType is"),
        (v1(), {"parameters": {"workflow.ref": "refs/heads/*"}}, ""),
        (v1(), {"parameters": {"/workflow/ref": ["refs/heads/dev", "refs/heads/main"]}}, ""),
        (v1(), {"parameters": {"workflow.ref": "refs/heads/dev"}}, "is 'refs/heads/main', expected"),
        (v1(), {"parameters": {"workflow": "**"}}, "is an object of 3"),
        (v1(), {"parameters": {"nope.at.all": "x"}}, "is 'None'"),
        (v1(parameters={"a/b": {"n": [1, True]}}), {"parameters": {"/a~1b/n/0": 1, "/a~1b/n/1": True}}, ""),
        (v1(parameters={"n": 1}), {"parameters": {"n": True}}, "expected 'True'"),
        (v1(parameters={"n": True}), {"parameters": {"n": 1}}, "expected '1'"),
        (v02(), {"parameters": {"branch": "main"}}, ""),
        (v02(), {"parameters": {"github_ref": "**"}}, "is 'None'"),
        (v1(), {"allowedParameters": ["workflow"]}, ""),
        (v1(parameters={"workflow": {}, "inject": "x"}), {"allowedParameters": ["workflow"]}, "'inject' is not among"),
        ({}, {"builders": ["**"]}, "not an SLSA provenance v0.2 or v1"),
        ([], {"builders": ["**"]}, "is an object"),
        (v1(runDetails={}), {"builders": ["**"]}, "missing required field `builder`"),
        (v02(builder={"id": 3}), {"builders": ["**"]}, "Expected `str`"),
    ],
)
def test_rule(predicate, rule, says):
    result = judge(predicate, **rule)
    assert result.holds is (says == "")
    assert says in result.detail


@pytest.mark.parametrize(
    ("levels", "minimum", "holds"),
    [
        ([("https://github.com/actions/**", 2)], 2, True),
        ([("https://github.com/actions/**", 2)], 3, False),
        ([("https://elsewhere/**", 3)], 1, False),
        ([("https://github.com/actions/**", 1), ("**", 3)], 2, False),
        ([("**", 3), ("https://github.com/actions/**", 1)], 3, True),
    ],
)
def test_the_level_comes_from_the_table_alone(levels, minimum, holds):
    claims = v1()
    claims["runDetails"]["builder"]["level"] = 4
    claims["buildDefinition"]["externalParameters"]["slsaLevel"] = "SLSA_BUILD_LEVEL_4"
    rows = [{"builder": pattern, "level": level} for pattern, level in levels]
    assert judge(claims, levels=rows, minLevel=minimum).holds is holds


def test_age_is_that_of_the_end_of_the_build_and_is_judged_later():
    for predicate in (v02(), v1()):
        result = judge(predicate, maxAge="30d")
        assert result.holds
        assert result.time == parse_instant("2026-01-01T00:10:00Z")
        assert result.max_age == 30 * 86_400_000_000
    assert "end of the build is missing" in judge(v02(metadata=None), maxAge="30d").detail
    assert "RFC 3339" in judge(v02(metadata={"buildFinishedOn": "yesterday"}), maxAge="30d").detail


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("git+https://github.com/acme/app@refs/tags/v1", Source("https://github.com/acme/app", "refs/tags/v1")),
        ("https://github.com/acme/app.git#main:dir", Source("https://github.com/acme/app", "main")),
        ("git+ssh://git@github.com/acme/app", Source("ssh://git@github.com/acme/app", "")),
        ("git+ssh://git@github.com/acme/app@v1", Source("ssh://git@github.com/acme/app", "v1")),
        ("https://github.com/acme/app@refs/heads/a@b", Source("https://github.com/acme/app", "refs/heads/a@b")),
        ("https://github.com@evil.example/acme/app", Source("https://github.com@evil.example/acme/app", "")),
        ("", Source("", "")),
    ],
)
def test_sources_are_taken_apart(uri, source):
    assert split_source(uri) == source


def test_a_fact_keeps_builder_and_commits():
    assert builder_of(SLSA_V02, json.dumps(v02()).encode()) == GENERATOR
    assert commits_of(SLSA_V02, json.dumps(v02()).encode()) == (SHA,)
    assert builder_of("https://slsa.dev/provenance/v1.0?draft", json.dumps(v1()).encode()).endswith("github-hosted")
    assert commits_of(SLSA_V1, json.dumps(v1()).encode()) == (SHA,)


IMAGES = [
    {"uri": "pkg:docker/alpine@3.22", "digest": {"sha256": "ab" * 32}},
    {"uri": "docker-image://docker.io/library/golang:1.26", "digest": {"sha256": "cd" * 32}},
]
NO_IMAGES = [
    {"uri": "pkg:npm/left-pad@1", "digest": {"sha256": "ef" * 32}},
    {"uri": "pkg:docker/no-digest"},
    {"uri": "pkg:docker/short", "digest": {"sha256": "ab"}},
    {"uri": "pkg:docker/upper", "digest": {"sha256": "AB" * 32}},
    {"uri": "pkg:docker/number", "digest": {"sha256": 7}},
    {"digest": {"sha256": "ef" * 32}},
]


@pytest.mark.parametrize(
    ("kind", "predicate", "run"),
    [
        (SLSA_V02, v02(materials=[*IMAGES, *NO_IMAGES], metadata={"buildInvocationID": "run-7"}), "run-7"),
        (SLSA_V02, v02(materials=IMAGES), ""),
        (SLSA_V02, v02(materials=IMAGES, metadata={"buildInvocationID": ["no text"]}), ""),
    ],
)
def test_a_fact_keeps_the_run_the_sources_and_the_images_among_the_materials(kind, predicate, run):
    found = build_of(kind, json.dumps(predicate).encode())
    assert found is not None
    assert found.images == ("sha256:" + "ab" * 32, "sha256:" + "cd" * 32)
    assert found.sources == ("https://github.com/acme/app@refs/tags/v1.2.3",)
    assert (found.run, found.build_type) == (run, predicate["buildType"])


def test_of_a_v1_provenance_too():
    predicate = v1()
    predicate["buildDefinition"]["resolvedDependencies"] += IMAGES
    predicate["runDetails"]["metadata"]["invocationId"] = "https://ci.example/7"
    found = build_of(SLSA_V1, json.dumps(predicate).encode())
    assert found is not None
    assert (found.run, len(found.images)) == ("https://ci.example/7", 2)
    assert found.sources == ("https://github.com/acme/app@refs/heads/main",)


def test_what_is_kept_of_a_build_is_bounded():
    many = [{"uri": "pkg:oci/x", "digest": {"sha256": f"{n:064x}"}} for n in range(MAX_IMAGES + 9)]
    sources = {name: f"https://h/{name}" for name in ("workflow", "source", "configSource", "sourceToBuild")}
    predicate = v1(parameters=sources)
    predicate["buildDefinition"] |= {"resolvedDependencies": many, "buildType": "t" * 9999}
    predicate["runDetails"]["metadata"]["invocationId"] = "r" * 9999
    found = build_of(SLSA_V1, json.dumps(predicate).encode())
    assert found is not None
    assert (len(found.images), len(found.sources)) == (MAX_IMAGES, MAX_SOURCES)
    assert (len(found.run), len(found.build_type)) == (MAX_TEXT, MAX_TEXT)


@pytest.mark.parametrize(
    "broken", [b"", b"{}", b"[]", b"null", b'{"builder":1}', b'{"builder":{"id":"a"},"builder":{"id":"b"}}', b"\xff"]
)
def test_nothing_is_kept_of_what_is_no_provenance(broken):
    assert builder_of(SLSA_V1, broken) == ""
    assert commits_of(SLSA_V1, broken) == ()
    assert build_of(SLSA_V1, broken) is None
    assert builder_of("https://spdx.dev/Document", json.dumps(v1()).encode()) == ""


def test_commits_are_bounded_sources_first_and_packages_have_none():
    predicate = v02(
        materials=[{"uri": f"git+https://h/{n}", "digest": {"sha1": f"{n:040x}"}} for n in range(MAX_COMMITS + 9)]
        + [{"uri": "pkg:npm/x@1", "digest": {"sha1": "a" * 40}}, {"uri": "x", "digest": {"gitCommit": "zz"}}, None]
    )
    found = commits_of(SLSA_V02, json.dumps(predicate).encode())
    assert len(found) == MAX_COMMITS
    assert SHA in found
    assert list(found) == sorted(found)
    package = v02(invocation=None, materials=[{"uri": "pkg:npm/x@1", "digest": {"sha1": "a" * 40}}])
    assert commits_of(SLSA_V02, json.dumps(package).encode()) == ()


def test_an_upper_case_commit_is_the_same_commit():
    predicate = v02(materials=[{"uri": "git+https://h/x", "digest": {"gitCommit": SHA.upper()}}])
    assert commits_of(SLSA_V02, json.dumps(predicate).encode()) == (SHA,)
