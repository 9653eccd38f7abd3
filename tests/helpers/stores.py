"""Every record that the contract suites run on, as a parameter: `store` of a test is one of them, empty.

@pytest.fixture(params=STORES)
def store(request) -> str:
    return opened(request)
"""

import pytest

from tests.helpers import elastic
from tests.helpers.recorded import RECORDS

RECORDS.setdefault("elasticsearch", elastic.elastic_record)

_SERVER = (pytest.mark.needs("elasticsearch"), pytest.mark.slow)
STORES = ("memory", "sqlite", pytest.param("elasticsearch", marks=_SERVER))


def opened(request: pytest.FixtureRequest) -> str:
    """The name of the record, ready to be made by `RECORDS`."""
    if request.param == "elasticsearch":
        elastic.use(request.getfixturevalue("elastic_server").url)
    name: str = request.param
    return name
