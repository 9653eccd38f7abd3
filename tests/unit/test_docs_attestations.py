"""The page on attestations is true: its rules load, every member is explained, its limits are the constants."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from verifier.content.model import MEMBERS, ContentRule
from verifier.content.predicates import ALIASES
from verifier.written import DOCUMENT

PAGE = (Path(__file__).parents[2] / "docs" / "attestations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


class TextTimes(yaml.SafeLoader):
    """Times stay text, as in the reader of policies."""


TextTimes.add_constructor("tag:yaml.org,2002:timestamp", lambda _loader, node: node.value)


def models(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The model and all models its members are made of."""
    found = {model}
    waiting = [field.annotation for field in model.model_fields.values()]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in found:
                found.add(kind)
                waiting.extend(field.annotation for field in kind.model_fields.values())
        else:
            waiting.extend(getattr(kind, "__args__", ()))
    return found


@pytest.mark.parametrize("text", BLOCKS)
def test_every_block_is_a_rule(text):
    rule = ContentRule.model_validate(yaml.load(text, TextTimes), context=DOCUMENT)
    dumped = rule.model_dump(mode="json", by_alias=True, exclude_defaults=True, context=DOCUMENT)
    assert ContentRule.model_validate(dumped, context=DOCUMENT) == rule


def test_every_member_is_shown_and_explained():
    assert {next(iter(yaml.load(text, TextTimes))) for text in BLOCKS} == set(MEMBERS)
    names = {field.alias or name for model in models(ContentRule) for name, field in model.model_fields.items()}
    assert len(names) > 50
    shown = [name for name in names if f"`{name}`" in PAGE or re.search(rf"\b{name}:", PAGE)]
    assert sorted(names - set(shown)) == []


def test_every_short_name_is_listed():
    assert [name for name in ALIASES if f"`{name}`" not in PAGE] == []


LIMITS = re.findall(r"^\| [^|]+ \| (\d+) \| `(\w+)\.(\w+)` \|$", PAGE, flags=re.MULTILINE)


def test_every_limit_has_its_value():
    assert len(LIMITS) >= 15
    for value, module, name in LIMITS:
        assert getattr(import_module(f"verifier.content.{module}"), name) == int(value), name
