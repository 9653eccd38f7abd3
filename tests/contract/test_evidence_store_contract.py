"""What every evidence store must keep: bytes from first sight, places, dates, and what indexes list."""

import itertools
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.registry_server import registry_process
from verifier.adapters.directory import DirectoryEvidenceStore
from verifier.adapters.memory import MemoryEvidenceStore
from verifier.adapters.oci_store import OciEvidenceStore
from verifier.adapters.registry import RegistryOptions
from verifier.adapters.sqlite import SqliteEvidenceStore, create_evidence_tables, opened_evidence_file
from verifier.errors import PlaceError, PlaceRefused, PlaceUnavailable
from verifier.evidence.identity import evidence_id
from verifier.models import Evidence
from verifier.oci.manifests import IndexChild
from verifier.oci.media import digest_of
from verifier.oci.port import EvidenceStore

REPOSITORY = "registry.example.com/payments/api"
IMAGE, OTHER, INDEX = ("sha256:" + letter * 64 for letter in "abc")
SIGNATURE = "dev.cosignproject.cosign/signature"


def evidence(
    payload: bytes = b"payload", signature: str = "c2ln", subject: str = IMAGE, repository: str = REPOSITORY
) -> Evidence:
    annotations = {SIGNATURE: signature}
    name = evidence_id(digest_of(payload), annotations)
    return Evidence(name, "cosign-simplesigning", repository, subject, payload, annotations, OTHER, "sig-tag")


Registry = Callable[[], str]
"""A repository of a running registry that nobody has used."""


@pytest.fixture(scope="session")
def registry(require: Callable[[str], Path]) -> Iterator[Registry]:
    """A real registry program, started when a test asks for a repository of it."""
    with ExitStack() as stack:
        hosts: list[str] = []
        numbers = itertools.count()

        def fresh() -> str:
            if not hosts:
                hosts.append(stack.enter_context(registry_process(require("registry"))))
            return f"{hosts[0]}/revet/evidence-{next(numbers)}"

        yield fresh


def memory_store(folder, registry) -> Iterator[EvidenceStore]:
    yield MemoryEvidenceStore()


def sqlite_store(folder, registry) -> Iterator[EvidenceStore]:
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        create_evidence_tables(connection)
        create_evidence_tables(connection)  # again, as at every start
        yield SqliteEvidenceStore(connection)


def sqlite_file(folder, registry) -> Iterator[EvidenceStore]:
    with opened_evidence_file(folder / "own" / "evidence.sqlite") as store:
        yield store


def directory_store(folder, registry) -> Iterator[EvidenceStore]:
    yield DirectoryEvidenceStore(folder / "evidence")


def oci_store(folder, registry) -> Iterator[EvidenceStore]:
    with OciEvidenceStore(registry(), RegistryOptions(plain_http=frozenset("*"))) as store:
        yield store


STORES = [
    memory_store,
    sqlite_store,
    sqlite_file,
    directory_store,
    pytest.param(oci_store, marks=pytest.mark.needs("registry")),
]


@pytest.fixture(params=STORES, ids=lambda store: store.__name__)
def store(request, tmp_path, registry) -> Iterator[EvidenceStore]:
    yield from request.param(tmp_path, registry)


def test_what_was_put_comes_back_byte_for_byte(store):
    put = evidence(bytes(range(256)) * 10)
    assert store.put(put, None)
    assert store.get(put.id) == put
    assert store.for_digest(REPOSITORY, IMAGE) == (put,)


def test_nothing_is_known_of_what_was_never_put(store):
    assert store.get("sha256:none") is None
    assert store.for_digest(REPOSITORY, IMAGE) == ()
    assert store.first_seen(["sha256:none"]) == {}
    assert store.indexes_of(REPOSITORY, IMAGE) == ()
    assert store.children_of(REPOSITORY, INDEX) == ()


def test_putting_again_is_not_new_and_changes_nothing(store):
    put = evidence()
    assert store.put(put, None)
    again = msgspec.structs.replace(put, place="referrers-api", artifact=IMAGE)
    assert not store.put(again, None)
    assert not store.put(put, 5)
    assert store.for_digest(REPOSITORY, IMAGE) == (put,)


def test_the_same_bytes_with_another_signature_are_other_evidence(store):
    one, two = evidence(signature="b25l"), evidence(signature="dHdv")
    assert store.put(one, None)
    assert store.put(two, None)
    assert store.for_digest(REPOSITORY, IMAGE) == tuple(sorted((one, two), key=lambda e: e.id))


def test_the_same_evidence_lies_at_several_places(store):
    here, elsewhere = evidence(), evidence(subject=OTHER)
    abroad = evidence(repository="registry.example.com/checkout/web")
    assert here.id == elsewhere.id == abroad.id
    for put in (here, elsewhere, abroad):
        assert store.put(put, None)
    assert store.for_digest(REPOSITORY, IMAGE) == (here,)
    assert store.for_digest(REPOSITORY, OTHER) == (elsewhere,)
    assert store.for_digest(abroad.repository, IMAGE) == (abroad,)
    assert store.get(here.id) == abroad, "the first in order of repository and subject"


def test_the_earliest_date_wins_whatever_the_order(tmp_path, store):
    for number, times in enumerate(itertools.permutations([30, 10, 20])):
        put = evidence(f"{number}".encode())
        for time in times:
            store.put(put, time)
        assert store.first_seen([put.id]) == {put.id: 10}


def test_evidence_without_a_date_has_none_until_one_is_known(store):
    dated, undated = evidence(b"dated"), evidence(b"undated")
    store.put(dated, 0)
    store.put(undated, None)
    assert store.first_seen([dated.id, undated.id, dated.id]) == {dated.id: 0}
    store.put(undated, 7)
    store.put(undated, None)
    assert store.first_seen([undated.id]) == {undated.id: 7}


def test_a_date_is_of_the_bytes_wherever_they_lie(store):
    store.put(evidence(), 20)
    store.put(evidence(subject=OTHER), 10)
    assert store.first_seen([evidence().id]) == {evidence().id: 10}


def test_dates_of_many_are_found_at_once(store):
    ids = []
    for number in range(600):
        put = evidence(f"{number}".encode())
        ids.append(put.id)
        if number < 3 or number > 597:
            store.put(put, number)
    assert sorted(store.first_seen(ids).values()) == [0, 1, 2, 598, 599]


def test_what_an_index_lists_is_remembered_both_ways(store):
    listed = [IndexChild(INDEX, IMAGE, "linux/amd64"), IndexChild(INDEX, OTHER, "linux/arm64/v8")]
    store.link(REPOSITORY, listed)
    store.link(REPOSITORY, listed[:1])
    store.link(REPOSITORY, [IndexChild(OTHER, IMAGE)])
    assert store.indexes_of(REPOSITORY, IMAGE) == (OTHER, INDEX)
    assert store.indexes_of("registry.example.com/other", IMAGE) == ()
    assert store.children_of(REPOSITORY, INDEX) == tuple(listed)


def test_odd_names_keep_apart(store):
    """Ids and repositories are other people's text: separators in them must not make two places one."""
    one = evidence(repository="a/b")
    two = evidence(repository="a", subject="b\n" + IMAGE)
    store.put(one, None)
    store.put(two, None)
    assert store.for_digest("a/b", IMAGE) == (one,)
    assert store.for_digest("a", "b\n" + IMAGE) == (two,)
    assert store.for_digest("../..", IMAGE) == ()


PUTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from([IMAGE, OTHER]), st.none() | st.integers(-5, 50)),
    max_size=12,
)


@pytest.mark.parametrize("make", STORES, ids=lambda store: store.__name__)
def test_order_and_repetition_make_no_difference(make, tmp_path_factory, registry):
    @given(PUTS, st.randoms(use_true_random=False))
    @settings(max_examples=25)
    def same(puts, random):
        shuffled = [*puts, *puts[:3]]
        random.shuffle(shuffled)
        seen = []
        for order in (puts, shuffled):
            for opened in make(tmp_path_factory.mktemp("store"), registry):
                for payload, signature, subject, time in order:
                    opened.put(evidence(f"{payload}".encode(), f"{signature}", subject), time)
                everything = [found for subject in (IMAGE, OTHER) for found in opened.for_digest(REPOSITORY, subject)]
                seen.append((everything, opened.first_seen(found.id for found in everything)))
        assert seen[0] == seen[1]

    same()


# ------------------------------------------------------------------------------------------------- SQLite and files


def test_sqlite_writes_belong_to_the_callers_transaction(tmp_path):
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        create_evidence_tables(connection)
        store = SqliteEvidenceStore(connection)
        store.put(evidence(), 1)
        store.link(REPOSITORY, [IndexChild(INDEX, IMAGE)])
        connection.rollback()
        assert store.get(evidence().id) is None
        assert store.indexes_of(REPOSITORY, IMAGE) == ()
        with connection:
            store.put(evidence(), 1)
        connection.rollback()
        assert store.get(evidence().id) == evidence()


def test_tampered_bytes_are_refused_by_sqlite(tmp_path):
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        create_evidence_tables(connection)
        store = SqliteEvidenceStore(connection)
        store.put(evidence(), 1)
        for tamper in ("payload = x'00'", "annotations = '{}'", "annotations = x'ff'", "annotations = '[]'"):
            connection.execute("SAVEPOINT tamper")
            connection.execute(f"UPDATE evidence SET {tamper}")
            with pytest.raises(PlaceRefused) as refused:
                store.for_digest(REPOSITORY, IMAGE)
            assert refused.value.code == "payload-digest-mismatch"
            connection.execute("ROLLBACK TO tamper")
        assert store.get(evidence().id) == evidence()


def test_a_database_that_cannot_be_written_is_unavailable(tmp_path):
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        with pytest.raises(PlaceUnavailable):
            SqliteEvidenceStore(connection).put(evidence(), 1)
        connection.execute("PRAGMA query_only = 1")
        with pytest.raises(PlaceUnavailable):
            create_evidence_tables(connection)


@pytest.mark.parametrize("content", [b"", b"{}", b"other", b"\xff"])
def test_tampered_files_are_refused(tmp_path, content):
    store = DirectoryEvidenceStore(tmp_path)
    store.put(evidence(), 1)
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file() and "first-seen" not in path.parts):
        good = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(PlaceError):
            store.for_digest(REPOSITORY, IMAGE)
        path.write_bytes(good)
    assert store.for_digest(REPOSITORY, IMAGE) == (evidence(),)


def test_files_appear_whole_and_leave_nothing_behind(tmp_path):
    store = DirectoryEvidenceStore(tmp_path)
    for number in range(5):
        store.put(evidence(f"{number}".encode()), number)
    assert list(tmp_path.rglob(".*")) == []
    assert len(store.for_digest(REPOSITORY, IMAGE)) == 5


def test_a_writer_that_stopped_in_the_middle_is_finished_by_the_next(tmp_path):
    whole = DirectoryEvidenceStore(tmp_path / "whole")
    whole.put(evidence(), 1)
    files = [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    for number, missing in enumerate(files):
        folder = tmp_path / f"torn-{number}"
        for path in files:
            if path != missing:
                copy = folder / path.relative_to(tmp_path / "whole")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
        torn = DirectoryEvidenceStore(folder)
        torn.put(evidence(), 1)
        assert torn.for_digest(REPOSITORY, IMAGE) == (evidence(),)
        assert torn.first_seen([evidence().id]) == {evidence().id: 1}


def test_a_directory_that_is_a_file_is_unavailable(tmp_path):
    (tmp_path / "evidence").write_text("no directory")
    with pytest.raises(PlaceUnavailable):
        DirectoryEvidenceStore(tmp_path / "evidence").put(evidence(), 1)


def test_files_are_not_for_everybody(tmp_path):
    store = DirectoryEvidenceStore(tmp_path)
    store.put(evidence(), 1)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
