"""Pull secrets of the namespaces that `evidence.pull_secrets` names, kept as they are in their clusters: `serve fetch`.

A namespace that refuses has its credentials taken back; one whose API server does not answer keeps them. What is told
is names of namespaces and Secrets and why one is not used, never a word of what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from streams.collectors.clusters import finder
from streams.collectors.pullsecrets import NamespaceSecrets, joined
from streams.serving.process import Process
from streams.settings import WatchedCluster
from verifier.errors import InputError, PlaceRefused, PlaceUnavailable
from verifier.oci.auth import CredentialBook

Lend = Callable[[CredentialBook], None]
"""Gives a place credentials beside its own (`RegistryPlace.lend`)."""


@asynccontextmanager
async def lending(process: Process, lend: Lend | None) -> AsyncIterator[None]:
    """Look once, and then again and again until the block ends. None: no registry is asked; nothing is read."""
    places = process.settings.evidence.lenders()
    if lend is None or not places:
        yield
        return
    lender = Lender(process, places, lend)
    await lender.look()  # what is fetched first needs them, too
    task = process.spawn("pull-secrets", lender.run(process.settings.evidence.pull_secrets_seconds))
    try:
        yield
    finally:
        process.end()  # it has no end of its own
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await lender.close()


class Lender:
    """All namespaces that were named."""

    def __init__(self, process: Process, places: tuple[WatchedCluster, ...], lend: Lend) -> None:
        """`places`: the name of each is that of a namespace."""
        self._process, self._lend = process, lend
        self._readers = [
            NamespaceSecrets(place.name, finder(place.kubeconfig, place.context, "evidence.pull_secrets"))
            for place in places
        ]
        self._books = [CredentialBook() for _ in places]
        self._said = ["" for _ in places]

    async def run(self, every: float) -> None:
        """Look every so many seconds, without end."""
        while True:
            await asyncio.sleep(every)
            await self.look()

    async def look(self) -> None:
        """Read them all, and lend what there is now."""
        await asyncio.gather(*(self._read(number) for number in range(len(self._readers))))
        self._lend(joined(self._books))

    async def _read(self, number: int) -> None:
        problems: tuple[str, ...]
        try:
            self._books[number], problems = await self._readers[number].read()
        except PlaceRefused as error:
            self._books[number], problems = CredentialBook(), (str(error),)
        except (PlaceUnavailable, InputError) as error:
            problems = (str(error),)
        self._tell(number, "; ".join(problems))

    def _tell(self, number: int, problem: str) -> None:
        """Once for each change. Fetching goes on without: no reason to say that this process is not well."""
        namespace = self._readers[number].namespace
        self._process.health.note(f"pull_secrets_{namespace}", problem or "ok")
        if problem == self._said[number]:
            return
        self._said[number] = problem
        if problem:
            self._process.log.warning("pull-secrets-not-read", namespace=namespace, why=problem)
        else:
            self._process.log.info("pull-secrets-read", namespace=namespace)

    async def close(self) -> None:
        """Disconnect, and take everything back."""
        self._lend(CredentialBook())
        await asyncio.gather(*(reader.close() for reader in self._readers))
