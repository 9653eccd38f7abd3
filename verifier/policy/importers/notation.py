"""Notary Project's trustpolicy.json (version 1.0, OCI): one statement per repository, or `*` for all others.

    result = import_notation([("trustpolicy.json", text)])
    result.policies        one per statement, dialect notation; `*` excludes every repository that is named elsewhere

An image without a statement fails in notation: without a `*` statement a policy that denies the rest is added. `skip`
asks for nothing: its repositories stay ungoverned. Written after the trust store and trust policy specification and
notation-go verifier/trustpolicy. What notation refuses is refused here too, with its place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from verifier.policy.globs import EVERY_IMAGE
from verifier.policy.importers.cursor import Cursor
from verifier.policy.importers.drafting import Draft, Sources, name_of, placed
from verifier.policy.importers.notes import ImportResult
from verifier.policy.importers.signers import Signers
from verifier.policy.model import MatchRule, Requirement

LEVELS: Final = ("strict", "permissive", "audit", "skip")
VERSION: Final = "1.0"

_STATEMENT_MEMBERS: Final = frozenset(
    {"name", "registryScopes", "signatureVerification", "trustStores", "trustedIdentities"}
)
_VERIFICATION_MEMBERS: Final = frozenset({"level", "override", "verifyTimestamp"})
_OVERRIDES: Final = frozenset({"authenticity", "authenticTimestamp", "expiry", "revocation"})
_STORE: Final = re.compile(r"(ca|signingAuthority|tsa):[A-Za-z0-9_.-]{1,200}", re.ASCII)
_NO_STATEMENT: Final = "no statement of the trust policy names this repository"


def import_notation(
    sources: Sources,
    *,
    accept_weaker: bool | Collection[str] = False,
    keys: Mapping[str, str] | None = None,
    owner: str = "imported",
) -> ImportResult:
    """Policies and loss notes of every trust policy of all sources.

    Args:
        sources: (file name, text) pairs; the name is only used in messages.
        accept_weaker: True, or the codes of the weakenings that are accepted.
        keys: unused; the same for every importer.
        owner: unused; the same for every importer.

    Raises:
        PolicyError: a document that notation would refuse too, or that is no OCI trust policy.
        WeakeningImport: a policy would ask less than the original, in a way that is not accepted.
    """
    del keys, owner
    draft = Draft("notation", "notation", sources)
    for at in draft.documents():
        with placed(at):
            _document(draft, at)
    return draft.result(accept_weaker)


def _document(draft: Draft, at: Cursor) -> None:
    if at.text_of("version") != VERSION:
        raise at.error(f"expected version {VERSION}")
    draft.unknown(at, {"version", "trustPolicies"}, "info")
    statements = at.list_of("trustPolicies")
    if not statements:
        raise at.error("expected at least one statement in trustPolicies")
    scopes = [_scopes(draft, statement) for statement in statements]
    _check_unique(statements, scopes)
    named = tuple(scope for found in scopes for scope in found if scope != EVERY_IMAGE)
    for statement, found in zip(statements, scopes, strict=True):
        _statement(draft, statement, found, named if EVERY_IMAGE in found else ())
    if all(EVERY_IMAGE not in found for found in scopes):
        draft.note(at, "info", "no-statement", "notation refuses every other image; a policy that denies it is added")
        draft.policy(
            at,
            "notation.no-statement",
            match=(MatchRule(images=(EVERY_IMAGE,)),),
            exclude=(MatchRule(images=named),),
            require=Requirement(denied=_NO_STATEMENT),
        )


def _scopes(draft: Draft, at: Cursor) -> tuple[str, ...]:
    entries = at.list_of("registryScopes")
    if not entries:
        raise at.error("expected registryScopes with at least one repository, or *")
    for entry in entries:
        draft.check_pattern(entry, entry.text())
    scopes = tuple(entry.text() for entry in entries)
    if EVERY_IMAGE in scopes and len(scopes) > 1:
        raise entries[0].error("* stands alone in registryScopes")
    return scopes


def _check_unique(statements: list[Cursor], scopes: list[tuple[str, ...]]) -> None:
    """A name, and a scope, belongs to one statement."""
    names: set[str] = set()
    seen: set[str] = set()
    for at, found in zip(statements, scopes, strict=True):
        name = at.text_of("name")
        if not name or name in names:
            raise at.error("every statement has a name of its own")
        names.add(name)
        for scope in found:
            if scope.lower() in seen:
                raise at.error("a scope stands in one statement, once")
            seen.add(scope.lower())


def _statement(draft: Draft, at: Cursor, scopes: tuple[str, ...], elsewhere: tuple[str, ...]) -> None:
    draft.unknown(at, _STATEMENT_MEMBERS, "info")
    verification = at.get("signatureVerification")
    if verification is None or (level := verification.text_of("level")) not in LEVELS:
        raise (verification or at).error(f"expected signatureVerification.level: one of {', '.join(LEVELS)}")
    if level == "skip":
        _skip(draft, at, verification)
        return
    signers = Signers(draft)
    signer = signers.add(at, at.text_of("name"), {"notary": _notary(draft, at, verification, level)})
    draft.policy(
        at,
        name_of("notation", at.text_of("name")),
        match=(MatchRule(images=scopes),),
        exclude=(MatchRule(images=elsewhere),) if elsewhere else (),
        require=Requirement(signed_by=signer),
        attestors=signers.attestors,
    )


def _skip(draft: Draft, at: Cursor, verification: Cursor) -> None:
    if at.list_of("trustStores") or at.list_of("trustedIdentities") or verification.get("override") is not None:
        raise at.error("level skip stands without trustStores, trustedIdentities and override")
    draft.note(at, "info", "skip", "level skip asks for nothing; these repositories stay ungoverned")


def _notary(draft: Draft, at: Cursor, verification: Cursor, level: str) -> dict[str, Any]:
    draft.unknown(verification, _VERIFICATION_MEMBERS, "info")
    override = verification.pairs_of("override")
    if not set(override) <= _OVERRIDES:
        raise verification.error(f"only {', '.join(sorted(_OVERRIDES))} can be overridden")
    stores, identities = at.texts_of("trustStores"), at.texts_of("trustedIdentities")
    if not stores or not identities:
        raise at.error("expected trustStores and trustedIdentities")
    if "*" in identities and len(identities) > 1:
        raise at.error("* stands alone in trustedIdentities")
    for store in at.list_of("trustStores"):
        if _STORE.fullmatch(store.text()) is None:
            raise store.error("a store is ca:NAME, signingAuthority:NAME or tsa:NAME")
        message = f"add the certificates of this store: `revet trust root add {store.text()} FILE`"
        draft.note(store, "loses", "root-reference", message)
    found: dict[str, Any] = {"stores": stores, "identities": identities, "level": level, "override": override}
    if (when := verification.text_of("verifyTimestamp")) != "":
        found["verifyTimestamp"] = when
    return found
