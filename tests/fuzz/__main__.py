"""Fuzzing: every parser of `verifier` with mutated inputs, and every format end to end.

python -m tests.fuzz [--inputs N] [--seed N] [--target NAME ...] [--jobs N] [--save FOLDER] [--list]

`--inputs` is the sum over all targets. Exit code 1: an input was not answered as promised; it is printed with target,
seed and number, from which it can be made again, and its bytes are kept in the folder.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz import forgery, runner
from tests.fuzz.runner import Report
from tests.fuzz.targets import TARGETS

SLICE: Final = 2_000
"""Inputs after which a process reports: often enough for a line of progress, seldom enough not to matter."""


class Slice(NamedTuple):
    """Some inputs of one target."""

    target: str
    seed: int
    start: int
    inputs: int


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    names = [*TARGETS, *forgery.NAMES]
    if options.list:
        print("\n".join(names))
        return 0
    wanted = options.target or names
    if unknown := [name for name in wanted if name not in names]:
        print(f"no target {', '.join(unknown)}; --list names them", file=sys.stderr)
        return 2
    began = time.monotonic()
    reports = fuzz(wanted, options.inputs, options.seed, options.jobs)
    findings = [finding for report in reports.values() for finding in report.findings]
    print("\n".join(table(reports)))
    done = sum(report.inputs for report in reports.values())
    print(
        f"\n{done:,} inputs, seed {options.seed}, {time.monotonic() - began:.0f} s; findings: {len(findings) or 'none'}"
    )
    for finding in findings:
        options.save.mkdir(parents=True, exist_ok=True)
        (options.save / finding.name).write_bytes(finding.data)
        print(f"  {finding}\n    kept as {options.save / finding.name}")
    return 1 if findings else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Mutated inputs for every parser.")
    made.add_argument("--inputs", type=int, default=1_000_000, help="how many, over all targets (default 1000000)")
    made.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    made.add_argument("--target", action="append", help="only this one; may be given several times")
    made.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    made.add_argument(
        "--save", type=Path, default=Path(".fuzz"), help="folder for inputs that were found (default .fuzz)"
    )
    made.add_argument("--list", action="store_true", help="name the targets and stop")
    return made


def fuzz(names: list[str], count: int, seed: int, jobs: int) -> dict[str, Report]:
    """Reports by target; `count` inputs spread evenly over the targets."""
    each = max(1, count // len(names))
    slices = [Slice(name, seed, start, min(SLICE, each - start)) for start in range(0, each, SLICE) for name in names]
    reports = {name: Report(name) for name in names}
    done = 0
    for part, report in worked_off(slices, jobs):
        merge(reports[part.target], report)
        done += part.inputs
        for finding in report.findings:
            print(f"\r{finding}", file=sys.stderr)
        if sys.stderr.isatty():
            print(f"\r{done:,} of {each * len(names):,}  {part.target:<40}", end="", file=sys.stderr, flush=True)
    return reports


def worked_off(slices: list[Slice], jobs: int) -> Iterator[tuple[Slice, Report]]:
    if jobs <= 1:
        runner.install()
        yield from ((part, work(part)) for part in slices)
        return
    with ProcessPoolExecutor(jobs, initializer=runner.install) as pool:
        waiting = {pool.submit(work, part): part for part in slices}
        for future in as_completed(waiting):
            yield waiting.pop(future), future.result()


def work(part: Slice) -> Report:
    """One slice; in a process of its own."""
    run = forgery.run if part.target in forgery.NAMES else runner.run
    return run(part.target, part.inputs, part.seed, start=part.start)


def merge(whole: Report, part: Report) -> None:
    whole.inputs += part.inputs
    whole.refused += part.refused
    whole.cpu_seconds += part.cpu_seconds
    whole.slowest_ms = max(whole.slowest_ms, part.slowest_ms)
    whole.peak_bytes = max(whole.peak_bytes, part.peak_bytes)
    known = {finding.what[:40] for finding in whole.findings}
    whole.findings += [finding for finding in part.findings if finding.what[:40] not in known]


def table(reports: dict[str, Report]) -> Iterator[str]:
    yield f"{'target':<40}{'inputs':>10}{'refused':>9}{'slowest ms':>12}{'peak MiB':>10}{'µs each':>9}"
    for name, report in reports.items():
        each = report.cpu_seconds / max(1, report.inputs) * 1e6
        peak = report.peak_bytes / 1024**2
        refused = report.refused / max(1, report.inputs)
        yield f"{name:<40}{report.inputs:>10,}{refused:>9.0%}{report.slowest_ms:>12.1f}{peak:>10.2f}{each:>9.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
