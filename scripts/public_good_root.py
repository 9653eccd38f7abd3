"""Renews the public-good trust root that revet ships, from the Python distribution `sigstore`.

Run by hand, in a virtual environment that is thrown away afterwards; it needs nothing of this project's own:

    python -m venv /tmp/sigstore && /tmp/sigstore/bin/pip install --no-deps sigstore==4.5.1
    /tmp/sigstore/bin/python scripts/public_good_root.py

The distribution carries what it starts from: the trusted root, and the TUF root that leads to newer ones. Both are
copied byte for byte into `verifier/trust/`, beside a file that says where they come from and what they hash to. Review
the difference before it is committed: these keys decide what is believed.
"""

import argparse
import hashlib
import json
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import quote

INSTANCE = "https://tuf-repo-cdn.sigstore.dev"
FILES = {"trusted_root.json": "public-good.json", "root.json": "public-good-tuf-root.json"}
"""Name in the distribution -> name here."""
HEADER = "public-good.source.json"


def main() -> int:
    parser = argparse.ArgumentParser(description="Renew the public-good trust root from the installed sigstore.")
    parser.add_argument("--to", type=Path, default=Path(__file__).parents[1] / "verifier" / "trust")
    parser.add_argument("--date", default=datetime.now(UTC).date().isoformat(), help="day of the copy, YYYY-MM-DD")
    arguments = parser.parse_args()
    try:
        found = distribution("sigstore")
    except PackageNotFoundError:
        print("sigstore is not installed here; see the head of this file", file=sys.stderr)
        return 4
    folder = Path(str(found.locate_file("sigstore"))) / "_store" / quote(INSTANCE, safe="")
    texts = {target: (folder / source).read_bytes() for source, target in FILES.items()}
    header = {
        "date": arguments.date,
        "source": f"Python distribution sigstore {found.version}",
        "instance": INSTANCE,
        "sha256": {target: hashlib.sha256(text).hexdigest() for target, text in texts.items()},
    }
    for target, text in texts.items():
        json.loads(text)
        (arguments.to / target).write_bytes(text)
    (arguments.to / HEADER).write_text(json.dumps(header, indent=2) + "\n")
    print(json.dumps(header, indent=2))
    print("Now set the constants of verifier/trust/publicgood.py; a test compares them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
