"""Record everything anew; `make record` and run.sh come here. What comes out: streams/demo_data/README.md."""

import json
import shutil
import sys
import time

import readme
from cluster import Cluster
from cosign_matrix import run_registry
from results import ask_cosign, write_registry
from signing import Studio, make_keys
from story import PACE, Side, Story
from tools import REGISTRY_PORT, RESULTS, WORK, Processes, fresh, now, run, say, tool, wait_until

CLUSTERS = {
    "prod-eu": {"env": "prod", "region": "eu-central-1"},
    "staging": {"env": "staging", "region": "eu-central-1"},
}
TOOLS = ("cosign", "cosign2", "crane", "registry", "etcd", "kube-apiserver", "kubectl")


def main() -> None:
    for name in TOOLS:
        tool(name)
    if not shutil.which("openssl"):
        sys.exit("record: openssl is missing")
    WORK.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    make_keys(WORK / "keys")
    fresh(WORK / "logs")
    with (
        run_registry(tool("registry"), REGISTRY_PORT, WORK / "logs" / "registry.log") as registry,
        Processes(WORK / "logs") as processes,
    ):
        studio = Studio(registry, WORK)
        clusters = [Cluster(name, WORK, processes) for name in CLUSTERS]
        for cluster in clusters:
            cluster.start()
        prod, staging = (Side(cluster, studio) for cluster in clusters)
        story = Story(prod, staging, studio, processes, WORK)
        play(story, studio, clusters)
        save(story, studio, clusters)
    images = ask_cosign(RESULTS)
    readme.write(RESULTS, images, versions())
    say(f"recorded into {RESULTS}")


def versions() -> dict[str, str]:
    """What each tool says of itself."""
    cosign = {
        name: json.loads(run([tool(name), "version", "--json"]).stdout)["gitVersion"] for name in ("cosign", "cosign2")
    }
    crane = run([tool("crane"), "version"]).stdout.strip()
    kubectl = json.loads(run([tool("kubectl"), "version", "--client", "-o", "json"]).stdout)["clientVersion"]
    etcd = run([tool("etcd"), "--version"]).stdout.partition("\n")[0].removeprefix("etcd Version: ")
    apiserver = run([tool("kube-apiserver"), "--version"]).stdout.split()[-1]
    return cosign | {
        "crane and registry (go-containerregistry)": crane,
        "kube-apiserver": apiserver,
        "kubectl": kubectl["gitVersion"],
        "etcd": f"v{etcd}",
    }


def play(story: Story, studio: Studio, clusters: list[Cluster]) -> None:
    studio.phase("eve")
    story.prepare()
    story.reach("morning")
    story.morning()
    story.reach("midday")
    studio.phase("midday")
    story.midday()
    story.reach("compromise")
    time.sleep(1)  # so that the time lies strictly between two observations, also in a rehearsal
    story.reach("afternoon")
    studio.phase("afternoon")
    story.afternoon()
    story.reach("evening")
    story.evening()
    # The longest grace a finding has is three minutes; the day goes on for longer after its last surprise.
    story.reach("revocation")
    for cluster in clusters:
        cluster.end_of_day()
    story.reach("after")
    studio.phase("after")
    story.after()
    wait_until(time.monotonic() + 2 + 20 * PACE)
    story.times["ended"] = now()


def save(story: Story, studio: Studio, clusters: list[Cluster]) -> None:
    write_registry(studio, RESULTS)
    target = fresh(RESULTS / "clusters")
    described = {}
    for cluster in clusters:
        cluster.save(target / cluster.name)
        described[cluster.name] = {
            "uid": cluster.identity(),
            "labels": CLUSTERS[cluster.name],
            "recording_started": story.recording_started[cluster.name],
        }
    times = story.times
    timeline = {
        "compromised_key": "build-2026",
        "compromised_since": times["compromise"],
        "revoked_at": times["revocation"],
        "phases": times,
        "clusters": described,
    }
    head = json.dumps(timeline, indent=1).removesuffix("\n}")
    steps = ",\n".join(f"  {json.dumps(step)}" for step in story.steps)  # one per line
    (RESULTS / "timeline.json").write_text(f'{head},\n "steps": [\n{steps}\n ]\n}}\n')


if __name__ == "__main__":
    main()
