"""Image references and runtime image ids: read, normalised, and never guessed at.

The grammar and the defaults are those of the `distribution/reference` Go package, which Docker, containerd and the
kubelet share. Two names of the same repository become one text, because joins and evidence look-ups compare texts.

    str(parse_reference("nginx"))                            "docker.io/library/nginx:latest"
    parse_reference("localhost:5000/a/b@sha256:…").registry  "localhost:5000"
    parse_image_id("docker-pullable://nginx@sha256:…")       RunningImage(kind="repo-digest", …)
    parse_image_id("sha256:…").kind                          "config-digest"

It resolves nothing: a tag stays a tag, and an image id that names no manifest is said to name none.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NoReturn

from verifier.errors import ImageReferenceError
from verifier.models import ImageReference, RunningImage

DEFAULT_REGISTRY: Final = "docker.io"
DEFAULT_TAG: Final = "latest"

REFERENCE_CHARACTERS: Final = 1024
"""Longest text that is looked at: a name (255), a tag (128) and a sha512 digest (135) fit twice."""

NAME_CHARACTERS: Final = 255
"""Longest `registry/path`, the limit of distribution/reference."""

_CACHED: Final = 16_384
"""References kept parsed. A large fleet runs some thousand distinct ones, each seen in every pod update."""

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ANY_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HEX_ID: Final = re.compile(r"[0-9a-f]{64}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST_LABEL: Final = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_HOST: Final = re.compile(rf"(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[A-Fa-f0-9:]+\])(?::[0-9]+)?")
_COMPONENT: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")

_RUNTIME_PREFIXES: Final = ("docker-pullable://", "docker://")
"""Written by Docker (dockershim, cri-dockerd) before an image id."""


def is_digest(text: str) -> bool:
    """True for `sha256:<64 lower-case hex>`, the only digest form evidence is looked up by."""
    return _DIGEST.fullmatch(text) is not None


def canonical_host(host: str) -> str:
    """`host[:port]` as used in comparisons: lower case, Docker Hub's second name replaced.

    A host without dot and port that is recognised by its capitals alone keeps them: in lower case the same text would
    be read as a Docker Hub user. Ports are kept, also default ones.
    """
    lowered = host.lower()
    if lowered == "index.docker.io":  # go-containerregistry prints Docker Hub this way
        return DEFAULT_REGISTRY
    return lowered if _is_host(lowered) else host


@lru_cache(maxsize=_CACHED)
def parse_reference(text: str) -> ImageReference:
    """A reference as a person or a pod spec wrote it, normalised.

    `str()` of the result parses to the same result. Without tag and digest the tag is `latest`; with a digest a
    missing tag stays empty, and a written one is kept for display.

    Raises:
        ImageReferenceError: the text follows no known grammar; the message says what was expected.
    """
    if not text or len(text) > REFERENCE_CHARACTERS:
        _refuse(text, "an image reference", f"1 to {REFERENCE_CHARACTERS} characters")
    rest, at, digest = text.partition("@")
    if at and _ANY_DIGEST.fullmatch(digest) is None:
        _refuse(text, f"digest {_shown(digest)}", "sha256:<64 hex> or sha512:<128 hex>, lower case")
    name, tag = _split_tag(rest)
    if tag is not None and _TAG.fullmatch(tag) is None:
        _refuse(text, f"tag {_shown(tag)}", "a letter, digit or _, then up to 127 of these, '.' and '-'")
    if _HEX_ID.fullmatch(name) is not None:
        _refuse(text, "a bare 64-digit name", "a repository name; it cannot be told from an image id")
    registry, path = _split_name(text, name)
    return ImageReference(registry, path, tag if tag is not None else "" if digest else DEFAULT_TAG, digest)


def names_in(reference: ImageReference, digest: str) -> tuple[str, ...]:
    """What of a reference may name an index that lists `digest`: the pinned digest, if another, and the tag."""
    return tuple(name for name in (reference.digest, reference.tag) if name and name != digest)


@lru_cache(maxsize=_CACHED)
def parse_image_id(text: str) -> RunningImage:
    """What a runtime reported as `status.containerStatuses[].imageID`; never raises, the unreadable is `unknown`.

    | text                                            | kind          | digest               |
    |-------------------------------------------------|---------------|----------------------|
    | `docker-pullable://REPO@sha256:H`               | repo-digest   | `sha256:H`           |
    | `REPO@sha256:H`, `REPO:TAG@sha256:H`            | repo-digest   | `sha256:H`           |
    | `docker://sha256:H`, `sha256:H`                 | config-digest | `sha256:H` (config)  |
    | 64 hex digits                                   | storage-id    | the digits           |
    | nothing                                         | empty         |                      |
    | anything else, also a repository without digest | unknown       |                      |
    """
    for prefix in _RUNTIME_PREFIXES:
        text = text.removeprefix(prefix)
    if not text:
        return RunningImage("empty")
    if is_digest(text):
        return RunningImage("config-digest", digest=text)
    if _HEX_ID.fullmatch(text) is not None:
        return RunningImage("storage-id", digest=text)
    try:
        reference = parse_reference(text)
    except ImageReferenceError:
        return RunningImage("unknown")
    if not is_digest(reference.digest):
        return RunningImage("unknown")
    return RunningImage("repo-digest", reference.repository, reference.digest)


def _split_tag(rest: str) -> tuple[str, str | None]:
    """The last `:` begins a tag only behind the last `/`; before it, it begins a port."""
    colon = rest.rfind(":")
    if colon <= rest.rfind("/"):
        return rest, None
    return rest[:colon], rest[colon + 1 :]


def _split_name(text: str, name: str) -> tuple[str, str]:
    """(registry, path) with Docker's defaults."""
    host, slash, path = name.partition("/")
    if slash and _is_host(host):
        if _HOST.fullmatch(host) is None:
            _refuse(text, f"registry {_shown(host)}", "a host name or [IPv6 address], and a port if any")
        registry = canonical_host(host)
    else:
        registry, path = DEFAULT_REGISTRY, name
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    if not all(map(_COMPONENT.fullmatch, path.split("/"))):
        expected = "lower-case letters and digits, joined by '.', '_', '__' or '-', between slashes"
        _refuse(text, f"repository {_shown(path)}", expected)
    if len(registry) + 1 + len(path) > NAME_CHARACTERS:
        _refuse(text, f"a name of {len(registry) + 1 + len(path)} characters", f"at most {NAME_CHARACTERS}")
    return registry, path


def _is_host(component: str) -> bool:
    """Docker's rule for the first component: only what could not be a path component, or `localhost`, is a host."""
    return "." in component or ":" in component or component == "localhost" or component != component.lower()


def _shown(text: str) -> str:
    """The text as a Python literal, cut: it comes from strangers and ends up in messages."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def _refuse(text: str, got: str, expected: str) -> NoReturn:
    raise ImageReferenceError(f"image reference {_shown(text)}: got {got}, expected {expected}")
