"""The evidence store in a registry: other kinds of registries, accounts, faults, damage; what it leaves behind."""

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from streams.places import open_store
from tests.contract.test_evidence_store_contract import IMAGE, INDEX, OTHER, REPOSITORY, evidence
from tests.helpers.registry_proxy import LISTINGS, PASSWORD, READS, USER, WRITES, Answer, RegistryProxy
from tests.helpers.registry_server import registry_process
from tests.helpers.registry_server import sha256 as sha_of
from verifier.adapters import oci_store
from verifier.adapters.oci_store import OciEvidenceStore
from verifier.adapters.registry import RegistryOptions
from verifier.errors import InputError, PlaceError, PlaceRefused, PlaceUnavailable
from verifier.oci.addresses import Reach
from verifier.oci.manifests import IndexChild

pytestmark = pytest.mark.needs("registry")

CHILDREN = [IndexChild(INDEX, IMAGE, "linux/amd64"), IndexChild(INDEX, OTHER, "linux/arm64")]


@pytest.fixture(scope="module")
def host(require) -> Iterator[str]:
    with registry_process(require("registry")) as running:
        yield running


@pytest.fixture
def fresh(require) -> Iterator[str]:
    """A registry of the test's own."""
    with registry_process(require("registry")) as running:
        yield running


def plain(config: Path | None = None) -> RegistryOptions:
    return RegistryOptions(plain_http=frozenset("*"), docker_config=config, reach=Reach(("127.0.0.1",)))


def docker_config(folder: Path, host: str, password: str = PASSWORD) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": {host: {"username": USER, "password": password}}}))
    return path


def fill(store: OciEvidenceStore) -> None:
    for number in range(7):
        store.put(evidence(f"{number}".encode()), 100 + number)
        store.put(evidence(f"{number}".encode()), 200)
        store.put(evidence(f"{number}".encode(), subject=OTHER), 50)
    store.link(REPOSITORY, CHILDREN)


def content(store: OciEvidenceStore) -> tuple[object, ...]:
    here, there = store.for_digest(REPOSITORY, IMAGE), store.for_digest(REPOSITORY, OTHER)
    dates = store.first_seen(piece.id for piece in here)
    known = store.indexes_of(REPOSITORY, IMAGE), store.children_of(REPOSITORY, INDEX)
    return here, there, dates, known, store.get(here[0].id)


# ------------------------------------------------------------------------------------------------- kinds of registries


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.__name__)
def test_however_a_registry_lists_its_tags_the_answer_is_the_same(fresh, listing):
    with (
        RegistryProxy(fresh) as proxy,
        OciEvidenceStore(f"{proxy.host}/revet/evidence", plain()) as store,
        OciEvidenceStore(f"{fresh}/revet/evidence", plain()) as direct,
    ):
        proxy.tags = listing
        fill(store)
        assert content(store) == content(direct)
        assert len(store.for_digest(REPOSITORY, IMAGE)) == 7
        assert set(store.first_seen([evidence(b"3").id]).values()) == {50}
        assert store.children_of(REPOSITORY, INDEX) == tuple(CHILDREN)


def test_a_registry_that_lists_no_part_of_very_many_is_told_off(fresh, monkeypatch):
    monkeypatch.setattr(oci_store, "LISTED", 5)
    with RegistryProxy(fresh) as proxy, OciEvidenceStore(f"{proxy.host}/revet/evidence", plain()) as store:
        proxy.tags = LISTINGS[1]
        with pytest.raises(PlaceRefused, match="lists no part of its tags") as refused:
            fill(store)
        assert refused.value.code == "limit-exceeded"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_it_writes_with_an_account_and_tells_nobody(fresh, tmp_path, auth, caplog):
    caplog.set_level(logging.DEBUG)
    with RegistryProxy(fresh, auth=auth) as proxy:
        config = docker_config(tmp_path, proxy.host)
        with OciEvidenceStore(f"{proxy.host}/revet/evidence", plain(config)) as store:
            assert store.for_digest(REPOSITORY, IMAGE) == ()  # reads first: a token that only reads comes first
            fill(store)
            assert len(content(store)[0]) == 7  # type: ignore[arg-type]  # a tuple of evidence
            told = f"{store!r} {vars(store)!r} {vars(store._client)!r} {store._client._login!r}"
        assert any(given in {f"Bearer {WRITES}", proxy._basic()} for _, _, given in proxy.asked)
    everything = told + "\n".join(record.getMessage() for record in caplog.records)
    for secret in (PASSWORD, READS, WRITES, proxy._basic().removeprefix("Basic ")):
        assert secret not in everything


def test_an_upload_address_on_another_host_gets_the_bytes_and_no_credential(fresh, tmp_path):
    with RegistryProxy(fresh, auth="basic") as proxy, RegistryProxy(fresh) as other:
        # Some registries say a path, others a whole address with a state of theirs in its query.
        proxy.location = lambda told: (
            urlsplit(told)._replace(scheme="http", netloc=other.host).geturl()
            + ("&key=signed" if "?" in told else "?key=signed")
        )
        config = docker_config(tmp_path, proxy.host)
        with OciEvidenceStore(f"{proxy.host}/revet/evidence", plain(config)) as store:
            fill(store)
            assert len(store.for_digest(REPOSITORY, IMAGE)) == 7
        assert other.asked
        assert all(
            (method, given) == ("PUT", "") and "key=signed&digest=sha256" in path for method, path, given in other.asked
        )


@pytest.mark.parametrize("location", ["", "http://[", "ftp://x/y", "http://user@h/x", "\x01"])
def test_an_upload_address_that_is_none_is_refused(fresh, location):
    with RegistryProxy(fresh) as proxy, OciEvidenceStore(f"{proxy.host}/revet/evidence", plain()) as store:
        proxy.location = lambda _: location
        with pytest.raises(PlaceError):
            store.put(evidence(), 1)
        proxy.location = lambda good: good
        assert store.put(evidence(), 1)


# ------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("status", "headers", "error", "code"),
    [
        (401, {}, PlaceRefused, "registry-unauthorized"),
        (403, {}, PlaceRefused, "registry-unauthorized"),
        (429, {"Retry-After": "7"}, PlaceUnavailable, "registry-rate-limited"),
        (503, {}, PlaceUnavailable, "registry-unavailable"),
        (200, {}, PlaceRefused, "registry-protocol"),
        (418, {}, PlaceRefused, "registry-protocol"),
        (302, {"Location": "/elsewhere"}, PlaceRefused, "registry-protocol"),
    ],
)
def test_what_a_registry_refuses_is_told_by_its_name_and_the_next_put_is_whole(fresh, status, headers, error, code):
    with RegistryProxy(fresh) as proxy, OciEvidenceStore(f"{proxy.host}/revet/evidence", plain()) as store:
        store.check()
        for method in ("POST", "PUT"):
            proxy.fault = lambda asked, path, method=method: (status, headers, b"") if asked == method else None  # type: ignore[misc]  # bound here
            if status == 200 and method == "PUT":
                continue  # is what some registries answer to a manifest
            with pytest.raises(error) as refused:
                store.put(evidence(method.encode()), 1)
            assert refused.value.code == code
            assert f"{proxy.host}/revet/evidence/" in str(refused.value)
            if code == "registry-rate-limited":
                assert isinstance(refused.value, PlaceUnavailable)
                assert refused.value.retry_after_us
                return  # it is left alone now
            proxy.fault = lambda asked, path: None
            assert store.for_digest(REPOSITORY, IMAGE) == () or method == "PUT"
            assert store.put(evidence(method.encode()), 2)
            assert store.first_seen([evidence(method.encode()).id])


def test_a_short_fault_is_not_noticed(fresh):
    with RegistryProxy(fresh) as proxy, OciEvidenceStore(f"{proxy.host}/revet/evidence", plain()) as store:
        left = {"POST": 1, "PUT": 1, "GET": 1, "HEAD": 1}

        def fault(method: str, path: str):
            left[method] -= 1
            return (502, {}, b"") if left[method] >= 0 else None

        proxy.fault = fault
        assert store.put(evidence(), 1)
        assert store.for_digest(REPOSITORY, IMAGE) == (evidence(),)


def test_a_writer_stopped_after_any_request_is_finished_by_the_next(fresh):
    """Whatever had arrived: nothing is half there, and the same put again makes it whole."""
    for after in range(80):
        stopped = False
        with RegistryProxy(fresh) as proxy:
            repository = f"{proxy.host}/revet/torn-{after}"
            seen = 0

            def fault(method: str, path: str, after: int = after):
                nonlocal seen
                seen += 1
                return (403, {}, b"") if seen > after else None

            with OciEvidenceStore(repository, plain()) as writer:
                proxy.fault = fault
                try:
                    writer.put(evidence(), 7)
                    writer.link(REPOSITORY, CHILDREN)
                except PlaceError:
                    stopped = True
                proxy.fault = lambda method, path: None
                found = writer.for_digest(REPOSITORY, IMAGE)
                assert found in ((), (evidence(),))
            with OciEvidenceStore(repository, plain()) as again:
                assert again.put(evidence(), 9) is (found == ())
                again.link(REPOSITORY, CHILDREN)
                assert again.for_digest(REPOSITORY, IMAGE) == (evidence(),)
                assert again.get(evidence().id) == evidence()
                assert again.first_seen([evidence().id])[evidence().id] in {7, 9}
                if found:
                    assert again.first_seen([evidence().id]) == {evidence().id: 7}
                assert again.indexes_of(REPOSITORY, OTHER) == (INDEX,)
                assert again.children_of(REPOSITORY, INDEX) == tuple(CHILDREN)
        if not stopped:
            break
    assert 12 < after < 79


def test_a_repository_that_was_emptied_is_an_error_and_no_empty_store(fresh):
    """Evidence seen first a year ago would else be seen first today."""
    with RegistryProxy(fresh) as proxy, OciEvidenceStore(f"{proxy.host}/revet/evidence", plain()) as store:
        fill(store)
        answers: list[Answer] = [(404, {}, b""), (200, {}, b'{"tags":[]}'), (200, {}, b'{"tags":null}')]
        for gone in answers:
            proxy.fault = lambda method, path, gone=gone: gone if "/tags/list" in path else None  # type: ignore[misc]  # bound here
            for ask in (store.for_digest, store.indexes_of):
                with pytest.raises(PlaceRefused, match="its mark is gone"):
                    ask(REPOSITORY, IMAGE)
            with pytest.raises(PlaceRefused, match="its mark is gone"):
                store.put(evidence(signature="another"), None)
            with pytest.raises(PlaceRefused, match="its mark is gone"):
                store.first_seen([evidence(b"1").id])


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"\xff", b'{"annotations":{"dev.revet.evidence":"{}"},"layers":[]}', b"[" * 100_000],
    ids=["empty", "object", "list", "binary", "other", "deep"],
)
@pytest.mark.parametrize("what", ["manifests", "blobs"])
def test_what_was_changed_behind_its_back_is_refused(fresh, what, body):
    with RegistryProxy(fresh) as proxy, OciEvidenceStore(f"{proxy.host}/revet/evidence", plain()) as store:
        fill(store)
        headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        proxy.fault = lambda method, path: (200, headers, body) if method == "GET" and f"/{what}/" in path else None
        with pytest.raises(PlaceRefused) as refused:
            store.for_digest(REPOSITORY, IMAGE)
        assert refused.value.code == "payload-digest-mismatch"
        with pytest.raises(PlaceRefused):
            store.children_of(REPOSITORY, INDEX)
        with pytest.raises(PlaceRefused):
            store.get(evidence(b"1").id)


def test_whoever_waits_when_it_is_closed_is_told(fresh):
    with RegistryProxy(fresh) as proxy:
        store = OciEvidenceStore(f"{proxy.host}/revet/evidence", plain())
        fill(store)
        begun, go_on = threading.Event(), threading.Event()

        def fault(method: str, path: str) -> None:
            begun.set()
            go_on.wait(20)

        proxy.fault = fault
        errors: list[Exception] = []

        def wait() -> None:
            try:
                store.for_digest(REPOSITORY, IMAGE)
            except PlaceUnavailable as error:
                errors.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert begun.wait(10)
        store.close()
        waiting.join(10)
        go_on.set()
        assert len(errors) == 1
        with pytest.raises(PlaceUnavailable, match="closed"):
            store.get("sha256:x")


def test_a_call_that_takes_too_long_ends(fresh, monkeypatch):
    monkeypatch.setattr(oci_store, "CALL_SECONDS", 0.3)
    go_on = threading.Event()
    with RegistryProxy(fresh) as proxy, OciEvidenceStore(f"{proxy.host}/revet/evidence", plain()) as store:
        proxy.fault = lambda method, path: (go_on.wait(20), None)[1]
        with pytest.raises(PlaceUnavailable, match=r"not done within 0\.3 s"):
            store.get("sha256:x")
        go_on.set()


def test_annotations_longer_than_a_manifest_are_refused_and_leave_nothing(host):
    with OciEvidenceStore(f"{host}/revet/long", plain()) as store:
        long = evidence(signature="x" * (5 << 20))
        with pytest.raises(PlaceRefused) as refused:
            store.put(long, 1)
        assert refused.value.code == "limit-exceeded"
        assert store.for_digest(REPOSITORY, IMAGE) == ()


def test_a_large_payload_is_uploaded_once(host):
    with RegistryProxy(host) as proxy, OciEvidenceStore(f"{proxy.host}/revet/large", plain()) as store:
        large = bytes(range(256)) * (3 << 12)
        store.put(evidence(large), 1)
        proxy.asked.clear()
        store.put(evidence(large, signature="b3RoZXI="), None)
        assert [path for method, path, _ in proxy.asked if method == "HEAD"]
        assert [piece.payload for piece in store.for_digest(REPOSITORY, IMAGE)] == [large, large]
        assert not [path for method, path, _ in proxy.asked if method == "PUT" and sha_of(large) in unquote(path)]


def test_an_index_of_another_kind_is_refused(host):
    with OciEvidenceStore(f"{host}/revet/index", plain()) as store, pytest.raises(PlaceRefused, match="no SHA-256"):
        store.link(REPOSITORY, [IndexChild("sha512:" + "a" * 128, IMAGE)])


# -------------------------------------------------------------------------------------------------------- from settings


@pytest.mark.parametrize(
    "named", ["", "memory:", "oci:", "oci:registry", "oci:r.example/x:tag", "oci:r.example/X", "sqlite:", "directory:"]
)
def test_a_setting_that_names_no_store_is_told(named):
    with pytest.raises(InputError, match=r"evidence.store"), open_store(named):
        pass


def test_every_store_that_settings_can_name_is_one(tmp_path, host):
    for named in (f"sqlite:{tmp_path}/sub/e.sqlite", f"directory:{tmp_path}/evidence", f"oci:{host}/revet/named"):
        for _ in range(2):
            with open_store(named, plain()) as store:
                store.put(evidence(), 5)
                store.link(REPOSITORY, CHILDREN)
        with open_store(named, plain()) as store:
            assert store.for_digest(REPOSITORY, IMAGE) == (evidence(),)
            assert store.get(evidence().id) == evidence()
            assert store.first_seen([evidence().id]) == {evidence().id: 5}
            assert store.indexes_of(REPOSITORY, IMAGE) == (INDEX,)
            assert store.children_of(REPOSITORY, INDEX) == tuple(CHILDREN)
    assert (tmp_path / "sub" / "e.sqlite").stat().st_mode & 0o077 == 0


def test_a_store_that_cannot_be_used_is_told_by_its_setting(tmp_path, fresh):
    (tmp_path / "file").write_text("no store")
    with RegistryProxy(fresh, auth="basic") as proxy:
        for named in (
            f"sqlite:{tmp_path}/file",
            f"sqlite:{tmp_path}/file/below",
            f"directory:{tmp_path}/file",
            f"oci:{proxy.host}/revet/evidence",
            "oci:127.0.0.1:1/revet/evidence",
        ):
            with pytest.raises(PlaceError, match=r"evidence\.store") as told, open_store(named, plain()):
                pass
            assert named.partition(":")[2].partition("/")[0] in str(told.value)
            config = docker_config(tmp_path, proxy.host, "planted-wrong-password")
            with pytest.raises(PlaceError) as told, open_store(named, plain(config)):
                pass
            assert "planted" not in str(told.value)


def test_an_error_of_whoever_uses_the_store_is_not_made_the_settings(tmp_path):
    with pytest.raises(PlaceUnavailable) as told, open_store(f"sqlite:{tmp_path}/e.sqlite"):
        raise PlaceUnavailable("registry-unavailable", "of the caller")
    assert str(told.value) == "of the caller"
