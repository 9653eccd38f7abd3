"""A small day for the fifteen questions; what is asked of it is computed by hand.

The day, in minutes:

     5  revet first sees api's signature of key `build`
    10  api-1 starts (digest ONE under the tag api:1), admitted
    11  slow-1 starts, and nobody tells until 30; nobody admitted it
    15  api-2 starts: the tag means digest TWO now, which is unsigned; let in by break-glass
    20  to 25: blind, both feeds
    35  key `build` is revoked, compromised since 3: ONE falls
    40  TWO is exempted
    45  api-1 has ended (it is told at 46 that it was at 45)
    50  down-1 starts; its registry does not answer
"""

from __future__ import annotations

import msgspec

from tests.helpers.recorded import RecordedWorld
from tests.helpers.world import MINUTE, START, digest_of, policy
from verifier.trust import changes
from verifier.trust.changes import By, ExemptionScope

ONE, TWO = digest_of("one"), digest_of("two")
API = "r.example/pay/api:1"
BUILDER = "https://builder.example/v1"
PROVENANCE = {
    "buildDefinition": {
        "buildType": "https://builder.example/type",
        "externalParameters": {"source": {"uri": "git+https://git.example/pay/api", "ref": "refs/heads/main"}},
        "resolvedDependencies": [
            {"uri": "git+https://git.example/pay/api", "digest": {"gitCommit": "c0ffee" + "0" * 34}},
            {"uri": "pkg:docker/base@1", "digest": {"sha256": digest_of("base").removeprefix("sha256:")}},
        ],
    },
    "runDetails": {"builder": {"id": BUILDER}, "metadata": {"invocationId": "https://ci.example/runs/7"}},
}


def at(minute: float) -> int:
    return START + int(minute * MINUTE)


def played(store: str) -> RecordedWorld:
    """The day, in a record of this kind (`tests.helpers.recorded.RECORDS`)."""
    made = RecordedWorld(keys=("dev", "build"), store=store)
    made.feeds(since=START)
    made.namespace("shop", team="pay")
    made.trust(policy("signed", signed_by=("build",)))
    made.now = at(10)
    one = made.image(API, signed_by=("build",), seen=at(5), content="one")
    repository = "r.example/pay/api"
    made.bases[repository, ONE] = digest_of("alpine")
    attested = made.signer("build").attest(repository, ONE, "https://slsa.dev/provenance/v1", PROVENANCE)
    made.evidence[repository, ONE].append(attested)
    slow = made.image("r.example/pay/slow:1", signed_by=("build",), seen=at(5))
    first = made.pod("shop", "api-1", {"app": one})
    made.send(made.decision(first), first)
    made.now = at(15)
    two = made.image(API, content="two")
    second = made.pod("shop", "api-2", {"app": two})
    made.send(made.decision(second, break_glass="revet/break-glass=INC-9"), second)
    made.now = at(20)
    made.feeds(since=START)
    made.now = at(25)
    made.feeds(since=at(25))
    made.now = at(30)
    late = made.pod("shop", "slow-1", {"app": slow})
    told = [msgspec.structs.replace(c, started=at(11)) for c in late.pod.containers]
    made.send(msgspec.structs.replace(late, pod=msgspec.structs.replace(late.pod, containers=tuple(told))))
    made.now = at(35)
    by = By(author="alice", at=made.now, note="stolen")
    made.record(changes.revoke(made.state.trust, by, "key", "build", reason="keyCompromise", compromised_since=at(3)))
    made.now = at(40)
    scope = ExemptionScope(policy="signed", digests=(TWO,))
    by = By(author="bob", at=made.now, note="until the new build")
    made.record(changes.exempt(made.state.trust, by, scope, approver="carol", ticket="SEC-1"))
    made.now = at(46)
    ended = made.pod("shop", "api-1", {"app": one}, gone=True)
    over = [
        msgspec.structs.replace(c, started=at(10), state="terminated", finished=at(45)) for c in ended.pod.containers
    ]
    made.send(msgspec.structs.replace(ended, pod=msgspec.structs.replace(ended.pod, containers=tuple(over))))
    made.now = at(50)
    down = made.image("r.example/lab/down:1", content="down")
    made.broken["r.example/lab/down", down[1]] = "registry-unavailable"
    third = made.pod("lab", "down-1", {"app": down})
    made.send(made.decision(third), third)
    made.feeds(since=at(25))
    made.wait(MINUTE)
    return made
