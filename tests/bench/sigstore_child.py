"""sigstore-python on bundles, timing itself: run by bench_keyless in a virtual environment of its own.

Standard input: JSON lists of {"name", "bundle", "artifact" (path or ""), "identity", "issuer", "root"}.
Standard output: {"name": best CPU seconds, or what it says against the bundle}, each time for one round over all.
"""

import json
import sys
import time
from pathlib import Path

from sigstore.models import Bundle, TrustedRoot  # type: ignore[import-not-found]  # only in that environment
from sigstore.verify import Verifier  # type: ignore[import-not-found]  # only in that environment
from sigstore.verify.policy import Identity  # type: ignore[import-not-found]  # only in that environment


def main() -> None:
    cases = json.loads(sys.stdin.readline())
    verifiers = {root: Verifier(trusted_root=TrustedRoot.from_file(root)) for root in {case["root"] for case in cases}}
    answers = {case["name"]: once(case, verifiers[case["root"]]) for case in cases}
    sound = [case for case in cases if not isinstance(answers[case["name"]], str)]
    for _ in sys.stdin:
        for case in sound:
            answers[case["name"]] = once(case, verifiers[case["root"]])
        print(json.dumps(answers), flush=True)


def once(case: dict, verifier: Verifier) -> float | str:
    """CPU seconds from the bundle's text to acceptance, or the refusal."""
    text, policy = Path(case["bundle"]).read_text(), Identity(identity=case["identity"], issuer=case["issuer"])
    artifact = Path(case["artifact"]).read_bytes() if case["artifact"] else b""
    began = time.process_time()
    try:
        bundle = Bundle.from_json(text)
        if artifact:
            verifier.verify_artifact(artifact, bundle, policy)
        else:
            verifier.verify_dsse(bundle, policy)
    except Exception as error:  # noqa: BLE001 - whatever it says is the answer
        return f"{type(error).__name__}: {error}"[:200]
    return time.process_time() - began


if __name__ == "__main__":
    main()
