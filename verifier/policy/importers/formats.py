"""Which tool's policies a document holds, and the importer for them.

    importer("cip")                                     import_cip
    detect([("policy.json", text)])                     "containers-policy"

Every importer takes (file, text) pairs and gives policies with a note for each loss. One import is one format: files of
two tools are two imports, so that what takes images from what is read together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from verifier.errors import PolicyError
from verifier.policy.importers import openshift
from verifier.policy.importers.binauthz import import_binauthz
from verifier.policy.importers.cip import API_GROUP, import_cip
from verifier.policy.importers.connaisseur import import_connaisseur
from verifier.policy.importers.containers import import_containers
from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import documents
from verifier.policy.importers.kyverno import import_kyverno
from verifier.policy.importers.notation import import_notation
from verifier.policy.importers.notes import ImportResult

Importer = Callable[..., ImportResult]
"""(sources, *, accept_weaker, keys, owner) -> ImportResult; raises PolicyError and WeakeningImport."""

IMPORTERS: Final[dict[str, Importer]] = {
    "kyverno": import_kyverno,
    "cip": import_cip,
    "notation": import_notation,
    "containers-policy": import_containers,
    "openshift": openshift.import_openshift,
    "connaisseur": import_connaisseur,
    "binary-authorization": import_binauthz,
}
"""Format -> importer. A new format is a row here, and one below."""

_MEMBERS: Final[dict[str, tuple[str, ...]]] = {
    "notation": ("trustPolicies",),
    "containers-policy": ("default",),
    "connaisseur": ("validators", "policy"),
}
"""Formats without apiVersion, and the members that only they have at the top. Asked in this order."""

_BINARY_AUTHORIZATION: Final = ("defaultAdmissionRule", "userOwnedGrafeasNote")


def importer(name: str) -> Importer:
    """The importer of a format.

    Raises:
        PolicyError: there is none of this name.
    """
    found = IMPORTERS.get(name)
    if found is None:
        raise PolicyError(f"no importer for {name[:80]!a}; one of {', '.join(IMPORTERS)}")
    return found


def detect(sources: Iterable[tuple[str, str]]) -> str:
    """The one format of all documents; those of no known format are looked over.

    Raises:
        PolicyError: a text cannot be read, documents of two formats, or of none.
    """
    first: tuple[str, Cursor] | None = None
    for file, text in sources:
        for at in documents(file, text):
            name = format_of(at.value)
            if name and first is None:
                first = (name, at)
            elif name and first is not None and name != first[0]:
                raise at.error(f"this is {name}, but {first[1].tree.file} is {first[0]}; import them one by one")
    if first is None:
        raise PolicyError(f"no format that can be imported was recognised; say which, one of {', '.join(IMPORTERS)}")
    return first[0]


def format_of(data: object) -> str:
    """The format of one document, by what only that format has; empty when it is none. Raises nothing."""
    if not isinstance(data, Mapping):
        return ""
    api, kind = data.get("apiVersion"), data.get("kind")
    if isinstance(api, str):
        return _by_api(api, kind)
    if any(member in data for member in _BINARY_AUTHORIZATION):
        return "binary-authorization"
    application = data.get("application")
    inner = application if isinstance(application, Mapping) and "validators" in application else data
    for name, members in _MEMBERS.items():
        if all(member in inner for member in members):
            return name
    return ""


def _by_api(api: str, kind: object) -> str:
    if api.partition("/")[0].endswith("kyverno.io"):
        return "kyverno"
    if api.startswith(API_GROUP):
        return "cip"
    return "openshift" if api.startswith(openshift.API_GROUP) and kind in openshift.KINDS else ""
