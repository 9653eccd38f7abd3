"""The three engines as parameters of one fixture; apart from `engineworld`, which worker processes import too.

@pytest.fixture(params=ENGINES)
def world(request): return opener(request)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

import pytest

from tests.helpers.engineworld import World, a_place

Open = Callable[..., AbstractAsyncContextManager[World]]
"""What the fixture `world` of the engines' suites gives: `async with world(shards=4) as one`."""

ENGINES: Final = (
    "memory",
    pytest.param("aiokafka", marks=pytest.mark.needs("kafka")),
    pytest.param("faust", marks=pytest.mark.needs("kafka")),
)
"""Parameters of that fixture."""


def opener(request: pytest.FixtureRequest) -> Open:
    """The fixture's value for the engine that its parameter names."""
    bootstrap = "" if request.param == "memory" else request.getfixturevalue("kafka_server").bootstrap
    return partial(a_place, request.param, bootstrap)
