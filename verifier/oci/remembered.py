"""Manifests that were read before: named by their bytes, they need not be read again where reading costs.

    remembered = Remembered()
    remembered.put(origin, path, "1.4.2", body, media_type)
    remembered.get(origin, path, digest)          Found(body, media_type), whatever tag it was read by

Only whether it is still there, and what a tag means now, is asked again (HEAD), and that is never remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from verifier.oci.media import digest_of, is_image_digest
from verifier.oci.wire import Found

REMEMBERED_BYTES: Final = 16 * 1024 * 1024
"""Bytes of manifests kept in memory: some ten thousand of the usual size."""
_LARGEST: Final = 256 * 1024
"""Bytes of a manifest worth keeping; larger ones are rare and would push out hundreds."""

Slot = tuple[str, str, str]
"""(origin, repository's path, digest)"""


class Remembered:
    """Bytes of manifests by digest, the newest used last out."""

    def __init__(self, most: int = REMEMBERED_BYTES) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[Slot, Found] = OrderedDict()

    def get(self, origin: str, path: str, digest: str) -> Found | None:
        """What was read under this digest; None when it was not, or is forgotten."""
        found = self._kept.get((origin, path, digest))
        if found is not None:
            self._kept.move_to_end((origin, path, digest))
        return found

    def put(self, origin: str, path: str, name: str, found: Found) -> None:
        """Keeps an answer under the digest of its bytes; not when they are other bytes than `name` names."""
        digest = digest_of(found.body)
        if len(found.body) > _LARGEST or (":" in name and name != digest) or not is_image_digest(digest):
            return
        slot = (origin, path, digest)
        self._size += len(found.body) - len(self._kept[slot].body if slot in self._kept else b"")
        self._kept[slot] = found
        self._kept.move_to_end(slot)
        while self._size > self._most:
            self._size -= len(self._kept.popitem(last=False)[1].body)
