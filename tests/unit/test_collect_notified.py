"""What registries say was pushed: the forms of distribution, Harbor and Quay, garbage, and what is asked again."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.collectors.notified import Changed, KnownImage, NotificationError, read_notification, requests

HEX = "ab" * 32
DIGEST = f"sha256:{HEX}"
OTHER = "sha256:" + "cd" * 32
INDEX = "sha256:" + "ef" * 32

DISTRIBUTION = {
    "events": [
        {
            "id": "asdf-asdf-asdf-asdf-0", "timestamp": "2006-01-02T15:04:05Z", "action": "push",
            "target": {
                "mediaType": "application/vnd.docker.distribution.manifest.v1+json", "length": 1, "digest": DIGEST,
                "repository": "library/test", "url": "https://example.com/v2/library/test/manifests/latest",
                "tag": "latest",
            },
            "request": {"id": "asdfasdf", "addr": "client.local", "host": "registrycluster.local", "method": "PUT"},
            "actor": {"name": "test-actor"}, "source": {"addr": "hostname.local:port"},
        },
        {"action": "pull", "target": {"repository": "library/test", "digest": OTHER}},
        {"action": "push", "target": {"repository": "library/other", "digest": OTHER}},
        {"action": "delete", "target": {"repository": "library/other", "tag": "old"}},
    ]
}  # fmt: skip
HARBOR_DATA = {
    "resources": [{"digest": DIGEST, "tag": "v1", "resource_url": "harbor.example/test/alpine:v1"}],
    "repository": {"date_created": 1, "name": "alpine", "namespace": "test", "repo_full_name": "test/alpine",
                   "repo_type": "private"},
}  # fmt: skip
HARBOR = {"type": "PUSH_ARTIFACT", "occur_at": 1586922308, "operator": "admin", "event_data": HARBOR_DATA}
CLOUD_EVENT = {
    "specversion": "1.0", "requestid": "1", "id": "1", "source": "/projects/1/webhook/policies/1",
    "type": "harbor.artifact.pushed", "datacontenttype": "application/json", "time": "2023-04-06T06:55:54Z",
    "data": HARBOR_DATA, "operator": "admin",
}  # fmt: skip
QUAY = {
    "name": "repository", "repository": "mynamespace/repository", "namespace": "mynamespace",
    "docker_url": "quay.io/mynamespace/repository", "homepage": "https://quay.io/repository/mynamespace/repository",
    "updated_tags": ["latest"],
}  # fmt: skip
OLD_QUAY = {**QUAY, "updated_tags": {"latest": "b750fe79269d2ec9a3c593ef05b4332b1d1a02a62b4accb2c21d589ff2f5f2dc"}}


@pytest.mark.parametrize(
    ("document", "changed"),
    [
        (
            DISTRIBUTION,
            [
                Changed("library/test", "latest", DIGEST),
                Changed("library/other", "", OTHER),
                Changed("library/other", "old"),
            ],
        ),
        (HARBOR, [Changed("test/alpine", "v1", DIGEST)]),
        ({**HARBOR, "type": "DELETE_ARTIFACT"}, [Changed("test/alpine", "v1", DIGEST)]),
        ({**HARBOR, "type": "PULL_ARTIFACT"}, []),
        ({**HARBOR, "type": "SCANNING_COMPLETED"}, []),
        (CLOUD_EVENT, [Changed("test/alpine", "v1", DIGEST)]),
        ({**CLOUD_EVENT, "type": "harbor.artifact.pulled"}, []),
        (QUAY, [Changed("mynamespace/repository", "latest")]),
        (OLD_QUAY, [Changed("mynamespace/repository", "latest")]),
        ({"events": []}, []),
    ],
)
def test_every_form_says_which_repository_tag_and_digest(document, changed):
    assert list(read_notification(json.dumps(document).encode())) == changed


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"7", b'"planted"', b"\xff\xfe", b"{}", b'{"planted": 1}', b'{"events": 1}',
        b'{"events": [{"action": "push", "target": "planted"}]}', b'{"event_data": {}, "type": "PUSH_ARTIFACT"}',
        b'{"docker_url": "planted"}', b"[" * 100_000,
        json.dumps({"events": [{"action": "push", "target": {"repository": f"r{n}"}} for n in range(1001)]}).encode(),
    ],
)  # fmt: skip
def test_garbage_is_named_and_not_repeated(body):
    with pytest.raises(NotificationError) as refused:
        read_notification(body)
    assert "planted" not in str(refused.value)


@pytest.mark.parametrize("path", ["", "../x", "a//", "A/b", "a b", "a\nb", "http://x"])
def test_what_is_no_repository_is_passed_over(path):
    document = {"events": [{"action": "push", "target": {"repository": path, "digest": DIGEST}}]}
    assert read_notification(json.dumps(document).encode()) == ()


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(
    lambda value: json.dumps({"events": value}).encode()))  # fmt: skip
def test_any_body_is_read_or_named(body):
    with contextlib.suppress(NotificationError):
        read_notification(body)


# ------------------------------------------------------------------------------------------------- what is asked again

API = KnownImage("registry.example.com/payments/api", DIGEST, ("1.4.2",), (INDEX,))
WEB = KnownImage("registry.example.com/payments/api", OTHER, ("2.0",))
ELSEWHERE = KnownImage("mirror.example/payments/api", DIGEST, ("1.4.2",))
ORDERS = KnownImage("registry.example.com/orders/api", DIGEST, ("1.4.2",))
KNOWN = (API, WEB, ELSEWHERE, ORDERS)


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (Changed("payments/api", "1.4.2"), [API, ELSEWHERE]),
        (Changed("payments/api", "1.4.2", OTHER), [API, WEB, ELSEWHERE]),
        (Changed("payments/api", f"sha256-{HEX}.sig", "sha256:" + "12" * 32), [API, ELSEWHERE]),
        (Changed("payments/api", f"sha256-{HEX}.att"), [API, ELSEWHERE]),
        (Changed("payments/api", f"sha256-{HEX}"), [API, ELSEWHERE]),
        (Changed("payments/api", f"sha256-{'ef' * 32}.sig"), [API]),  # an index that lists it
        (Changed("payments/api", "", DIGEST), [API, ELSEWHERE]),
        (Changed("payments/api", "", "sha256:" + "12" * 32), [API, WEB, ELSEWHERE]),  # a referrer of nobody knows which
        (Changed("payments/api", "3.0", "sha256:" + "12" * 32), []),
        (Changed("payments/api", "sha256-" + "12" * 32 + ".sig"), []),
        (Changed("nobody/knows", "1.4.2"), []),
    ],
)
def test_only_images_that_run_and_that_it_may_concern_are_asked_again(change, asked):
    made = list(requests([change], KNOWN, 5, 7))
    assert [(one.repository, one.digest) for one in made] == [(image.repository, image.digest) for image in asked]
    assert {(one.why, one.time, one.epoch) for one in made} <= {("notified", 5, 7)}


def test_an_image_is_asked_about_once_by_the_tag_that_moved():
    changes = [Changed("payments/api", "1.4.2"), Changed("payments/api", f"sha256-{HEX}.sig"), Changed("payments/api")]
    made = {(one.repository, one.digest): one.reference for one in requests(changes, KNOWN, 5, 7)}
    assert made[API.repository, API.digest] == "registry.example.com/payments/api:1.4.2"
    assert len(made) == 3
