"""When a signature counts: by what trust says of its key, and by an attestor's window at the proven signing time.

    counts("retired-unproven", "warn")                                True
    in_window(start, end, t_le=None, instant=after_the_end)           (False, None)

The two rules are those of `verifier.trust.revocation` for keys, applied to attestors. They stand here because trust
records hold policies, so `verifier.trust` imports `verifier.policy` and never the reverse; a test keeps both equal.
"""

from __future__ import annotations

from typing import Final

from verifier.models import Micros, SignatureState
from verifier.policy.model import SoftUnproven

SOUND: Final[frozenset[SignatureState]] = frozenset(
    {"trusted", "trusted-before-compromise", "trusted-before-retirement"}
)
"""States that count whatever the policy says."""

RETIRED: Final[frozenset[SignatureState]] = frozenset({"retired-late", "retired-unproven"})
"""States whose counting the policy chooses. The same choice for both: stripping a time must never help."""

NEVER: Final[Micros] = 2**63 - 1
"""Stands for an instant that is not known: after the end of every window."""


def counts(state: SignatureState, soft_unproven: SoftUnproven) -> bool:
    """Does a signature in this state count for a requirement?"""
    return state in SOUND or (state in RETIRED and soft_unproven != "deny")


def in_window(
    start: Micros | None, end: Micros | None, t_le: Micros | None, instant: Micros
) -> tuple[bool, Micros | None]:
    """Was it signed within the closed window [start, end], and when must that be asked again (None: never)?

    `t_le` is the earliest proof that the signature existed. What is judged exists now, so without a proof `instant` is
    one; a signature without proof therefore counts until the window ends, and one that is proven late is treated alike.
    """
    if start is not None and instant < start:
        return False, start
    existed = instant if t_le is None else min(t_le, instant)
    if start is not None and existed < start:
        return False, None
    if end is None or (t_le is not None and t_le <= end):
        return True, None
    return (False, None) if instant > end else (True, end + 1)
