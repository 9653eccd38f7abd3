"""The policy composer: fields that become YAML, a text to edit, and what it would do. It stores nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from dashboards.markup import Content, Element, Whole, e

MODES: Final = ("trial", "audit", "enforce")
PREDICATES: Final = ("", "slsaprovenance1", "spdx", "cyclonedx", "vuln", "openvex", "vsa")
"""Types of attestations that can be asked for; the first: a signature."""
LONGEST: Final = 200_000
"""Characters of a policy that the composer takes."""


class Written(msgspec.Struct, frozen=True):
    """What somebody filled in, as it was sent."""

    name: str = ""
    images: str = ""
    namespaces: str = ""
    mode: str = "trial"
    keys: str = ""
    issuer: str = ""
    subject: str = ""
    predicate: str = ""
    yaml: str = ""


def composer(written: Written, keys: Sequence[str], problems: Sequence[str]) -> Element:
    """The form. `keys`: names of keys in force; `problems`: what is wrong with what was sent."""
    wrong = e("ul", *(e("li", text) for text in problems), class_="notes unknown", role="alert")
    return e(
        "section",
        e("h2", "Compose a policy", id="compose-title"),
        e("p", "It renders YAML and foretells what the policy would do to what runs now. Nothing is stored: save the "
          "text, review it, and apply it with `revet trust apply`.", class_="soft"),
        *((wrong,) if problems else ()),
        e("form", _fields(written, keys), _text(written), class_="composer", action="/compose", method="post"),
        id="compose", aria_labelledby="compose-title",
    )  # fmt: skip


def _fields(written: Written, keys: Sequence[str]) -> Element:
    known = f"In force: {', '.join(keys[:30])}." if keys else "No key is in force yet."
    return e(
        "fieldset",
        e("legend", "What is asked"),
        _input("name", "Name", written.name, "lower-case letters, digits, hyphens"),
        _area("images", "Images, one pattern a line", written.images, "registry.example.com/payments/**"),
        _input("namespaces", "Only in these namespaces, with commas between", written.namespaces, "empty: all"),
        _select("mode", "Mode", MODES, written.mode, "trial: judged and recorded, silent"),
        _input("keys", "Signed by one of these keys, with commas between", written.keys, known),
        _input("issuer", "or keyless: issuer", written.issuer, "https://token.actions.githubusercontent.com"),
        _input("subject", "and identity; * stands for anything", written.subject,
               "https://github.com/example/app/.github/workflows/release.yml@refs/tags/*"),
        _select("predicate", "as", PREDICATES, written.predicate, "a signature, or an attestation of this type"),
        e("p", e("button", "Render YAML", type="submit", name="do", value="render", class_="main"), class_="buttons"),
    )  # fmt: skip


def _text(written: Written) -> Element:
    return e(
        "fieldset",
        e("legend", "The policy"),
        e("p", e("label", "YAML, as `revet trust apply` takes it", for_="yaml"),
          e("textarea", Whole(written.yaml), id="yaml", name="yaml", rows=24, maxlength=LONGEST, spellcheck="false",
            autocomplete="off")),
        e("p", e("button", "Preview", type="submit", name="do", value="preview", class_="main"), class_="buttons"),
    )  # fmt: skip


def _labelled(name: str, label: str, field: Element, hint: str) -> Element:
    told: tuple[Content, ...] = (e("span", hint, class_="soft", id=f"{name}-hint"),) if hint else ()
    return e("p", e("label", label, for_=name), field, *told)


def _input(name: str, label: str, value: str, hint: str) -> Element:
    field = e("input", type="text", id=name, name=name, value=Whole(value), maxlength=1000, autocomplete="off",
              spellcheck="false", aria_describedby=f"{name}-hint")  # fmt: skip
    return _labelled(name, label, field, hint)


def _area(name: str, label: str, value: str, hint: str) -> Element:
    field = e("textarea", Whole(value), id=name, name=name, rows=3, maxlength=10_000, spellcheck="false",
              autocomplete="off", aria_describedby=f"{name}-hint")  # fmt: skip
    return _labelled(name, label, field, hint)


def _select(name: str, label: str, values: Sequence[str], chosen: str, hint: str) -> Element:
    options = (e("option", v or "signature", value=v, selected="" if v == chosen else None) for v in values)
    return _labelled(name, label, e("select", *options, id=name, name=name, aria_describedby=f"{name}-hint"), hint)
