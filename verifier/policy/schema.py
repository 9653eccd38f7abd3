"""JSON Schema of every document kind, generated from the models, for editors and for CI.

    json.loads(schema_text())["title"]     "revet documents"

The checked-in copy is docs/schema/policy.schema.json; a test compares the two and says how to renew it. The schema
knows shapes; what needs more than one member (an attestor that does not exist) is found by `revet policy check`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from verifier.policy.documents import AnyDocument

SCHEMA_ID: Final = "https://revet.invalid/schema/policy.schema.json"
"""An identifier, not an address: revet fetches no schema."""


class _WrittenForm(GenerateJsonSchema):
    """The form people write: a member that is not wanted is left out, never null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002  # pydantic's signature
        return False  # "Serviceaccounts" helps nobody

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        result = super().default_schema(schema)
        if result.get("default", ...) is None:
            del result["default"]
        return result


def document_schema() -> dict[str, Any]:  # Any: a JSON Schema is arbitrary JSON
    """The schema of one document of any kind (draft 2020-12)."""
    adapter: TypeAdapter[AnyDocument] = TypeAdapter(Annotated[AnyDocument, Field(discriminator="kind")])
    schema = adapter.json_schema(by_alias=True, schema_generator=_WrittenForm)
    schema.pop("discriminator", None)  # OpenAPI's word; JSON Schema decides by oneOf and const
    head = {"$schema": GenerateJsonSchema.schema_dialect, "$id": SCHEMA_ID, "title": "revet documents"}
    return {**head, **schema}


def schema_text() -> str:
    """The schema as it is checked in: indented, sorted, ending with a line feed."""
    return json.dumps(document_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
