"""Every benchmark in one run: figures, the reference measured beside them, the ratio, the goal.

python -m tests.bench [--quick] [NAME ...]      names: the keys of BENCHES
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from tests.bench import (
    bench_admission,
    bench_engine,
    bench_fetch,
    bench_fleet,
    bench_index,
    bench_intake,
    bench_keyless,
    bench_ledger,
    bench_live,
    bench_parse,
    bench_pipeline,
    bench_pods,
    bench_questions,
    bench_replay,
    bench_report,
    bench_verdict,
    bench_verify,
)

Row = dict[str, object]

BENCHES: Final[dict[str, tuple[Callable[[], list[Row]], Callable[[], list[Row]]]]] = {
    "verify": (bench_verify.run, bench_verify.run),
    "keyless": (bench_keyless.run, partial(bench_keyless.run, 20)),
    "verdict": (bench_verdict.run, bench_verdict.run),
    "fetch": (bench_fetch.run, partial(bench_fetch.run, 200)),
    "parse": (bench_parse.run, bench_parse.run),
    "replay": (bench_replay.run, partial(bench_replay.run, 5_000)),
    "fleet": (bench_fleet.run, partial(bench_fleet.run, 2_000)),
    "pods": (bench_pods.run, partial(bench_pods.run, 2_000)),
    "intake": (bench_intake.run, partial(bench_intake.run, 10_000)),
    "admission": (bench_admission.run, partial(bench_admission.run, 2_000, 60)),
    "engine": (bench_engine.run, partial(bench_engine.run, 4_000, 2_000)),
    "index": (bench_index.run, partial(bench_index.run, 4_000)),
    "questions": (bench_questions.run, partial(bench_questions.run, 20_000)),
    "ledger": (bench_ledger.run, partial(bench_ledger.run, 5_000)),
    "live": (bench_live.run, partial(bench_live.run, 2_000, 4.0)),
    "report": (bench_report.run, partial(bench_report.run, 10_000)),
    "pipeline": (bench_pipeline.run, bench_pipeline.quick),
}
"""Name -> (in full, quick)."""

COLUMNS: Final = ("name", "ours_per_s", "reference_per_s", "ratio", "goal", "met")


def shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def told(row: Row) -> Iterable[str]:
    """One line of the table, and what else the row has below it."""
    name = str(row.get("name") or row.get("what"))
    first, *rest = (shown(row.get(column)) for column in COLUMNS)
    del first
    yield f"  {name:<64}" + "".join(f"{cell:>13}" for cell in rest)
    more = {
        key: value for key, value in row.items() if key not in (*COLUMNS, "what", "bench") and value not in ("", None)
    }
    if more:
        yield "      " + "; ".join(f"{key} {shown(value)}" for key, value in more.items())


def main(arguments: list[str]) -> int:
    quick = "--quick" in arguments
    wanted = [name for name in arguments if not name.startswith("-")] or list(BENCHES)
    if unknown := [name for name in wanted if name not in BENCHES]:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for name in wanted:
        began = time.monotonic()
        made = BENCHES[name][quick]()
        rows += made
        size = " (quick: smaller than what the goals are about)" if quick else ""
        print(f"\n{name}{size}, {time.monotonic() - began:.0f} s")
        print(f"  {'':<64}" + "".join(f"{title:>13}" for title in ("ours/s", "reference/s", "ratio", "goal", "met")))
        for row in made:
            print("\n".join(told(row)), flush=True)
    missed = [row.get("name") or row.get("what") for row in rows if row.get("met") is False]
    print(f"\ngoals missed: {', '.join(map(str, missed)) or 'none'}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--json"]:
        for bench_name in sys.argv[2:] or BENCHES:
            for line in BENCHES[bench_name][0]():
                print(json.dumps(line))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
