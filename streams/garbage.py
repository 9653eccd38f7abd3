"""How often the garbage collector looks at what lives long."""

from __future__ import annotations

import gc


def settle_collector() -> None:
    """Let it look less often, and never again at what was imported. Call it once, at the start of a process that works.

    A large live state holds next to no cycles, and walking it cost 5 to 10 % of a replay.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
