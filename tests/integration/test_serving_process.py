"""The life of a process: what signals do, what a dead worker does, what the operations server says meanwhile."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streams.serving.probe import probe
from tests.helpers.command import revet
from tests.helpers.process import ROOT, environment

SCRIPT = """
import asyncio, os, sys, time
from streams.serving.process import run_process
from streams.settings import load_settings
from verifier.errors import PlaceUnavailable

async def idle(process):
    await process.stopping()

async def boom(process):
    await asyncio.sleep(0.3)
    raise ValueError("boom with hunter2hunter2")

async def unavailable(process):
    await asyncio.sleep(0.3)
    raise PlaceUnavailable("kafka-unavailable", "no broker answers")

async def through(process):
    return

async def deaf(process):
    await asyncio.sleep(600)

async def wedged(process):
    await asyncio.sleep(0.2)
    while True:
        pass

async def threads(process):
    await asyncio.to_thread(time.sleep, 600)

async def finishing(process):
    await process.stopping()
    await asyncio.sleep(0.3)
    print("finished what was begun", flush=True)

async def main(process):
    process.health.ready()
    process.health.progress("judge", 3, 17)
    if MODE == "stalled":
        process.health.waiting(5, "judge", 3)
    if MODE == "explained":
        process.health.waiting(5, "judge", 3)
        process.health.trouble("kafka", "no broker answers")
    process.spawn("worker", globals().get(MODE, idle)(process))
    await process.stopping()

MODE = sys.argv[1]
sys.exit(run_process("judge", load_settings(None, os.environ, {}), main))
"""


class Served:
    """One process, its address, and its log lines as they were written."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, object]] = []
        started = self.until("started")
        self.address = f"http://{started['operations']}"

    def until(self, event: str) -> dict[str, object]:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self.lines.append(json.loads(text))
            if self.lines[-1].get("event.action") == event:
                return self.lines[-1]
        pytest.fail(f"ended without {event}: {self.lines}")

    def get(self, path: str) -> tuple[int, dict[str, object]]:
        try:
            with urllib.request.urlopen(self.address + path, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def until_ready(self) -> None:
        """`started` is said when the port answers; the loop that says ready may come a moment later."""
        end = time.monotonic() + 30
        while probe(f"{self.address}/readyz")[0] != 0:
            assert time.monotonic() < end, self.get("/readyz")
            time.sleep(0.05)

    def wait(self, seconds: float = 30) -> int:
        code = self.process.wait(seconds)
        assert self.process.stderr is not None
        self.lines += [json.loads(text) for text in self.process.stderr if text.startswith("{")]
        return code


@contextmanager
def served(mode: str, **settings: str) -> Iterator[Served]:
    extra = {"REVET_SERVE_OPERATIONS": "127.0.0.1:0", "REVET_SERVE_LOG": "json", "REVET_LISTEN_TOKEN": "hunter2hunter2"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(**extra | settings),
    )
    with process:
        try:
            yield Served(process)
        finally:
            if process.poll() is None:
                process.kill()


def test_the_first_signal_lets_what_was_begun_finish() -> None:
    with served("finishing") as judge:
        judge.until_ready()
        judge.process.send_signal(signal.SIGTERM)
        assert judge.wait() == 0
        assert judge.process.stdout is not None
        assert "finished what was begun" in judge.process.stdout.read()
    assert [line["event.action"] for line in judge.lines] == ["started", "stopping", "ended"]


def test_the_second_signal_ends_at_once() -> None:
    with served("deaf") as judge:
        judge.process.send_signal(signal.SIGINT)
        judge.until("stopping")
        judge.process.send_signal(signal.SIGINT)
        assert judge.wait(10) == 128 + signal.SIGINT


def test_what_does_not_finish_in_time_is_cancelled_and_said() -> None:
    with served("deaf", REVET_SERVE_STOP_SECONDS="1") as judge:
        judge.process.send_signal(signal.SIGTERM)
        assert judge.wait() == 4
    assert "not finished 1 s after" in str(judge.lines)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["wedged", "threads"])
def test_what_cannot_be_cancelled_does_not_keep_the_process_alive(mode: str) -> None:
    """A computation without end, and a thread: neither hears anything. The kernel does it."""
    with served(mode, REVET_SERVE_STOP_SECONDS="1") as judge:
        judge.process.send_signal(signal.SIGTERM)
        assert judge.wait(60) not in {0, -signal.SIGKILL}


def test_two_signals_end_a_process_whose_loop_hangs() -> None:
    with served("wedged") as judge:
        time.sleep(1)
        assert judge.get("/healthz")[0] == 200  # answered though the loop hangs
        judge.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        judge.process.send_signal(signal.SIGTERM)
        assert judge.wait(10) == 128 + signal.SIGTERM


@pytest.mark.parametrize(("mode", "code"), [("boom", 70), ("unavailable", 4), ("through", 70)])
def test_a_worker_that_dies_takes_the_process_with_it(mode: str, code: int) -> None:
    with served(mode) as judge:
        assert judge.wait() == code
    died = [line for line in judge.lines if line.get("event.action") == "worker-died"]
    assert len(died) == 1
    assert died[0]["worker"] == "worker"
    assert "hunter2hunter2" not in str(judge.lines)


def test_a_stall_is_told_to_whoever_asks() -> None:
    with served("stalled", REVET_SERVE_STALLED_SECONDS="1") as judge:
        assert judge.get("/healthz")[0] == 200
        time.sleep(1.5)
        status, body = judge.get("/healthz")
        assert (status, body["status"]) == (503, "stalled")
        assert judge.get("/livez")[0] == 503
        code, line = probe(f"{judge.address}/healthz")
        assert code == 4
        assert "judge 3 stalled" in line
        ran = revet("doctor", "--probe", f"{judge.address}/healthz")
        assert ran.code == 4
        assert "judge 3 stalled" in ran.out
        with urllib.request.urlopen(f"{judge.address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert 'revet_lag{component="judge",shard="3"} 5.0' in text
        assert 'revet_stalled_seconds{component="judge"}' in text


def test_a_stall_that_a_dependency_explains_is_no_reason_to_start_anew() -> None:
    with served("explained", REVET_SERVE_STALLED_SECONDS="1") as judge:
        time.sleep(1.5)
        assert judge.get("/healthz")[0] == 503
        assert judge.get("/livez")[0] == 200
        assert judge.get("/readyz")[0] == 503


def test_an_address_that_is_taken_ends_the_start_with_its_name() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = subprocess.run(
            [sys.executable, "-c", SCRIPT, "idle"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=environment(REVET_SERVE_OPERATIONS=address),
            timeout=60,
        )
    assert ran.returncode != 0
    assert f"serve.operations: cannot listen on {address}" in ran.stderr


def test_nobody_there_is_an_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert probe(f"http://127.0.0.1:{port}/healthz")[0] == 4
    assert probe("localhost:9890")[0] == 2
    assert probe("https://127.0.0.1:9890/healthz")[0] == 2
