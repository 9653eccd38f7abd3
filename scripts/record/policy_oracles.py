"""Asks the real policy-controller `tester` and `kubectl-kyverno` about the recorded images, for tests/conformance.

    scripts/oracles.sh policy registry        once
    .venv/bin/python scripts/record/policy_oracles.py > tests/assets/policy_oracles.json

The images of streams/demo_data are served by a registry on a free port of this machine; every policy below is asked
about every image. What is kept: the policies, with HOST where the registry's address stood, and who said yes or no.
"""

import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from cosign_matrix import quiet_environment, repository_of, serve_layout
from tools import RESULTS, run, tool

IMAGES = [
    *("payments-api-1.4.2", "payments-ledger", "payments-settle", "payments-fx-rates", "checkout-web-2026.11.3"),
    *("checkout-pay-gateway", "inventory-scraper", "inventory-search", "data-exporter", "checkout-promo"),
    *("checkout-wallet", "data-report", "platform-node-agent", "platform-fluent-bit"),
]
"""Signed by one, two, three, nobody, a stranger; classic and bundle; an attestation alone; altered; an index."""

JOBS = 2


class Case(NamedTuple):
    """A policy, and the tool whose language it is written in."""

    name: str
    tool: str
    dialect: str
    policy: str


def key(name: str, indent: int) -> str:
    text = (RESULTS / "keys" / f"{name}.pub").read_text().strip()
    return "|-\n" + "\n".join(" " * indent + line for line in text.splitlines())


def cip(name: str, globs: list[str], authorities: str, **spec: str) -> Case:
    more = "".join(f"\n  {member}: {value}" for member, value in spec.items())
    images = "".join(f'\n    - glob: "{glob}"' for glob in globs)
    head = f"apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  name: {name}\nspec:{more}"
    return Case(name, "tester", "cip", f"{head}\n  images:{images}\n  authorities:\n{authorities}")


def authority(signer: str) -> str:
    return f"    - name: {signer}\n      key:\n        hashAlgorithm: sha256\n        data: {key(signer, 10)}\n"


def kyverno(name: str, kind: str, references: list[str], signers: list[str], count: str = "") -> Case:
    patterns = "".join(f'\n            - "{reference}"' for reference in references)
    entries = "".join(
        f"\n                - keys:\n                    rekor: {{ignoreTlog: true, url: ''}}\n"
        f"                    ctlog: {{ignoreSCT: true}}\n                    publicKeys: {key(signer, 22)}"
        for signer in signers
    )
    number = f"\n              count: {count}" if count else ""
    return Case(
        name,
        "kubectl-kyverno",
        "kyverno",
        f"""apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata:
  name: {name}
spec:
  validationFailureAction: Enforce
  webhookTimeoutSeconds: 30
  rules:
    - name: check
      match:
        any:
          - resources:
              kinds: [Pod]
      verifyImages:
        - type: {kind}
          mutateDigest: false
          verifyDigest: false
          imageRegistryCredentials: {{allowInsecureRegistry: true}}
          imageReferences:{patterns}
          attestors:
            - entries:{entries}{number}
""",
    )


def image_policy(name: str, glob: str, signers: list[str], expression: str) -> Case:
    attestors = "".join(
        f"\n    - name: {signer}\n      cosign:\n        ctlog: {{insecureIgnoreTlog: true, insecureIgnoreSCT: true}}\n"
        f"        key:\n          data: {key(signer, 12)}"
        for signer in signers
    )
    return Case(
        name,
        "kubectl-kyverno",
        "kyverno",
        f"""apiVersion: policies.kyverno.io/v1
kind: ImageValidatingPolicy
metadata:
  name: {name}
spec:
  validationActions: [Deny]
  matchConstraints:
    resourceRules:
      - {{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}}
  validationConfigurations: {{mutateDigest: false, verifyDigest: false, required: false}}
  credentials: {{allowInsecureRegistry: true}}
  matchImageReferences:
    - glob: "{glob}"
  attestors:{attestors}
  validations:
    - expression: >-
        images.containers.map(image, verifyImageSignatures(image, [{", ".join(f"attestors.{s}" for s in signers)}]))
        .all(e, {expression})
      message: not signed
""",
    )


CASES = [
    cip("dev-only", ["HOST/**"], authority("dev")),
    cip("sec-only", ["HOST/**"], authority("sec")),
    cip("dev-or-sec", ["HOST/**"], authority("dev") + authority("sec")),
    cip("one-level", ["HOST/payments/*"], authority("dev")),
    cip("star-is-one-level", ["HOST/*"], authority("dev")),
    cip("by-digest", ["HOST/payments/*@sha256:*"], authority("sec")),
    cip("static-pass", ["HOST/**"], "    - static: {action: pass}\n"),
    cip("static-fail", ["HOST/**"], '    - static: {action: fail, message: "no"}\n'),
    kyverno("dev-classic", "Cosign", ["HOST/*"], ["dev"]),
    kyverno("sec-classic", "Cosign", ["HOST/*"], ["sec"]),
    kyverno("dev-bundle", "SigstoreBundle", ["HOST/*"], ["dev"]),
    kyverno("two-of-three", "Cosign", ["HOST/*"], ["dev", "sec", "ops"], count="2"),
    kyverno("all-of-two", "Cosign", ["HOST/*"], ["dev", "sec"]),
    kyverno("one-repository", "Cosign", ["HOST/payments/api*"], ["sec"]),
    kyverno("question-mark", "Cosign", ["HOST/payments/ap?@*"], ["sec"]),
    image_policy("ivpol-any", "HOST/*", ["dev", "sec"], "e > 0"),
    image_policy("ivpol-two", "HOST/*", ["dev", "sec", "ops"], "e >= 2"),
    image_policy("ivpol-group", "HOST/{payments,data}/*", ["sec"], "e > 0"),
]

POD = """apiVersion: v1
kind: Pod
metadata: {name: asked, namespace: default}
spec:
  containers:
    - {name: one, image: "%s"}
"""


def ask_tester(policy: Path, reference: str, home: Path) -> str:
    """pass, fail, or unmatched."""
    done = run(
        [tool("tester"), "--policy", policy, "--image", reference, "--log-level", "error"],
        env=quiet_environment(home),
        check=False,
    )
    if done.returncode == 0:
        return "pass"
    return "unmatched" if "is uncovered by policy" in done.stdout + done.stderr else "fail"


def ask_kyverno(policy: Path, reference: str, home: Path) -> str:
    """pass, fail, or unmatched (neither a pass nor a failure was counted)."""
    pod = home / "pod.yaml"
    pod.write_text(POD % reference)
    command = [tool("kubectl-kyverno"), "apply", policy, "--resource", pod, "--registry"]
    done = run(command, env=quiet_environment(home), check=False)
    counts = next((line for line in done.stdout.splitlines() if line.startswith("pass:")), "")
    numbers = dict(part.split(": ") for part in counts.split(", ")) if counts else {}
    if not numbers or numbers.get("error", "0") != "0":
        raise RuntimeError(f"{policy}: {done.stdout}\n{done.stderr}")
    if numbers["fail"] != "0":
        return "fail"
    return "unmatched" if numbers["pass"] == "0" else "pass"  # noqa: S105 a count of passes, no password


ASK = {"tester": ask_tester, "kubectl-kyverno": ask_kyverno}


def answer(case: Case, address: str, image: dict[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        policy = home / "policy.yaml"
        policy.write_text(case.policy.replace("HOST", address))
        reference = f"{address}/{repository_of(image['reference'])}@{image['digest']}"
        return ASK[case.tool](policy, reference, home)


def main() -> None:
    images = {image["name"]: image for image in json.loads((RESULTS / "images.json").read_bytes())}
    versions = {name: (tool(name).parent / f"{name}.version").read_text().strip() for name in ASK}
    recorded = []
    with serve_layout(RESULTS / "oci", tool("registry")) as address, ThreadPoolExecutor(JOBS) as pool:
        for case in CASES:
            found = list(pool.map(lambda name, case=case: answer(case, address, images[name]), IMAGES))
            print(f"{case.name}: {' '.join(found)}", file=sys.stderr)
            recorded.append({**case._asdict(), "answers": dict(zip(IMAGES, found, strict=True))})
    print(json.dumps({"versions": versions, "cases": recorded}, indent=1))


if __name__ == "__main__":
    main()
