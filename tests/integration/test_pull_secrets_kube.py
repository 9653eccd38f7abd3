"""Pull secrets of a namespace that was named for it: a real API server with the rights of `deploy/examples`, a real
registry behind HTTP Basic. Used for the host and path that they were issued for, and for nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.collectors.clusters import finder
from streams.collectors.pullsecrets import SECRETS, NamespaceSecrets
from streams.places import opened, source_of
from streams.serving.lending import Lender, lending
from streams.serving.process import Process
from streams.settings import EvidenceSettings, Settings
from tests.helpers.process import ROOT
from tests.helpers.registry_proxy import PASSWORD, USER, RegistryProxy
from tests.helpers.registry_server import Layout, push_whole, registry_process
from tests.helpers.watchedcluster import WatchedCluster
from verifier.adapters.registry import RegistryPlace
from verifier.errors import PlaceRefused, PlaceUnavailable
from verifier.oci.auth import CredentialBook
from verifier.oci.port import Collected
from verifier.reference import parse_reference

pytestmark = [pytest.mark.needs("kube", "registry"), pytest.mark.slow, pytest.mark.timeout(240)]

EXAMPLE = list(yaml.safe_load_all((ROOT / "deploy" / "examples" / "pull-secrets.yaml").read_text()))
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/payments"
PLANTED = ("planted-other-secret", PASSWORD, b64encode(f"{USER}:{PASSWORD}".encode()).decode())


def docker_config(**auths: tuple[str, str]) -> str:
    """`.dockerconfigjson`, as kubectl makes it."""
    entries = {
        name: {"username": user, "password": password, "auth": b64encode(f"{user}:{password}".encode()).decode()}
        for name, (user, password) in auths.items()
    }
    return b64encode(json.dumps({"auths": entries}).encode()).decode()


class Shop:
    """A cluster with two namespaces that each have a pull secret, and a private registry."""

    def __init__(self, kube: WatchedCluster, registry: RegistryProxy, digests: dict[str, str]) -> None:
        self.kube, self.registry, self.digests = kube, registry, digests
        for namespace in ("revet", "payments", "other"):
            kube.ask("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        for namespace in ("payments", "other"):
            body = {"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "regcred"}]}
            kube.ask("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body)
        account, role, binding, _ = EXAMPLE
        kube.ask("POST", "/api/v1/namespaces/revet/serviceaccounts", account)
        kube.ask("POST", f"{RBAC}/roles", role)
        kube.ask("POST", f"{RBAC}/rolebindings", binding)
        path = "/api/v1/namespaces/revet/serviceaccounts/revet-fetch/token"
        token = kube.ask("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
        self.config = kube.kubeconfig("fetch", f"--token={token['status']['token']}")
        self.admin = kube.kubeconfig("admin", "--token=admin-token")
        self.put("other", "regcred", docker_config(**{registry.host: ("mallory", PLANTED[0])}))

    def put(self, namespace: str, name: str, data: str, kind: str = "dockerconfigjson") -> None:
        """Make or replace a Secret."""
        body = {"metadata": {"name": name}, "type": f"kubernetes.io/{kind}", "data": {f".{kind}": data}}
        self.delete(namespace, name)
        self.kube.ask("POST", f"/api/v1/namespaces/{namespace}/secrets", body)

    def delete(self, namespace: str, name: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/secrets"
        if any(one["metadata"]["name"] == name for one in self.kube.ask("GET", path)["items"]):
            self.kube.ask("DELETE", f"{path}/{name}")

    def settings(self, *entries: str, **evidence: Any) -> Settings:
        return Settings(
            evidence=EvidenceSettings(
                pull_secrets=entries, plain_http=True, hosts=(self.registry.host,), pull_secrets_seconds=1, **evidence
            )
        )

    def image(self, path: str) -> str:
        return f"{self.registry.host}/{path}:1"


@pytest.fixture(scope="module")
def shop(require, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with registry_process(require("registry")) as behind, RegistryProxy(behind, auth="basic") as proxy:
        layout, digests = Layout(folder / "oci"), {}
        for path in ("payments/api", "other/api"):
            digests[path] = layout.image(f"{proxy.host}/{path}", "1", seed=path)
            layout.signatures(f"{proxy.host}/{path}", digests[path], [b"payload"])
        layout.close()
        push_whole(layout.root, f"http://{behind}")
        with WatchedCluster(require("kube"), folder) as kube:
            yield Shop(kube, proxy, digests)


@pytest.fixture(autouse=True)
def _as_it_was(shop: Shop) -> None:
    shop.put("payments", "regcred", docker_config(**{f"{shop.registry.host}/payments": (USER, PASSWORD)}))
    shop.registry.asked.clear()


def read(shop: Shop, namespace: str = "payments", config: Path | None = None) -> tuple[CredentialBook, tuple[str, ...]]:
    async def look() -> tuple[CredentialBook, tuple[str, ...]]:
        reader = NamespaceSecrets(namespace, finder(config or shop.config, "", "evidence.pull_secrets"))
        try:
            return await reader.read()
        finally:
            await reader.close()

    return asyncio.run(look())


async def collected(shop: Shop, place: Any, path: str) -> Collected:
    found: Collected = await place.collect(parse_reference(shop.image(path)), shop.digests[path])
    return found


def codes(found: Collected) -> set[str]:
    return {place.code for place in found.places if place.outcome == "error"}


def test_a_private_registry_is_read_with_the_namespace_s_secret_below_its_path_only(shop, caplog):
    process = Process("fetch", shop.settings(f"payments={shop.config}"))

    async def fetched() -> tuple[Collected, Collected, Collected]:
        registries: list[RegistryPlace] = []
        async with opened(source_of(process.settings.evidence), registries.append) as place:
            before = await collected(shop, place, "payments/api")
            async with lending(process, registries[0].lend):
                own, foreign = await collected(shop, place, "payments/api"), await collected(shop, place, "other/api")
            return before, own, foreign

    with caplog.at_level(logging.DEBUG):
        before, own, foreign = asyncio.run(fetched())
    assert codes(before) == {"registry-unauthorized"}
    assert (codes(own), len(own.evidence)) == (set(), 1)
    assert codes(foreign) == {"registry-unauthorized"}
    shown = {(path.split("/")[2], bool(header)) for _, path, header in shop.registry.asked if "/v2/" in path}
    assert ("other", True) not in shown, "issued for payments"
    assert ("payments", True) in shown
    told = caplog.text + json.dumps(process.health.report(), default=str) + repr(process.settings) + repr(own)
    assert [word for word in PLANTED if word in told] == []


def test_another_namespace_is_not_read_whoever_asks(shop):
    """Once because it was not named, and once because it was, and nobody gave the right."""
    book, problems = read(shop)
    assert (repr(book), problems) == (f"CredentialBook(['{shop.registry.host}/payments'])", ())
    assert book.find(shop.registry.host, "other/api") is None
    assert book.find("registry.example.com", "payments/api") is None
    with pytest.raises(PlaceRefused, match="HTTP 403"):
        read(shop, "other")


def test_secrets_of_pods_count_and_those_nobody_names_do_not(shop):
    spec = {"nodeName": "n1", "containers": [{"name": "app", "image": "x"}], "imagePullSecrets": [{"name": "of-a-pod"}]}
    shop.kube.ask("POST", "/api/v1/namespaces/payments/pods", {"metadata": {"name": "p"}, "spec": spec})
    shop.put("payments", "of-a-pod", docker_config(**{"one.example.com": ("u", "p")}))
    shop.put("payments", "of-nobody", docker_config(**{"two.example.com": ("u", PLANTED[0])}))
    try:
        book, problems = read(shop, config=shop.admin)
        assert book.find("one.example.com", "x") is not None
        assert book.find("two.example.com", "x") is None
        assert problems == ()
        book, problems = read(shop)  # the right of the example is for one name
        assert problems == ("of-a-pod: HTTP 403",)
        assert book.find(shop.registry.host, "payments/api") is not None, "the others are used"
    finally:
        shop.kube.delete_in("payments", "pods", "p")


GARBAGE = {
    "no JSON": b64encode(f"{{{PASSWORD}".encode()).decode(),
    "no auths": b64encode(json.dumps({"auths": [PASSWORD]}).encode()).decode(),
    "no base64 inside": b64encode(json.dumps({"auths": {"x": {"auth": f"!{PASSWORD}"}}}).encode()).decode(),
    "a member twice": b64encode(f'{{"auths": {{}}, "auths": {{"x": {{"password": "{PASSWORD}"}}}}}}'.encode()).decode(),
    "deep": b64encode(b'{"auths":' + b"[" * 9000 + b"]" * 9000 + b"}").decode(),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_in_a_secret_is_named_and_nothing_of_it_is_told(shop, name):
    """Kubernetes looks at it, too: what it does not take is put past it."""
    body = {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "regcred", "namespace": "payments", "uid": "0d1e0000-0000-4000-8000-000000000001"},
        "data": {".dockerconfigjson": GARBAGE[name]},
    }  # fmt: skip
    shop.delete("payments", "regcred")
    shop.kube.plant("/registry/secrets/payments/regcred", body)
    book, (problem,) = read(shop)
    assert repr(book) == "CredentialBook([])"
    assert problem.startswith("regcred: ")
    assert PASSWORD not in problem


def test_a_secret_of_another_type_is_left_alone(shop):
    shop.delete("payments", "regcred")
    body = {"metadata": {"name": "regcred"}, "type": "Opaque", "stringData": {".dockerconfigjson": PASSWORD}}
    shop.kube.ask("POST", "/api/v1/namespaces/payments/secrets", body)
    book, (problem,) = read(shop)
    assert (repr(book), "not of a type" in problem) == ("CredentialBook([])", True)


def test_the_older_form_is_read(shop):
    old = json.dumps({shop.registry.host: {"username": USER, "password": PASSWORD}})
    shop.put("payments", "regcred", b64encode(old.encode()).decode(), "dockercfg")
    book, problems = read(shop)
    assert (problems, book.find(shop.registry.host, "any/path") is not None) == ((), True)


def test_what_changes_in_the_cluster_counts_at_the_next_look(shop):
    """A renewed password, a Secret that is deleted, an API server that does not answer, a right that is gone."""
    process = Process("fetch", shop.settings(f"payments={shop.config}"))
    seen: list[CredentialBook] = []
    lender = Lender(process, process.settings.evidence.lenders(), seen.append)

    def shown() -> str | None:
        credential = seen[-1].find(shop.registry.host, "payments/api")
        return None if credential is None or credential.basic is None else credential.basic.reveal()

    async def days() -> None:
        await lender.look()
        first = shown()
        shop.put("payments", "regcred", docker_config(**{shop.registry.host: (USER, "renewed")}))
        await lender.look()
        assert first != shown() == b64encode(f"{USER}:renewed".encode()).decode()
        shop.kube.kill_server()
        try:
            await lender.look()
            assert shown() is not None, "nobody said that it is gone"
        finally:
            shop.kube.start_server()
        shop.delete("payments", "regcred")
        await lender.look()
        assert shown() is None
        shop.put("payments", "regcred", docker_config(**{shop.registry.host: (USER, PASSWORD)}))
        await lender.look()
        assert shown() is not None
        shop.kube.ask("DELETE", f"{RBAC}/rolebindings/revet-pull-secrets")
        try:
            for _ in range(50):
                await lender.look()
                if shown() is None:
                    break
                await asyncio.sleep(0.2)
            assert shown() is None, "the right was taken away"
        finally:
            shop.kube.ask("POST", f"{RBAC}/rolebindings", EXAMPLE[2])
        await lender.close()
        assert repr(seen[-1]) == "CredentialBook([])"

    asyncio.run(days())
    told = json.dumps(process.health.report(), default=str)
    assert PASSWORD not in told


def test_what_was_traded_for_a_credential_goes_with_it(shop):
    """A registry remembers who it knows; revet does not go on as somebody whose credential was taken back."""

    book, _ = read(shop)

    async def one_after_the_other() -> tuple[set[str], set[str]]:
        async with RegistryPlace(source_of(shop.settings().evidence).registry) as place:
            place.lend(book)
            before = codes(await collected(shop, place, "payments/api"))
            place.lend(CredentialBook())
            return before, codes(await collected(shop, place, "payments/api"))

    assert asyncio.run(one_after_the_other()) == (set(), {"registry-unauthorized"})


def test_a_cluster_that_is_not_there_holds_nobody_up(shop, tmp_path):
    gone = tmp_path / "none"
    process = Process("fetch", shop.settings(f"shop={gone}", f"payments={shop.config}"))
    seen: list[CredentialBook] = []

    async def look() -> None:
        async with lending(process, seen.append):
            assert seen[-1].find(shop.registry.host, "payments/api") is not None

    asyncio.run(look())
    file = shop.kube.folder / "away"
    file.write_text(shop.config.read_text().replace(str(shop.kube.port), "1"))
    with pytest.raises(PlaceUnavailable):
        read(shop, config=file)


def test_no_more_secrets_are_read_than_a_namespace_has_reason_to_have(shop):
    names = [{"name": f"many-{number:03}"} for number in range(SECRETS + 10)]
    shop.kube.ask(
        "POST", "/api/v1/namespaces/payments/serviceaccounts", {"metadata": {"name": "many"}, "imagePullSecrets": names}
    )
    try:
        _, problems = read(shop)
        assert problems[0] == f"more than {SECRETS} pull secrets; the rest is not read"
        assert len(problems) == SECRETS + 1
    finally:
        shop.kube.delete_in("payments", "serviceaccounts", "many")
