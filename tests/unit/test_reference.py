"""References and runtime image ids: the grammar, the defaults, and the seven shapes of imageID."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import ImageReferenceError, InputError
from verifier.models import ImageReference, RunningImage
from verifier.reference import canonical_host, is_digest, parse_image_id, parse_reference

HEX = "0d71ff22db29a08ac7399d1b35b0311c5b0cbe68d878993718275758811f652a"
DIGEST = f"sha256:{HEX}"

NORMALISED = [
    ("nginx", "docker.io/library/nginx:latest", "Docker Hub, library and latest are the defaults"),
    ("nginx:1.27", "docker.io/library/nginx:1.27", "a tag replaces latest"),
    ("quay/redis", "docker.io/quay/redis:latest", "a first component without dot is a Docker Hub user"),
    ("docker.io/nginx", "docker.io/library/nginx:latest", "library is added to one component"),
    ("index.docker.io/library/nginx", "docker.io/library/nginx:latest", "go-containerregistry's name of Docker Hub"),
    ("registry-1.docker.io/library/nginx", "registry-1.docker.io/library/nginx:latest", "the API host is another host"),
    ("quay.io/org/app", "quay.io/org/app:latest", "a host with a dot"),
    ("Quay.IO/org/app", "quay.io/org/app:latest", "hosts compare without case"),
    ("localhost/app", "localhost/app:latest", "localhost is a host"),
    ("localhost:5000/app:v1", "localhost:5000/app:v1", "the port's colon begins no tag"),
    ("registry:5000/app", "registry:5000/app:latest", "a port makes a host of one word"),
    ("r.example:443/app:v1", "r.example:443/app:v1", "default ports are kept"),
    ("[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app:latest", "IPv6"),
    ("Registry/app", "Registry/app:latest", "a dotless host known by its capitals keeps them"),
    (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", "no tag is added to a digest"),
    (f"r.example/app:v1@{DIGEST}", f"r.example/app:v1@{DIGEST}", "a tag beside a digest is kept for display"),
    (f"nginx@sha512:{HEX}{HEX}", f"docker.io/library/nginx@sha512:{HEX}{HEX}", "sha512 is part of the grammar"),
    ("a--b/c__d/e.f", "docker.io/a--b/c__d/e.f:latest", "separators inside components"),
]


@pytest.mark.parametrize(("text", "expected", "why"), NORMALISED, ids=[row[0][:40] for row in NORMALISED])
def test_normalises(text, expected, why):
    assert str(parse_reference(text)) == expected, why


REFUSED = [
    ("", "empty"),
    (HEX, "a bare 64-digit name is ambiguous with an id"),
    ("Nginx", "capitals in a path"),
    ("r.example/Team/app", "capitals behind the host"),
    ("nginx:", "empty tag"),
    ("nginx:-v1", "a tag begins with a letter, digit or _"),
    ("nginx:" + "a" * 129, "a tag of 129 characters"),
    ("nginx@", "empty digest"),
    (f"nginx@{DIGEST.upper()}", "digest in capitals"),
    ("nginx@sha256:abcd", "short digest"),
    (f"nginx@{DIGEST}@{DIGEST}", "two digests"),
    (f"nginx@{DIGEST}\n", "a line end behind it"),
    ("nginx\n", "a line end"),
    (" nginx", "a space"),
    ("r.example//app", "an empty component"),
    ("r.example/app/", "a slash at the end"),
    ("/app", "a slash at the start"),
    ("r.example/../app", "dots only"),
    ("https://r.example/app", "an address"),
    ("docker://nginx", "a transport"),
    ("r_x.example/app", "an underscore in a host"),
    ("r.example:port/app", "letters for a port"),
    ("r.example:٥٠٠٠/app", "digits of another script"),
    ("аpp", "a Cyrillic letter"),
    ("a" * 256, "a name of more than 255 characters"),
    ("a" * 100_000, "far too long"),
    ("\x1b[31mapp", "terminal escapes"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[row[1] for row in REFUSED])
def test_refuses(text, why):
    with pytest.raises(ImageReferenceError) as caught:
        parse_reference(text)
    message = str(caught.value)
    assert "got" in message, why
    assert "expected" in message
    assert message.isascii()
    assert message.isprintable(), "text of strangers is quoted, not repeated"
    assert len(message) < 500
    assert isinstance(caught.value, InputError)


host = st.sampled_from(["", "docker.io/", "index.docker.io/", "Quay.io/", "localhost:5000/", "r.example/", "UPPER/"])
path = st.from_regex(r"[a-z0-9]{1,8}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,5})?(?:/[a-z0-9]{1,9}){0,3}", fullmatch=True)
tag = st.one_of(st.just(""), st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
digest = st.one_of(st.just(""), st.from_regex(r"@sha256:[0-9a-f]{64}", fullmatch=True))


@settings(max_examples=200)
@given(st.builds("{}{}{}{}".format, host, path, tag, digest))
def test_parsing_again_changes_nothing(text):
    once = parse_reference(text)
    assert parse_reference(str(once)) == once
    assert canonical_host(once.registry) == once.registry


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_any_text_parses_or_is_refused(text):
    try:
        once = parse_reference(text)
    except ImageReferenceError:
        return
    assert parse_reference(str(once)) == once


@settings(max_examples=200)
@given(st.text(max_size=120))
def test_any_image_id_has_an_answer(text):
    running = parse_image_id(text)
    assert running.kind in {"repo-digest", "config-digest", "storage-id", "empty", "unknown"}
    assert (running.kind == "repo-digest") == bool(running.repository)


IMAGE_IDS = [
    (f"docker-pullable://nginx@{DIGEST}", RunningImage("repo-digest", "docker.io/library/nginx", DIGEST), "Docker"),
    (f"docker://{DIGEST}", RunningImage("config-digest", "", DIGEST), "Docker, loaded or built on the node"),
    (f"quay.io/a/b@{DIGEST}", RunningImage("repo-digest", "quay.io/a/b", DIGEST), "containerd and CRI-O"),
    (DIGEST, RunningImage("config-digest", "", DIGEST), "containerd, loaded without a registry"),
    (HEX, RunningImage("storage-id", "", HEX), "CRI-O's storage id"),
    ("", RunningImage("empty"), "waiting"),
    (f"quay.io/a/b:v1@{DIGEST}", RunningImage("repo-digest", "quay.io/a/b", DIGEST), "tag and digest"),
    ("nginx:latest", RunningImage("unknown"), "a name without digest says nothing about content"),
    ("docker://", RunningImage("empty"), "a prefix alone"),
    (f"@{DIGEST}", RunningImage("unknown"), "a digest of no repository"),
    (f"nginx@sha512:{HEX}{HEX}", RunningImage("unknown"), "evidence is looked up by sha256 only"),
    ("not an image", RunningImage("unknown"), "nonsense"),
]


@pytest.mark.parametrize(("text", "expected", "why"), IMAGE_IDS, ids=[row[2] for row in IMAGE_IDS])
def test_image_id_shapes(text, expected, why):
    assert parse_image_id(text) == expected


@pytest.mark.parametrize("text", [DIGEST, f"sha256:{'0' * 64}"])
def test_is_digest(text):
    assert is_digest(text)


@pytest.mark.parametrize("text", ["", HEX, DIGEST + "\n", DIGEST.upper(), f"sha512:{HEX}{HEX}", f"sha256:{'٠' * 64}"])
def test_is_no_digest(text):
    assert not is_digest(text)


def test_repository_is_what_evidence_is_stored_under():
    assert parse_reference("nginx:1").repository == "docker.io/library/nginx"
    assert parse_reference("nginx") == ImageReference("docker.io", "library/nginx", "latest")
