"""Pods watched on a real API server: what is told, and what cuts, silence, restarts and lost history do to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from streams.collectors import podwatch
from streams.collectors.apiserver import ApiServer
from streams.collectors.clusters import finder
from streams.collectors.election import Election
from streams.collectors.leading import Leadership
from streams.collectors.podloop import PATH, LoopOptions, PodLoop
from streams.collectors.podwatch import Ending, Known, PodWatch, Position, Step
from streams.events import DeadLetter, FeedSeen, PodObserved
from tests.helpers.watchedcluster import DIGEST, IMAGE, Proxy, WatchedCluster
from verifier.errors import PlaceError, PlaceUnavailable

pytestmark = [pytest.mark.needs("kube"), pytest.mark.timeout(240), pytest.mark.slow]

WAIT = 40.0
QUICK = LoopOptions(silence=100.0, watch=300)


class Kept:
    """What became durable, in memory; it can refuse. The Keeper of these tests."""

    def __init__(self) -> None:
        self.observations: list[PodObserved | DeadLetter] = []
        self.rows: dict[str, Known] = {}
        self.position = Position()
        self.signs: list[FeedSeen] = []
        self.endings: list[Ending] = []
        self.refuses = 0

    async def load(self) -> tuple[dict[str, Known], Position]:
        return dict(self.rows), self.position

    async def tell(self, step: Step) -> None:
        if self.refuses:
            self.refuses -= 1
            raise PlaceUnavailable("kafka-unavailable", "no broker answers")
        self.observations += step.observations
        self.signs += [step.first_sign] if step.first_sign is not None else []

    async def keep(self, step: Step) -> None:
        for uid, row in step.rows.items():
            if row is None:
                self.rows.pop(uid, None)
            else:
                self.rows[uid] = Known(row.version, row.mark, row.packed, row.version)
        self.position = step.position
        self.signs += [step.sign] if step.sign is not None else []

    # Told

    def ended(self, ending: Ending, detail: str, pause: float) -> None:
        del detail, pause
        self.endings.append(ending)

    def heard(self) -> None:
        pass

    def durable(self, step: Step) -> None:
        pass

    def not_durable(self, error: PlaceError) -> None:
        pass

    # what it came to

    def told(self, name: str) -> list[PodObserved]:
        return [o for o in self.observations if isinstance(o, PodObserved) and o.pod.name == name]

    def gone(self, name: str) -> list[PodObserved]:
        return [o for o in self.told(name) if o.gone]

    def ids(self) -> list[str]:
        return [o.id for o in self.observations]


class Life:
    """One life of a watcher: what it keeps outlives it."""

    def __init__(self, file: Path, kept: Kept, options: LoopOptions = QUICK, excluded: tuple[str, ...] = ()) -> None:
        self.kept = kept
        self.watch = PodWatch("c1", kept.rows, kept.position, excluded)
        self.server = ApiServer(finder(file), 5)
        self.loop = PodLoop(self.watch, self.server, kept, kept, options)


@asynccontextmanager
async def living(
    file: Path, kept: Kept, options: LoopOptions = QUICK, *, finish: bool = True, excluded=()
) -> AsyncIterator[Life]:
    life = Life(file, kept, options, excluded)
    running = asyncio.create_task(life.loop.run())
    try:
        await until(lambda: life.watch.synced or running.done())
        yield life
        assert not running.done(), running
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        if finish:
            await life.loop.finish()
        await life.server.close()


async def until(so: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT):
        while not so():  # noqa: ASYNC110  # looked at from outside: nobody sets an event
            await asyncio.sleep(0.05)


async def do(act: Callable[..., object], *args: str) -> object:
    return await asyncio.to_thread(act, *args)


@pytest.fixture(scope="module")
def cluster(require, tmp_path_factory) -> Iterator[WatchedCluster]:
    with WatchedCluster(require("kube"), tmp_path_factory.mktemp("kube")) as made:
        yield made


@pytest.fixture
def file(cluster) -> Path:
    return cluster.kubeconfig("admin", "--token=admin-token")


def run(test) -> None:
    asyncio.run(test)


# ------------------------------------------------------------------------------------------------------- what is told


def test_pods_come_change_and_go(cluster, file):
    async def day() -> None:
        kept = Kept()
        await do(cluster.run, "before")
        async with living(file, kept) as life:
            await until(lambda: kept.told("before"))
            await do(cluster.run, "api")
            await until(lambda: kept.told("api") and kept.told("api")[-1].pod.containers[0].digest == DIGEST)
            await do(cluster.change_image, "api", "2")
            await until(lambda: kept.told("api")[-1].pod.containers[0].image == f"{IMAGE}:2")
            await do(cluster.debug, "api")
            await until(lambda: len(kept.told("api")[-1].pod.containers) == 2)
            assert kept.told("api")[-1].pod.containers[1].kind == "ephemeral"
            number = len(kept.told("api"))
            same = life.watch.counts["same"]
            await do(cluster.touch, "api", "2026-11-21T10:00:00Z")
            await until(lambda: life.watch.counts["same"] > same)
            await do(cluster.delete, "api")
            await until(lambda: kept.gone("api"))
            assert [o.gone for o in kept.told("api")[number:]][-1] is True
            assert kept.gone("api")[0].gone_reason == ""
        assert {o.source for o in kept.told("before")} == {"list"}
        assert len(set(kept.ids())) == len(kept.ids())
        assert kept.signs[0].since == kept.signs[0].time
        await do(cluster.delete, "before")

    run(day())


def test_namespaces_that_are_left_out_are_not_even_sent(cluster, file):
    async def day() -> None:
        kept = Kept()
        await do(cluster.run, "inside")
        async with living(file, kept, excluded=("default",)) as life:
            await do(cluster.run, "kept-out", "1", "kube-public")
            await until(lambda: kept.told("kept-out"))
            assert kept.told("inside") == []
            assert len(life.watch.known) == 1
        await do(cluster.delete, "inside")
        await do(cluster.ask, "DELETE", "/api/v1/namespaces/kube-public/pods/kept-out?gracePeriodSeconds=0")

    run(day())


# ------------------------------------------------------------------------------------------------------ what is broken


@pytest.mark.parametrize("way", ["cut", "silence"])
def test_a_watch_that_is_cut_or_falls_silent_goes_on_where_it_was(cluster, way):
    async def day() -> None:
        kept = Kept()
        with Proxy(cluster.port) as proxy:
            file = cluster.kubeconfig(f"proxied-{way}", "--token=admin-token", port=proxy.port)
            async with living(file, kept, LoopOptions(silence=3.0)):
                await do(cluster.run, "first")
                await until(lambda: kept.told("first"))
                since = kept.signs[0].since
                if way == "silence":
                    proxy.deaf = True
                await do(cluster.run, "short-lived")
                await do(cluster.delete, "short-lived")
                if way == "cut":
                    proxy.cut()
                else:
                    await until(lambda: any(ending.how == "silent" for ending in kept.endings))
                    proxy.cut()  # what was held back is gone with its connection
                    proxy.deaf = False
                await until(lambda: kept.gone("short-lived"))
                assert kept.gone("short-lived")[0].gone_reason == "", "told by the API server, not guessed"
        assert len(set(kept.ids())) == len(kept.ids())
        assert kept.position.since == since, "sight was unbroken"
        await do(cluster.delete, "first")

    run(day())


def test_a_server_that_was_restarted_has_forgotten_and_pods_are_listed_anew(cluster, file):
    """The ERROR event with code 410 behind HTTP 200: a restart empties the cache that watches are served from."""

    async def day() -> None:
        kept = Kept()
        for name in ("stays", "goes"):
            await do(cluster.run, name)
        async with living(file, kept):
            await until(lambda: kept.told("stays") and kept.told("goes"))
        stood, last = list(kept.ids()), kept.position.last
        kept.position = kept.position._replace(version="2")  # as a watcher that was away for long
        await do(cluster.delete, "goes")
        await do(cluster.kill_server)
        await do(cluster.compact)
        await do(cluster.start_server)
        async with living(file, kept) as life:
            await until(lambda: kept.gone("goes"))
            assert any(note == ("watch-error", {"code": 410}) for note in life.watch.notes), life.watch.notes
        gone = kept.gone("goes")[0]
        assert gone.gone_reason == "vanished"
        assert last <= gone.gone_after < gone.time
        assert kept.ids()[: len(stood)] == stood
        assert len(kept.ids()) == len(stood) + 1, "what stayed is not told again"
        assert kept.position.since > last, "a blind interval between the last sign of life and the new snapshot"
        await do(cluster.delete, "stays")

    run(day())


def test_a_server_that_is_killed_while_it_is_watched_costs_nothing(cluster, file):
    async def day() -> None:
        kept = Kept()
        await do(cluster.run, "steady")
        async with living(file, kept):
            await until(lambda: kept.told("steady"))
            await do(cluster.kill_server)
            await until(lambda: any(ending.how == "unreachable" for ending in kept.endings))
            await do(cluster.start_server)
            await do(cluster.run, "after")
            await until(lambda: kept.told("after"))
            assert kept.gone("steady") == []
        assert len(set(kept.ids())) == len(kept.ids())
        for name in ("steady", "after"):
            await do(cluster.delete, name)

    run(day())


def test_the_silent_minute_of_a_server_that_stops_is_noticed(cluster, file):
    async def day() -> None:
        kept = Kept()
        await do(cluster.run, "steady")
        async with living(file, kept, LoopOptions(silence=5.0)):
            await until(lambda: kept.told("steady"))
            kept.endings.clear()
            stopping = cluster.stop_server()
            try:
                await until(lambda: Ending("silent") in kept.endings)
                assert stopping.poll() is None, "silent while it still runs"
            finally:
                await asyncio.to_thread(stopping.wait, 120)
            await do(cluster.start_server)
            await do(cluster.run, "after")
            await until(lambda: kept.told("after"))
            assert kept.gone("steady") == []
        assert len(set(kept.ids())) == len(kept.ids())
        for name in ("steady", "after"):
            await do(cluster.delete, name)

    run(day())


def test_http_410_in_the_middle_of_a_list_begins_it_anew(cluster, file, monkeypatch):
    """etcd is compacted between two pages: an API server answers the continue token with HTTP 410."""
    monkeypatch.setattr(podwatch, "PAGE", 2)

    async def day() -> None:
        for number in range(5):
            await do(cluster.run, f"p{number}")
        watch, server = PodWatch("c1"), ApiServer(finder(file), 5)
        watch.ask(0.5)
        watch.ended(Ending("status", 422), 1, 0.5)  # as a server without snapshots in streams

        async def page() -> Ending:
            ending, body = await server.body(PATH, watch.ask(0.5).query, 20)
            assert ending.how != "clean" or watch.page(body, 1)
            watch.ended(ending, 1, 0.5)
            return ending

        assert await page() == Ending("clean")
        await do(cluster.delete, "p0")
        await do(cluster.run, "p5")
        await do(cluster.kill_server)  # its cache would still know
        await do(cluster.compact)
        await do(cluster.start_server)
        assert (await page()).status == 410
        while not watch.synced:
            assert await page() == Ending("clean")
        await server.close()
        told = [o for o in watch.take().observations if isinstance(o, PodObserved)]
        assert sorted(o.pod.name for o in told if not o.gone) == [f"p{number}" for number in range(6)]
        assert [(o.pod.name, o.gone_reason) for o in told if o.gone] == [("p0", "vanished")]
        for number in range(1, 6):
            await do(cluster.delete, f"p{number}")

    run(day())


def test_what_is_not_durable_is_not_kept_and_comes_again(cluster, file, monkeypatch):
    monkeypatch.setattr("streams.collectors.podloop.RETRY_SECONDS", 0.1)

    async def day() -> None:
        kept = Kept()
        kept.refuses = 5
        await do(cluster.run, "patient")
        async with living(file, kept):
            assert kept.rows == {}
            await until(lambda: kept.told("patient"))
            await until(lambda: kept.rows)
        assert len(kept.told("patient")) == 1
        await do(cluster.delete, "patient")

    run(day())


# --------------------------------------------------------------------------------------------------------- who asks


def test_a_token_that_is_renewed_in_its_file_counts_at_once(cluster):
    async def day() -> None:
        token = cluster.folder / "token"
        token.write_text("stale-token")
        file = cluster.kubeconfig("rotated")
        config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json", f"--kubeconfig={file}").stdout)
        config["users"] = [{"name": "u", "user": {"tokenFile": str(token)}}]
        file.write_text(json.dumps(config))
        kept = Kept()
        life = Life(file, kept)
        running = asyncio.create_task(life.loop.run())
        await until(lambda: Ending("status", 401) in kept.endings)
        token.write_text("admin-token\n")
        await until(lambda: life.watch.synced)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await life.server.close()

    run(day())


def test_the_printed_rights_suffice_and_allow_nothing_else(cluster, file):
    from streams.collectors.rbac import manifest  # noqa: PLC0415  # only this test

    account = "system:serviceaccount:default:revet-pods"
    cluster.kubectl(
        f"--kubeconfig={file}", "apply", "-f", "-",
        stdin=manifest(("default", "revet-pods"), ("default", "revet-pods")),
    )  # fmt: skip
    cluster.kubectl(f"--kubeconfig={file}", "create", "serviceaccount", "revet-pods")
    token = cluster.ask("POST", "/api/v1/namespaces/default/serviceaccounts/revet-pods/token", {"spec": {}})
    own = cluster.kubeconfig("own", f"--token={token['status']['token']}")

    async def day() -> None:
        kept = Kept()
        await do(cluster.run, "seen")
        async with living(own, kept):
            await until(lambda: kept.told("seen"))
        server = ApiServer(finder(own), 5)
        leader = Leadership(server, Election("me", 5), ("default", "revet-pods"))
        await asyncio.wait_for(leader.win(), WAIT)
        await leader.release()
        status, _ = await server.exchange("GET", "/api/v1/namespaces/kube-system")
        assert status == 200
        for path in ("/api/v1/secrets", "/api/v1/namespaces/default", "/api/v1/namespaces/default/pods/seen/log"):
            status, _ = await server.exchange("GET", path)
            assert status == 403, path
        await server.close()
        await do(cluster.delete, "seen")

    run(day())
    rules = cluster.kubectl(f"--kubeconfig={file}", "auth", "can-i", "--list", f"--as={account}").stdout
    assert "secrets" not in rules
    assert "pods/exec" not in rules


# -------------------------------------------------------------------------------------------------------- who leads


def test_of_two_watchers_one_leads_and_the_other_takes_over(cluster, file):
    async def day() -> None:
        place = ("default", "leader")
        servers = [ApiServer(finder(file), 5) for _ in range(3)]
        one, two, three = (
            Leadership(server, Election(name, 5), place) for server, name in zip(servers, "abc", strict=True)
        )
        await asyncio.wait_for(one.win(), WAIT)
        holding = asyncio.create_task(one.hold())
        waiting = asyncio.create_task(two.win())
        await asyncio.sleep(7)
        assert not waiting.done(), "the first one renews"
        holding.cancel()  # it hangs: no good-bye
        await asyncio.wait_for(waiting, WAIT)
        lease = await do(cluster.ask, "GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases/leader")
        assert lease["spec"]["holderIdentity"] == "b"  # type: ignore[index]  # JSON
        assert lease["spec"]["leaseTransitions"] == 1  # type: ignore[index]  # JSON
        await two.release()
        await asyncio.wait_for(three.win(), 5)
        for server in servers:
            await server.close()

    run(day())
