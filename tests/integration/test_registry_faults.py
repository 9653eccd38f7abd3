"""The HTTP registry against a server that misbehaves: faults, logins, redirects, limits, and planted secrets."""

import asyncio
import datetime as dt
import ipaddress
import json
import logging
import ssl
import time
from base64 import b64encode
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.helpers.registry_server import Behaviour, FakeRegistry, Fault, Layout, serving
from verifier.adapters.registry import RegistryOptions, RegistryPlace, Timeouts
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable
from verifier.oci.addresses import Reach
from verifier.oci.limits import Limits
from verifier.oci.port import Collected
from verifier.reference import parse_reference

pytestmark = pytest.mark.asyncio

REGISTRY = "registry.example.com"
REPOSITORY = f"{REGISTRY}/payments/api"
REFERENCE = parse_reference(f"{REPOSITORY}:1.4.2")
QUICK = Timeouts(connect=1.0, read=0.3, request=1.0, collect=3.0)


@pytest.fixture
def signed(tmp_path) -> tuple[Path, str]:
    """A layout with one image, signed in both generations."""
    layout = Layout(tmp_path / "layout")
    image = layout.image(REPOSITORY, "1.4.2")
    layout.signatures(REPOSITORY, image, [b"classic one", b"classic two"])
    layout.bundle(REPOSITORY, image, b"bundle")
    layout.close()
    return layout.root, image


class Slept:
    """Stands for asyncio.sleep between tries, and notes how long it would have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@asynccontextmanager
async def place_over(registry: FakeRegistry, slept: Slept | None = None, **options):
    made = RegistryOptions(mirrors={REGISTRY: registry.origin}, timeouts=QUICK, **options)
    async with RegistryPlace(made, sleep=slept or Slept()) as place:
        yield place


def errors(collected: Collected) -> dict[str, str]:
    return {place.place: place.code for place in collected.places if place.outcome == "error"}


def payloads(collected: Collected) -> list[bytes]:
    return sorted(evidence.payload for evidence in collected.evidence)


def docker_config(folder: Path, host: str, behaviour: Behaviour) -> Path:
    auth = b64encode(f"{behaviour.user}:{behaviour.password}".encode()).decode()
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return path


# ----------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(Fault(r"\.sig$", "status", 401), "registry-unauthorized", id="401 without a challenge"),
        pytest.param(Fault(r"\.sig$", "status", 403), "registry-unauthorized", id="403"),
        pytest.param(Fault(r"\.sig$", "status", 429), "registry-rate-limited", id="429"),
        pytest.param(Fault(r"\.sig$", "status", 500), "registry-unavailable", id="500"),
        pytest.param(Fault(r"\.sig$", "slow", seconds=5), "registry-unavailable", id="slow"),
        pytest.param(Fault(r"\.sig$", "cut"), "registry-unavailable", id="connection cut in the body"),
        pytest.param(
            Fault(r"\.sig$", "status", 200, body=b"<html>login</html>"), "registry-protocol", id="a login page"
        ),
        pytest.param(Fault(r"\.sig$", "huge"), "limit-exceeded", id="a body without end"),
        pytest.param(Fault(r"\.sig$", "status", 418), "registry-protocol", id="a status that means nothing here"),
        pytest.param(
            Fault(r"\.sig$", "redirect", headers={"Location": "file:///etc/passwd"}),
            "registry-protocol",
            id="to a file",
        ),
        pytest.param(
            Fault(r"\.sig$", "redirect", headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
            "registry-not-allowed",
            id="to the metadata service",
        ),
    ],
)
async def test_a_place_that_fails_is_told_with_its_reason_and_the_others_count(signed, fault, code):
    root, image = signed
    async with serving(root, Behaviour(faults=[fault])) as registry, place_over(registry) as place:
        collected = await place.collect(REFERENCE, image)
    assert errors(collected) == {"sig-tag": code}
    assert payloads(collected) == [b"bundle"]
    assert not collected.complete


async def test_bytes_that_are_not_the_digests_are_a_breach_of_protocol(signed):
    root, image = signed
    faults = [Fault(r"/blobs/", "bytes", times=1)]
    async with serving(root, Behaviour(faults=faults)) as registry, place_over(registry) as place:
        collected = await place.collect(REFERENCE, image)
    assert len(collected.evidence) == 2
    assert errors(collected) == {"referrers-tag": "registry-protocol"}


async def test_a_referrers_listing_is_read_whatever_its_header_calls_it(signed):
    """go-containerregistry's own server sends none, and what is sent then is a guess of the HTTP library."""
    root, image = signed
    behaviour = Behaviour(referrers_api=True, referrers_type="text/plain; charset=utf-8")
    async with serving(root, behaviour) as registry, place_over(registry) as place:
        collected = await place.collect(REFERENCE, image)
    assert collected.complete
    assert {evidence.place for evidence in collected.evidence} == {"referrers-api", "sig-tag"}


async def test_a_page_for_people_in_place_of_the_listing_is_no_absence(signed):
    root, image = signed
    faults = [Fault("/referrers/", "status", 200, {"Content-Type": "text/html"}, b"<html>welcome</html>")]
    async with serving(root, Behaviour(faults=faults)) as registry, place_over(registry) as place:
        collected = await place.collect(REFERENCE, image)
    assert errors(collected) == {"referrers-api": "registry-protocol"}
    assert len(collected.evidence) == 3


async def test_an_image_that_is_not_there_is_not_an_unsigned_image(signed):
    root, image = signed
    faults = [Fault(image, "status", 404)]
    async with serving(root, Behaviour(faults=faults)) as registry, place_over(registry) as place:
        collected = await place.collect(parse_reference(REPOSITORY + ":none"), image)
    assert errors(collected) == {"manifest": "registry-not-found"}


async def test_a_registry_that_is_not_there_is_unavailable_and_said_once_per_place(signed):
    root, image = signed
    async with serving(root) as registry:
        pass
    slept = Slept()
    async with place_over(registry, slept) as place:
        collected = await place.collect(REFERENCE, image)
        with pytest.raises(PlaceUnavailable) as unavailable:
            await place.resolve(REFERENCE)
    assert set(errors(collected).values()) == {"registry-unavailable"}
    assert not collected.evidence
    assert slept.seconds[:2] == [0.2, 0.8]
    assert unavailable.value.code == "registry-unavailable"


async def test_a_short_fault_is_ridden_out(signed):
    root, image = signed
    slept = Slept()
    faults = [Fault(r"/manifests/", "status", 503, times=2), Fault(r"/blobs/", "cut", times=1)]
    async with serving(root, Behaviour(faults=faults)) as registry, place_over(registry, slept) as place:
        collected = await place.collect(REFERENCE, image)
    assert collected.complete
    assert len(collected.evidence) == 3
    assert slept.seconds == [0.2, 0.8, 0.2]


async def test_a_registry_that_asks_to_wait_is_left_alone(signed):
    root, image = signed
    faults = [Fault(r"referrers", "status", 429, {"Retry-After": "40"})]
    async with serving(root, Behaviour(faults=faults)) as registry, place_over(registry) as place:
        first = await place.collect(REFERENCE, image)
        asked = len(registry.asked)
        second = await place.collect(REFERENCE, image)
        with pytest.raises(PlaceUnavailable) as limited:
            await place.resolve(REFERENCE)
        assert len(registry.asked) == asked, "nothing was asked in the meantime"
    assert set(errors(second).values()) == {"registry-rate-limited"}
    assert first.retry_after == 40_000_000
    assert limited.value.retry_after_us is not None
    assert 30_000_000 < limited.value.retry_after_us <= 40_000_000


async def test_a_round_ends_in_time_with_what_it_has(signed):
    root, image = signed
    behaviour = Behaviour(faults=[Fault(r"\.(sig|att)$", "slow", seconds=5)])
    options = RegistryOptions(timeouts=Timeouts(read=4.0, request=4.0, collect=0.5))
    async with serving(root, behaviour) as registry:
        options = RegistryOptions(mirrors={REGISTRY: registry.origin}, timeouts=options.timeouts)
        async with RegistryPlace(options) as place:
            started = time.monotonic()
            collected = await place.collect(REFERENCE, image)
    assert time.monotonic() - started < 2
    assert payloads(collected) == [b"bundle"]
    assert errors(collected) == {"sig-tag": "registry-unavailable", "att-tag": "registry-unavailable"}


async def test_no_more_is_read_than_the_limit(signed):
    root, image = signed
    limits = Limits(simple_signing=5)
    async with serving(root) as registry, place_over(registry, limits=limits) as place:
        collected = await place.collect(REFERENCE, image)
        assert not [p for p in registry.paths() if "/blobs/" in p and image in p]
    assert errors(collected) == {"sig-tag": "limit-exceeded"}
    assert payloads(collected) == [b"bundle"]


async def test_only_so_many_requests_at_a_time_go_to_one_host(signed):
    root, image = signed
    running, most = 0, 0

    async with serving(root) as registry, place_over(registry, per_host=3) as place:
        answer = registry._answer

        async def counted(request):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.005)
            running -= 1
            return answer(request)

        registry.handle = counted  # type: ignore[method-assign]  # the server counts; the client is under test
        registry.behaviour.faults.clear()
        await asyncio.gather(*(place.collect(REFERENCE, image) for _ in range(12)))
    assert most <= 3


# --------------------------------------------------------------------------------------------------- authentication


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_credentials_open_a_private_registry(signed, tmp_path, auth):
    root, image = signed
    behaviour = Behaviour(auth=auth)
    async with serving(root, behaviour) as registry:
        config = docker_config(tmp_path, registry.host, behaviour)
        async with place_over(registry, docker_config=config) as place:
            collected = await place.collect(REFERENCE, image)
    assert collected.complete
    assert len(collected.evidence) == 3
    assert not registry.asked[0].authorization, "nothing is sent before it is asked for"
    assert registry.paths().count("/token") == (1 if auth == "bearer" else 0)


async def test_an_anonymous_token_opens_a_public_repository(signed):
    root, image = signed
    behaviour = Behaviour(auth="bearer", anonymous_token=True)
    async with serving(root, behaviour) as registry, place_over(registry) as place:
        assert (await place.collect(REFERENCE, image)).complete


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_without_credentials_a_private_registry_is_unauthorized(signed, auth):
    root, image = signed
    async with serving(root, Behaviour(auth=auth)) as registry, place_over(registry) as place:
        collected = await place.collect(REFERENCE, image)
        with pytest.raises(PlaceRefused) as refused:
            await place.resolve(REFERENCE)
    assert set(errors(collected).values()) == {"registry-unauthorized"}
    assert refused.value.code == "registry-unauthorized"


async def test_credentials_and_tokens_never_reach_another_host(signed, tmp_path):
    root, image = signed
    behaviour = Behaviour(auth="bearer")
    async with serving(root) as blobs, serving(root, behaviour) as registry:
        config = docker_config(tmp_path, registry.host, behaviour)
        elsewhere = blobs.origin.replace("127.0.0.1", "localhost")
        behaviour.faults.append(Fault(r"\.sig$", "redirect", headers={"Location": f"{elsewhere}/x?sig=planted-link"}))
        blobs.behaviour.auth = "bearer"
        async with place_over(registry, docker_config=config, reach=Reach(("localhost",))) as place:
            collected = await place.collect(REFERENCE, image)
    assert blobs.paths() == ["/x"]
    assert [asked.authorization for asked in blobs.asked] == [""]
    assert errors(collected) == {"sig-tag": "registry-unauthorized"}


async def test_blobs_served_from_another_host_are_read(signed):
    root, image = signed
    async with serving(root) as store, serving(root) as registry:
        for path in (root / "blobs" / "sha256").iterdir():
            url = f"{store.origin}/v2/payments/api/blobs/sha256:{path.name}"
            registry.behaviour.faults.append(Fault(f"/blobs/sha256:{path.name}", "redirect", headers={"Location": url}))
        async with place_over(registry, reach=Reach((store.host,))) as place:
            collected = await place.collect(REFERENCE, image)
    assert collected.complete
    assert len(collected.evidence) == 3


async def test_planted_secrets_are_nowhere_but_in_the_header(signed, tmp_path, caplog):
    """Passwords, tokens and signed links, whatever goes wrong, in no answer, no error, no log and no representation."""
    root, image = signed
    behaviour = Behaviour(auth="bearer")
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    async with serving(root, behaviour) as registry:
        config = docker_config(tmp_path, registry.host, behaviour)
        async with place_over(registry, docker_config=config) as place:
            for kind, status in [("none", 0), ("status", 500), ("cut", 0), ("status", 403), ("slow", 0), ("huge", 0)]:
                link = {"Location": f"{registry.origin}/v2/x?signature=planted-link"}
                behaviour.faults = [Fault("/v2/x$", kind, status), Fault(r"\.sig$", "redirect", headers=link)]
                told.append(repr(await place.collect(REFERENCE, image)))
                told += [repr(place), repr(vars(place)), repr(place._options)]
                told += [repr(vars(place._client)), repr(place._client._login)]
            behaviour.faults = [Fault("/manifests/", "status", 403)]
            with pytest.raises(PlaceRefused) as refused:
                await place.resolve(REFERENCE)
            told += [repr(refused.value), str(refused.value.__cause__)]
    assert any(asked.authorization == f"Bearer {behaviour.token}" for asked in registry.asked)
    everything = "\n".join(
        [*told, *(record.getMessage() for record in caplog.records if record.name != "aiohttp.access")]
    )
    for secret in (
        behaviour.password,
        behaviour.token,
        "planted-link",
        b64encode(behaviour.password.encode()).decode()[:12],
    ):
        assert secret not in everything


async def test_a_realm_on_a_forbidden_address_is_not_asked(signed):
    root, image = signed
    behaviour = Behaviour(auth="bearer", realm="http://169.254.169.254/token")
    async with serving(root, behaviour) as registry, place_over(registry) as place:
        collected = await place.collect(REFERENCE, image)
    assert set(errors(collected).values()) == {"registry-not-allowed"}
    assert any("not asked" in place.detail for place in collected.places)


# -------------------------------------------------------------------------------------------------- whom not to ask


async def test_a_name_that_resolves_to_the_metadata_service_is_not_asked(signed, monkeypatch):
    root, image = signed
    del root

    async def resolve(self, host, port=0, family=0):
        return [{"hostname": host, "host": "169.254.169.254", "port": port, "family": family, "proto": 0, "flags": 0}]

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)
    options = RegistryOptions(plain_http=frozenset({"*"}), timeouts=QUICK)
    async with RegistryPlace(options, sleep=Slept()) as place:
        collected = await place.collect(REFERENCE, image)
    assert set(errors(collected).values()) == {"registry-not-allowed"}
    assert all("not asked" in p.detail for p in collected.places if p.outcome == "error")


async def test_a_registry_off_the_list_is_not_asked(signed):
    root, image = signed
    async with serving(root) as registry, place_over(registry, reach=Reach(("other.example",), others=False)) as place:
        collected = await place.collect(REFERENCE, image)
        assert registry.asked == []
    assert set(errors(collected).values()) == {"registry-not-allowed"}


# ---------------------------------------------------------------------------------------------------- configuration


async def test_tls_with_a_certificate_nobody_vouches_for_is_refused_for_good(signed, tmp_path, tls_files):
    root, image = signed
    certificate, key = tls_files
    async with tls_server(root, certificate, key) as origin:
        options = RegistryOptions(mirrors={REGISTRY: origin}, timeouts=QUICK)
        async with RegistryPlace(options, sleep=Slept()) as place:
            with pytest.raises(PlaceRefused) as refused:
                await place.resolve(REFERENCE)
        assert "certificate is not trusted" in str(refused.value)
        options = RegistryOptions(mirrors={REGISTRY: origin}, timeouts=QUICK, ca_file=certificate)
        async with RegistryPlace(options, sleep=Slept()) as place:
            assert await place.resolve(REFERENCE) == image


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


@asynccontextmanager
async def tls_server(root: Path, certificate: Path, key: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with serving(root, tls=context) as registry:
        yield registry.origin


@pytest.mark.parametrize("origin", ["registry.example.com", "http://user:planted@a.example", "ftp://a.example"])
async def test_a_mirror_that_is_no_origin_is_refused(origin):
    with pytest.raises(InputError) as refused:
        RegistryPlace(RegistryOptions(mirrors={REGISTRY: origin}))
    assert "planted" not in str(refused.value)


async def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(InputError):
        RegistryPlace(RegistryOptions(ca_file=tmp_path / "ca.pem"))
    with pytest.raises(PlaceRefused):
        RegistryPlace(RegistryOptions(docker_config=tmp_path / "none.json"))
