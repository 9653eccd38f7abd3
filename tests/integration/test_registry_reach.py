"""The HTTP client led astray: hostile names, redirects, realms and name servers; budgets, mirrors and their order."""

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.helpers.registry_server import Behaviour, FakeRegistry, Fault, Layout, serving
from verifier.adapters.registry import RegistryOptions, RegistryPlace, Timeouts
from verifier.errors import ImageReferenceError, InputError
from verifier.oci.addresses import Reach
from verifier.oci.pacing import Quota
from verifier.oci.port import Collected
from verifier.reference import parse_reference

pytestmark = pytest.mark.asyncio

REGISTRY = "registry.example.com"
REPOSITORY = f"{REGISTRY}/payments/api"
REFERENCE = parse_reference(f"{REPOSITORY}:1.4.2")
QUICK = Timeouts(connect=1.0, read=0.5, request=1.0, collect=3.0)
DIGEST = "sha256:" + "0" * 64


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
def signed(tmp_path) -> tuple[Path, str]:
    layout = Layout(tmp_path / "layout")
    image = layout.image(REPOSITORY, "1.4.2")
    layout.signatures(REPOSITORY, image, [b"classic one", b"classic two"])
    layout.bundle(REPOSITORY, image, b"bundle")
    layout.close()
    return layout.root, image


@asynccontextmanager
async def place_with(**options):
    async with RegistryPlace(RegistryOptions(timeouts=QUICK, **options), sleep=no_sleep) as place:
        yield place


def errors(collected: Collected) -> dict[str, str]:
    return {place.place: place.code for place in collected.places if place.outcome == "error"}


# --------------------------------------------------------------------------------------------- where an image leads to


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "[::]"],
)
async def test_attack_an_image_name_that_means_this_machine_asks_nobody(signed, host):
    root, _ = signed
    async with serving(root) as registry, place_with(plain_http=frozenset("*")) as place:
        port = registry.origin.rpartition(":")[2]
        try:
            reference = parse_reference(f"{host}:{port}/payments/api@{DIGEST}")
        except ImageReferenceError:
            return  # not even a reference
        collected = await place.collect(reference, DIGEST)
        assert registry.asked == []
    assert set(errors(collected).values()) == {"registry-not-allowed"}, collected.places
    assert not collected.complete


async def test_a_listed_host_is_asked_wherever_it_is(signed):
    root, image = signed
    async with serving(root) as registry:
        reach = Reach((registry.host,))
        async with place_with(plain_http=frozenset("*"), reach=reach) as place:
            reference = parse_reference(f"{registry.host}/payments/api:1.4.2")
            collected = await place.collect(reference, image)
    assert collected.complete
    assert len(collected.evidence) == 3


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "http://[::ffff:169.254.169.254]/latest/",
        "http://2852039166/latest/",
        "http://[fd00:ec2::254]/latest/",
        "http://127.0.0.1:{other}/secret",
        "http://localhost:{other}/secret",
        "http://2130706433:{other}/secret",
        "http://127.1:{other}/secret",
        "http://[::ffff:127.0.0.1]:{other}/secret",
    ],
)
@pytest.mark.parametrize("kind", ["redirect", "realm"])
async def test_attack_redirects_and_realms_to_addresses_inside_are_not_followed(signed, target, kind):
    """The registry itself may be asked; what it points to is held against the same list."""
    root, image = signed
    async with serving(root) as inside, serving(root) as registry:
        url = target.format(other=inside.origin.rpartition(":")[2])
        if kind == "redirect":
            registry.behaviour.faults = [Fault(r"\.sig$", "redirect", headers={"Location": url})]
        else:
            registry.behaviour.auth, registry.behaviour.realm = "bearer", url
        async with place_with(mirrors={REGISTRY: registry.origin}) as place:
            collected = await place.collect(REFERENCE, image)
        assert inside.asked == []
    assert set(errors(collected).values()) == {"registry-not-allowed"}


async def test_attack_a_name_that_changes_its_address_between_look_and_connection(signed, monkeypatch):
    """DNS rebinding: what is looked at is what is connected to, in one step."""
    _root, image = signed
    answers = ["93.184.216.34", "127.0.0.1", "169.254.169.254"]
    connected: list[object] = []

    async def resolve(self, host, port=0, family=0):
        told = answers.pop(0) if len(answers) > 1 else answers[0]
        return [{"hostname": host, "host": told, "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def connect(*args, addr_infos, **more):
        connected.extend(info[4][0] for info in addr_infos)
        raise ConnectionRefusedError

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)
    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", connect)
    async with place_with(plain_http=frozenset("*")) as place:
        await place.collect(REFERENCE, image)
        place._client._session.connector.clear_dns_cache()  # as after its ten seconds
        await place.collect(REFERENCE, image)
    assert set(connected) == {"93.184.216.34"}


async def test_attack_one_private_address_among_public_ones_is_enough_to_be_refused(signed, monkeypatch):
    _root, image = signed

    async def resolve(self, host, port=0, family=0):
        both = ("93.184.216.34", "10.0.0.1")
        return [{"hostname": host, "host": one, "port": port, "family": 2, "proto": 0, "flags": 0} for one in both]

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)
    async with place_with(plain_http=frozenset("*")) as place:
        collected = await place.collect(REFERENCE, image)
    assert set(errors(collected).values()) == {"registry-not-allowed"}


# -------------------------------------------------------------------------------------------------- budgets and mirrors


async def test_a_budget_is_never_exceeded_and_what_is_left_is_looked_at_for_nothing(signed):
    root, image = signed
    behaviour = Behaviour(budget=100, digest_header=True)
    async with serving(root, behaviour) as registry:
        budgets = {registry.host: Quota(4, 3600)}
        async with place_with(mirrors={REGISTRY: registry.origin}, budgets=budgets) as place:
            first = await place.collect(REFERENCE, image)
            pulls = registry.pulls
            again = await place.collect(REFERENCE, image)
            await asyncio.gather(*(place.collect(REFERENCE, image) for _ in range(5)))
        assert registry.pulls == pulls <= 4
    assert first.complete
    assert again.complete
    assert {evidence.id for evidence in again.evidence} == {evidence.id for evidence in first.evidence}


async def test_a_spent_budget_says_so_and_asks_to_wait(signed):
    root, image = signed
    async with serving(root, Behaviour(budget=100, digest_header=True)) as registry:
        budgets = {registry.host: Quota(2, 3600)}
        async with place_with(mirrors={REGISTRY: registry.origin}, budgets=budgets) as place:
            collected = await place.collect(REFERENCE, image)
            asked = len(registry.asked)
            await place.collect(REFERENCE, image)
            assert len(registry.asked) == asked, "left alone meanwhile"
        assert registry.pulls == 2
    assert "registry-rate-limited" in errors(collected).values()
    assert collected.retry_after is not None
    assert not collected.complete


async def test_the_last_tenth_of_what_a_registry_grants_is_left_to_the_nodes(signed):
    root, image = signed
    async with serving(root, Behaviour(budget=20, digest_header=True)) as registry:
        registry.pulls = 17  # by the nodes
        async with place_with(mirrors={REGISTRY: registry.origin}, budgets={registry.host: Quota(50, 3600)}) as place:
            collected = await place.collect(REFERENCE, image)
        assert registry.pulls == 18
    assert "registry-rate-limited" in errors(collected).values()


async def test_a_new_meaning_of_a_tag_is_read_though_the_old_one_is_remembered(signed, tmp_path):
    root, image = signed
    async with serving(root, Behaviour(budget=100, digest_header=True)) as registry:
        options = {"mirrors": {REGISTRY: registry.origin}, "budgets": {registry.host: Quota(50, 3600)}}
        async with place_with(**options) as place:
            assert await place.resolve(REFERENCE) == image
            assert await place.resolve(REFERENCE) == image
            assert registry.pulls == 1
            layout = Layout(tmp_path / "other")
            moved = layout.image(REPOSITORY, "1.4.2", seed="another build")
            layout.close()
            registry.root = layout.root
            assert await place.resolve(REFERENCE) == moved


async def test_mirrors_are_tried_in_order_and_the_evidence_is_the_registrys(signed, tmp_path):
    root, image = signed
    empty = Layout(tmp_path / "empty")
    async with serving(empty.root) as first, serving(root) as second:
        first.behaviour.faults = [Fault("/", "status", 404)]
        async with place_with(mirrors={REGISTRY: f"{first.origin} {second.origin}"}) as place:
            collected = await place.collect(REFERENCE, image)
    assert collected.complete
    assert {evidence.repository for evidence in collected.evidence} == {REPOSITORY}
    assert len(collected.evidence) == 3


async def test_a_mirror_that_is_down_takes_nothing_but_absence(signed, tmp_path):
    root, image = signed
    async with serving(root) as down:
        pass
    async with serving(root) as second, place_with(mirrors={REGISTRY: f"{down.origin} {second.origin}"}) as place:
        collected = await place.collect(REFERENCE, image)
    assert len(collected.evidence) == 3
    assert errors(collected) == {"referrers-api": "registry-unavailable", "att-tag": "registry-unavailable"}


async def test_tags_and_lists_are_asked_of_the_registry_itself_and_bytes_of_the_mirror(signed):
    root, image = signed
    async with serving(root) as mirror, serving(root) as registry:
        name = registry.host
        options = {
            "plain_http": frozenset({name}),
            "reach": Reach((name,)),
            "mirrors": {name: f"{mirror.origin} itself"},
        }
        async with place_with(**options) as place:
            collected = await place.collect(parse_reference(f"{name}/payments/api:1.4.2"), image)
        assert collected.complete
        assert len(collected.evidence) == 3
        assert {path.split("/")[-2] for path in mirror.paths()} == {"blobs", "manifests"}
        assert all("sha256:" in path for path in mirror.paths())
        assert not [path for path in registry.paths() if "/blobs/" in path]


@pytest.mark.parametrize(
    "mirrors", ["", "ftp://a.example", "http://u:planted@a.example", "a.example", "http://a itsel"]
)
async def test_a_mirror_that_is_no_origin_is_refused_without_a_word_of_it(mirrors):
    with pytest.raises(InputError) as refused:
        RegistryPlace(RegistryOptions(mirrors={REGISTRY: mirrors}))
    assert "planted" not in str(refused.value)


async def test_a_rate_holds_for_every_host_by_itself(signed):
    root, image = signed
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with serving(root) as registry:
        options = RegistryOptions(mirrors={REGISTRY: registry.origin}, timeouts=QUICK, per_second=2)
        async with RegistryPlace(options, sleep=sleep) as place:
            await place.collect(REFERENCE, image)
        asked = len(registry.asked)
    assert len(waits) >= asked - 4
    assert waits == sorted(waits)


async def test_a_wait_given_as_a_date_is_measured_by_the_answers_own_clock(signed):
    root, image = signed
    headers = {"Retry-After": "Wed, 21 Oct 2015 07:28:40 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    behaviour = Behaviour(faults=[Fault("referrers", "status", 429, headers)])
    async with serving(root, behaviour) as registry, place_with(mirrors={REGISTRY: registry.origin}) as place:
        collected = await place.collect(REFERENCE, image)
    assert collected.retry_after == 40_000_000


# ---------------------------------------------------------------------------------------------------------- credentials


def config(folder: Path, **auths: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": auths}))
    return path


async def asked_with(registry: FakeRegistry, place: RegistryPlace, image: str) -> set[str]:
    await place.collect(REFERENCE, image)
    return {asked.authorization for asked in registry.asked}


async def test_a_credential_of_another_path_stays_where_it_is(signed, tmp_path):
    root, image = signed
    async with serving(root, Behaviour(auth="basic")) as registry:
        own = {"auth": "dTpwbGFudGVkLXNlY3JldA=="}  # u:planted-secret
        path = config(tmp_path, **{f"{registry.host}/payments-internal": own, f"{registry.host}/orders": own})
        async with place_with(mirrors={REGISTRY: registry.origin}, docker_config=path) as place:
            assert await asked_with(registry, place, image) == {""}


async def test_a_credential_of_the_registry_is_not_shown_to_its_mirror(signed, tmp_path):
    root, image = signed
    async with serving(root, Behaviour(auth="basic")) as mirror:
        path = config(tmp_path, **{REGISTRY: {"auth": "dTpwbGFudGVkLXNlY3JldA=="}})
        async with place_with(mirrors={REGISTRY: mirror.origin}, docker_config=path) as place:
            assert await asked_with(mirror, place, image) == {""}


@pytest.mark.parametrize(
    "written",
    [
        {"credHelpers": {"HOST": "ecr-login"}},
        {"credsStore": "desktop"},
        {"auths": {"HOST": {"auth": "dTo=", "identitytoken": "planted-token"}}},
    ],
)
async def test_what_of_a_docker_configuration_is_not_used_is_said(signed, tmp_path, written):
    root, image = signed
    async with serving(root, Behaviour(auth="basic")) as registry:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(written).replace("HOST", registry.host))
        async with place_with(mirrors={REGISTRY: registry.origin}, docker_config=path) as place:
            collected = await place.collect(REFERENCE, image)
        assert {asked.authorization for asked in registry.asked} == {""}
    told = {place.detail for place in collected.places}
    assert any("which revet does not use: write user and password into `auths`" in text for text in told)
    assert "planted" not in repr(collected)
