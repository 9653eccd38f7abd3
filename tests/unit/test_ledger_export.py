"""One file for who has no access: what the product says of it, and what the checker that stands alone says, agree."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.events import LedgerEntry
from streams.ledger import checker
from streams.ledger.checking import Checker
from streams.ledger.custody import new_key, rotated
from streams.ledger.entries import act
from streams.ledger.exporting import ExportFile, export
from streams.ledger.found import Report
from streams.ledger.notes import LedgerKey
from streams.ledger.proving import prove
from streams.ledger.sealing import Sealer
from tests.helpers.ledgered import NAME, START, SqlitePlace, decisions
from verifier.errors import InputError
from verifier.times import HOUR, SECOND

Lines = list[dict[str, Any]]


@pytest.fixture
def place(tmp_path: Path) -> SqlitePlace:
    made = SqlitePlace(tmp_path)
    for first in range(0, 40, 10):
        made.write(decisions(10, first))
        made.seal()
    return made


@pytest.fixture
def file(place: SqlitePlace, tmp_path: Path) -> Path:
    return exported(place, tmp_path / "export.jsonl")


def exported(place: SqlitePlace, file: Path, since: int | None = None, until: int | None = None) -> Path:
    export(file, place.log(), place.store(), (place.key.key,), since, until, NAME)
    return file


def product(file: Path, place: SqlitePlace, *keys: LedgerKey) -> Report:
    opened = ExportFile(file)
    window = opened.window
    return Checker(opened, opened, keys or (place.key.key,)).check(window.since, window.until, place.now + HOUR)


def alone(file: Path, place: SqlitePlace, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, set[str]]:
    code = checker.main([str(file), "--key", place.key.key.line(), *more])
    lines = capsys.readouterr().out.splitlines()
    return code, {line.partition(":")[0] for line in lines[:-1]}


def edited(file: Path, edit: Callable[[Lines], object]) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    edit(lines)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def at(lines: Lines, kind: str, number: int) -> int:
    return [n for n, line in enumerate(lines) if kind in line][number]


# ------------------------------------------------------------------------------------------------ agreement


def swap_documents(lines: Lines) -> None:
    one, other = at(lines, "document", 3), at(lines, "document", 33)
    for name in lines[one]["document"].keys() - {"event.id", "@timestamp"}:
        lines[one]["document"][name], lines[other]["document"][name] = (
            lines[other]["document"][name],
            lines[one]["document"][name],
        )


EDITS: dict[str, tuple[Callable[[Lines], object], set[str]]] = {
    "a field": (lambda ls: ls[at(ls, "document", 7)]["document"].update({"event.reason": "x"}), {"record-changed"}),
    "a time": (
        lambda ls: ls[at(ls, "document", 7)]["document"].update({"@timestamp": "2026-11-18T11:00:00.000000Z"}),
        {"record-moved"},
    ),
    "no time": (lambda ls: ls[at(ls, "document", 7)]["document"].pop("@timestamp"), {"record-moved", "record-changed"}),
    "a document less": (lambda ls: ls.pop(at(ls, "document", 7)), {"record-missing"}),
    "a document twice": (lambda ls: ls.append(ls[at(ls, "document", 7)]), {"record-inserted"}),
    "a document more": (
        lambda ls: ls.append({"document": ls[at(ls, "document", 7)]["document"] | {"event.id": "v1:x"}}),
        {"record-inserted"},
    ),
    "two swapped": (swap_documents, {"records-swapped", "record-changed"}),
    "an entry less": (lambda ls: ls[at(ls, "entries", 3)]["entries"].pop(), {"entries-changed", "record-inserted"}),
    "an entry's hash": (
        lambda ls: ls[at(ls, "entries", 3)]["entries"][0].__setitem__(4, "00" * 32),
        {"entries-changed", "record-changed"},
    ),
    "entries swapped": (lambda ls: ls[at(ls, "entries", 3)]["entries"].reverse(), {"entries-changed"}),
    "a header's root": (lambda ls: ls[at(ls, "batch", 3)]["batch"].update(root="00" * 32), {"tail-cut"}),
    "the last header": (lambda ls: ls.pop(at(ls, "batch", 3)), {"tail-cut"}),
    "a header in the middle": (lambda ls: ls.pop(at(ls, "batch", 1)), {"tail-cut", "header-broken"}),
    "the last checkpoint": (lambda ls: ls.pop(at(ls, "checkpoint", 3)), {"unsigned"}),
    "garbage as checkpoint": (lambda ls: ls.append({"checkpoint": "x", "number": 1}), {"checkpoint-foreign"}),
    "nothing": (lambda ls: None, set()),
}


@pytest.mark.parametrize("name", EDITS)
def test_both_find_the_same(name: str, file: Path, place: SqlitePlace, capsys: pytest.CaptureFixture[str]) -> None:
    """Names may be finer in the product (a swap is two changes for the checker), never missing."""
    edit, wanted = EDITS[name]
    edited(file, edit)
    found = set(product(file, place).counts)
    code, said = alone(file, place, capsys)
    assert code == (1 if wanted else 0)
    assert found <= wanted
    assert said <= wanted
    assert bool(found) == bool(said) == bool(wanted)


def test_it_stands_alone(file: Path, place: SqlitePlace, tmp_path: Path) -> None:
    """In a folder of its own, without anything of ours to import."""
    copy = tmp_path / "alone" / "checker.py"
    copy.parent.mkdir()
    shutil.copy(checker.__file__, copy)
    call = [sys.executable, "-I", "-W", "error", str(copy), str(file), "--key", place.key.key.line()]
    done = subprocess.run(call, capture_output=True, text=True, cwd=copy.parent, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "as sealed: 40 documents, 41 entries, 4 batches, signed up to batch 3\n"


def test_it_imports_nothing_of_ours() -> None:
    text = Path(checker.__file__).read_text()
    assert not [
        line for line in text.splitlines() if line.startswith(("from streams", "from verifier", "import streams"))
    ]
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_compressed_file(place: SqlitePlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = exported(place, tmp_path / "export.jsonl.gz")
    assert gzip.decompress(file.read_bytes()).startswith(b'{"revet"')
    assert alone(file, place, capsys) == (0, set())
    assert product(file, place).fine


def test_a_window(place: SqlitePlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Documents of the window, entries of all: what is cut out of the window is missing, the rest is not asked for."""
    file = exported(place, tmp_path / "w.jsonl", START + 10 * SECOND, START + 20 * SECOND)
    assert alone(file, place, capsys) == (0, set())
    report = product(file, place)
    assert (report.fine, report.records, report.entries) == (True, 10, 41)
    edited(file, lambda lines: lines.pop(at(lines, "document", 4)))
    assert alone(file, place, capsys) == (1, {"record-missing"})
    assert set(product(file, place).counts) == {"record-missing"}


def test_acts(place: SqlitePlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Retention, refusals and a rotated key are understood by both."""
    new = new_key(tmp_path / "next.pem")
    gone = next(decisions(1, 12))
    place.delete(gone.home, [gone.id])
    place.delete(gone.home, [d.id for d in decisions(5)])
    place.act(act("refused", {"act": "refused"}, gone.time, home=gone.home, id_=gone.id))
    place.act(act("expired", {"act": "expired"}, START + 5 * SECOND, home=gone.home))
    place.act(rotated(NAME, new.key, place.key, "ann", "yearly", place.now))
    place.seal()
    place.sealer = Sealer(new)
    place.write(decisions(5, 90))
    place.seal()
    file = exported(place, tmp_path / "e.jsonl")
    assert alone(file, place, capsys) == (0, set())
    report = product(file, place)
    assert (report.fine, report.expired, report.refused) == (True, 5, 1)


@pytest.mark.parametrize(
    "note", ["", "[]", "{}", "null", '{"statement": 3}', '{"statement": "revet ledger restore v1\\n{}"}']
)
@pytest.mark.parametrize("kind", ["restored", "key"])
def test_acts_that_nobody_vouches_for(
    place: SqlitePlace, tmp_path: Path, capsys: pytest.CaptureFixture[str], note: str, kind: str
) -> None:
    """Whoever may write entries may write anything into them; neither program is stopped by it, nor believes it."""
    place.act(LedgerEntry(kind, "", "", place.now, b"\1" * 32, note))
    place.seal()
    file = exported(place, tmp_path / "e.jsonl")
    expected = {"restore-forged"} if kind == "restored" else set()
    assert alone(file, place, capsys)[1] == expected
    assert set(product(file, place).counts) == expected


def test_a_checkpoint_from_elsewhere(place: SqlitePlace, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The export was cut before the last batch; the auditor has a checkpoint of it from the folder."""
    edited(file, lambda lines: [lines.pop(at(lines, kind, 3)) for kind in ("checkpoint", "batch")])
    edited(file, lambda lines: [lines.pop(at(lines, kind, -1)) for kind in ("entries",)])
    edited(file, lambda lines: [lines.pop(at(lines, "document", -1)) for _ in range(10)])
    assert alone(file, place, capsys) == (0, set())
    last = max(place.folder.path.glob("*.txt"))
    assert alone(file, place, capsys, "--checkpoint", str(last)) == (1, {"tail-cut"})


@pytest.mark.parametrize("text", ["", "{}", "[]", "nothing", '{"revet": "ledger-export/v1"}', "{\n", '{"a": 1}\n{"b"'])
def test_what_is_no_export(tmp_path: Path, place: SqlitePlace, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x"
    file.write_text(text)
    assert alone(file, place, capsys)[0] == 2 if text else True
    with pytest.raises(InputError):
        product(file, place)


def test_without_a_key_nothing_is_believed(file: Path, place: SqlitePlace, capsys: pytest.CaptureFixture[str]) -> None:
    assert checker.main([str(file)]) == 2
    assert place.key.key.line() in capsys.readouterr().err


def test_a_broken_export_names_its_line(file: Path, place: SqlitePlace) -> None:
    edited(file, lambda lines: lines[45].update(entries=[[1, 2]], pack="x", time=1))
    with pytest.raises(InputError, match="line 46"):
        product(file, place)


def test_an_export_is_whole_or_not_there(place: SqlitePlace, tmp_path: Path) -> None:
    place.connection.execute("DROP TABLE record")
    with pytest.raises(InputError):
        exported(place, tmp_path / "e.jsonl")
    assert not list(tmp_path.glob("*e.jsonl*"))


# ------------------------------------------------------------------------------------------------ proofs


def proof_of(place: SqlitePlace, number: int) -> dict[str, Any]:
    (one,) = decisions(1, number)
    return prove(place.log(), place.store(), (place.key.key,), one.id)


@pytest.mark.parametrize("number", [0, 9, 10, 25, 39])
def test_a_proof_proves(number: int, place: SqlitePlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for indent in (None, 2):
        file = tmp_path / f"p{indent}.json"
        file.write_text(json.dumps(proof_of(place, number), indent=indent))
        assert alone(file, place, capsys) == (0, set())


PROOFS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "document": (lambda p: p["document"].update({"event.reason": "x"}), "record-changed"),
    "no document": (lambda p: p.update(document=None), "record-missing"),
    "entry": (lambda p: p["entry"].__setitem__(2, "v1:other"), "no-proof"),
    "index": (lambda p: p.update(index=p["index"] + 1), "no-proof"),
    "path": (lambda p: p["path"].pop(), "no-proof"),
    "batch": (lambda p: p["batches"][0].update(time=5), "checkpoint-forked"),
    "checkpoint": (lambda p: p.update(checkpoint=p["checkpoint"].replace("batch ", "batch 1")), "checkpoint-foreign"),
}


@pytest.mark.parametrize("name", PROOFS)
def test_a_changed_proof_does_not(
    name: str, place: SqlitePlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, wanted = PROOFS[name]
    proof = proof_of(place, 25)
    change(proof)
    file = tmp_path / "p.json"
    file.write_text(json.dumps(proof))
    code, said = alone(file, place, capsys)
    assert code == 1
    assert wanted in said


def test_a_proof_through_batches_that_nobody_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The process died before it signed; a later checkpoint covers the batch through the headers between."""
    place = SqlitePlace(tmp_path)
    for first in (0, 10):
        place.write(decisions(10, first))
        place.ledger.seal(Sealer(None), place.now, force=True)
    with pytest.raises(InputError, match="revet ledger seal"):
        proof_of(place, 3)
    place.write(decisions(10, 20))
    place.seal()
    proof = proof_of(place, 3)
    assert len(proof["batches"]) == 3
    file = tmp_path / "p.json"
    file.write_text(json.dumps(proof))
    assert alone(file, place, capsys) == (0, set())
    proof["batches"].pop(1)
    file.write_text(json.dumps(proof))
    assert alone(file, place, capsys) == (1, {"no-proof"})


def test_what_cannot_be_proven_is_named(place: SqlitePlace) -> None:
    with pytest.raises(InputError, match="no entry"):
        prove(place.log(), place.store(), (place.key.key,), "v1:x")
    place.write(decisions(1, 700))
    with pytest.raises(InputError, match="in no batch yet"):
        proof_of(place, 700)
