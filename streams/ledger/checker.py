"""Check an export, or a proof, of a revet ledger. This file stands alone: Python 3.11 or newer and `cryptography`.

    python checker.py EXPORT.jsonl[.gz] --key NAME=KEY [--key …] [--checkpoint FILE …]
    python checker.py PROOF.json --key NAME=KEY

Get the key, and if you can some checkpoints, from somewhere else than whoever gave you the export: the line that
`revet ledger init` printed, the folder of checkpoints, a message. Without that you learn only that the file agrees with
itself. Exit code 0: everything is as it was sealed; 1: something is not, each on a line; 2: the file cannot be used.

What is checked, in this order:

 1. a leaf is SHA-256(0x00 || JSON of [form, kind, dataset, id, time, SHA-256 of the document, note])
 2. a batch's root is that of the Merkle tree of RFC 9162 over its leaves, nodes SHA-256(0x01 || left || right)
 3. a header is hashed as SHA-256("revet ledger batch v1", a line break, its JSON), and names the header before
 4. a checkpoint is a signed note (Ed25519) that names a header; it must be signed by a key you named, or one that was
    introduced by an entry under such a checkpoint, in a statement that such a key has signed
 5. a document's hash is SHA-256 of its JSON with sorted members, no spaces, no escapes of printable characters
 6. every document has an entry, and every entry of the window its document, unless it was erased, refused or expired,
    or lost in a restore that an act accepts: such an act is signed by itself, and told

This is written to be read, not to be fast, and shares no line with the program that makes ledgers.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORM = "revet-ledger-entry-v1"
Json = dict[str, Any]
Entry = list[Any]
"""[kind, dataset, id, time, SHA-256 of the document in hex, note]"""
HEADER_FIELDS = ("count", "earliest", "first", "latest", "number", "pack", "previous", "root", "time")


def canonical(value: object) -> bytes:
    """JSON with sorted members, without spaces, in UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def leaf_hash(entry: Entry) -> bytes:
    """Step 1. An entry is [kind, dataset, id, time, sha256, note]."""
    text = json.dumps([FORM, *entry], separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"\x00" + text).digest()


def tree_root(leaves: list[bytes]) -> bytes:
    """Step 2, as RFC 9162 2.1.1 defines it: split at the largest power of two that is smaller than the number."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def root_of_proof(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Step 2 the other way: where a proof leads, as RFC 9162 2.1.3.2 defines it; None when it is no proof."""
    if not 0 <= index < size:
        return None
    fn, sn, found = index, size - 1, leaf
    for step in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            found = hashlib.sha256(b"\x01" + step + found).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + step).digest()
        fn, sn = fn >> 1, sn >> 1
    return found if sn == 0 else None


def header_hash(header: Json) -> bytes:
    """Step 3."""
    text = canonical({name: header[name] for name in HEADER_FIELDS})
    return hashlib.sha256(b"revet ledger batch v1\n" + text).digest()


def read_note(note: str) -> tuple[str, int, bytes, int]:
    """What a checkpoint says: (ledger, size, header hash, batch)."""
    ledger, size, head, batch, _ = note.partition("\n\n")[0].split("\n")
    return ledger, int(size), base64.b64decode(head, validate=True), int(batch.split(" ")[1])


def signer_of(note: str, keys: dict[str, bytes]) -> str | None:
    """Step 4: the name of the key, of {name: 32 bytes}, that signed a note; None: none of them."""
    text, _, signatures = note.partition("\n\n")
    for line in signatures.splitlines():
        dash, name, value = [*line.split(" "), "", ""][:3]
        if dash == "\u2014" and name in keys:
            key = keys[name]
            mark = hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4]
            try:
                raw = base64.b64decode(value, validate=True)
                Ed25519PublicKey.from_public_bytes(key).verify(raw[4:], (text + "\n").encode())
            except (InvalidSignature, ValueError):
                continue
            if raw[:4] == mark:
                return name
    return None


def read_key(line: str) -> tuple[str, bytes]:
    """`NAME=KEY` as (name, 32 bytes)."""
    name, _, value = line.partition("=")
    return name, base64.b64decode(value, validate=True)


def read_statement(entry: Entry, form: str, keys: dict[str, bytes]) -> Json | None:
    """Step 4: what an act says that is signed by itself; None where it is of another form, or none of the keys did."""
    try:
        statement = str(json.loads(entry[5])["statement"])
    except (ValueError, KeyError, TypeError):
        return None  # anybody's words, sealed with the rest
    lines = statement.partition("\n\n")[0].split("\n")
    if len(lines) != 2 or lines[0] != form or signer_of(statement, keys) is None:
        return None
    said: Json = json.loads(lines[1])
    return said


def instant(text: object) -> int | None:
    """RFC 3339 in microseconds since 1970; None when it is none."""
    try:
        moment = datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


class Check:
    """One file."""

    def __init__(self, keys: dict[str, bytes], notes: list[str]) -> None:
        """`keys` and `notes`: what the auditor brought."""
        self.keys, self.notes = dict(keys), list(notes)
        self.problems: list[tuple[str, str]] = []
        self.heads: list[bytes] = []
        self.sizes: list[int] = []
        self.signed = -1
        self.counted = dict(keys)
        """Every key that counts or counted."""
        self.contradicting: list[tuple[int, bytes, str, str]] = []
        """(batch, header hash, what, text) of trusted checkpoints that are not of this log."""
        self.restores: list[Json] = []

    def wrong(self, kind: str, text: str) -> None:
        """Something is not as it was sealed."""
        self.problems.append((kind, text))

    # ------------------------------------------------------------------ steps 1 to 4

    def collect(self, lines: Iterable[Json]) -> None:
        """The checkpoints of the log, beside those that the auditor brought."""
        for line in lines:
            if "checkpoint" in line:
                try:
                    read_note(line["checkpoint"])
                except (ValueError, IndexError):
                    self.wrong("checkpoint-foreign", "a checkpoint in the log cannot be read")
                else:
                    self.notes.append(line["checkpoint"])

    def chain(self, lines: Iterable[Json]) -> list[tuple[int | None, Entry]]:
        """Follow the log. Gives the entries, and where each stands."""
        packs: list[tuple[str, list[Entry]]] = []
        entries: list[tuple[int | None, Entry]] = []
        acts: list[list[Entry]] = []
        size = 0
        for line in lines:
            if "entries" in line:
                packs.append((line["pack"], line["entries"]))
            elif "batch" in line:
                taken = self.taken(line["batch"], packs, size)
                if taken is None:
                    continue
                del packs[: len(taken)]
                inside = [entry for _, pack in taken for entry in pack]
                entries += [(len(self.heads) - 1, entry) for entry in inside]
                acts.append([entry for entry in inside if entry[0] == "key"])
                size += line["batch"]["count"]
        entries += [(None, entry) for _, pack in packs for entry in pack]
        self.checkpoints(acts)
        self.accepted(entries)
        return entries

    def taken(
        self, header: Json, packs: list[tuple[str, list[Entry]]], size: int
    ) -> list[tuple[str, list[Entry]]] | None:
        """The packs of a batch that continues the chain; None for one that does not."""
        previous = self.heads[-1].hex() if self.heads else ""
        if (header["number"], header["first"], header["previous"]) != (len(self.heads), size, previous):
            return None  # of a sealer that came second; if it was signed, the checkpoint will tell
        taken, count = [], 0
        for number, (name, inside) in enumerate(packs, start=1):
            count += len(inside)
            if name == header["pack"]:  # one that was written twice has one name: the number of entries says which
                taken = packs[:number]
                if count >= header["count"]:
                    break
        leaves = [leaf_hash(entry) for _, pack in taken for entry in pack]
        if len(leaves) != header["count"] or tree_root(leaves).hex() != header["root"]:
            if not self.is_signed(header_hash(header)):
                return None
            self.wrong("entries-changed", f"batch {header['number']}: its entries are not those that were sealed")
        self.heads.append(header_hash(header))
        self.sizes.append(size + header["count"])
        return taken

    def is_signed(self, head: bytes) -> bool:
        """Does some checkpoint of a named key name this header?"""
        return any(read_note(note)[2] == head and signer_of(note, self.keys) for note in self.notes)

    def checkpoints(self, acts: list[list[Entry]]) -> None:
        """Step 4, batch by batch, so that a key counts from where it was introduced."""
        waiting: list[Entry] = []
        by_batch: dict[int, list[str]] = {}
        for note in dict.fromkeys(self.notes):
            by_batch.setdefault(read_note(note)[3], []).append(note)
        for number, head in enumerate(self.heads):
            waiting += acts[number]
            for note in by_batch.pop(number, ()):
                _, size, named, _ = read_note(note)
                if signer_of(note, self.keys) is None:
                    self.wrong("checkpoint-foreign", f"batch {number}: a checkpoint by a key that does not count")
                elif named != head or size != self.sizes[number]:
                    text = f"batch {number}: a checkpoint names another batch"
                    self.contradicting.append((number, named, "checkpoint-forked", text))
                else:
                    self.signed = number
                    for entry in waiting:
                        said = read_statement(entry, "revet ledger rotation v1", self.keys)
                        if said is None:
                            continue  # the act that begins a ledger, or anybody's
                        name, key = read_key(said["key"])
                        self.keys[name] = self.counted[name] = key
                        self.keys.pop(str(said.get("retires")), None)
                    waiting = []
        for number in sorted(by_batch):
            for note in by_batch[number]:
                text = f"a checkpoint of batch {number}, and the log has {len(self.heads)} batches"
                if signer_of(note, self.keys):
                    self.contradicting.append((number, read_note(note)[2], "tail-cut", text))
                else:
                    self.wrong("checkpoint-foreign", text)
        if self.signed < len(self.heads) - 1:
            self.wrong("unsigned", f"batches from {self.signed + 1} on have no checkpoint of a key that counts")

    def accepted(self, entries: list[tuple[int | None, Entry]]) -> None:
        """Restores that acts accept, signed by a key that counts or counted; then what contradicts this log is told."""
        for _, entry in entries:
            if entry[0] != "restored":
                continue
            said = read_statement(entry, "revet ledger restore v1", self.counted)
            if said is None:
                self.wrong("restore-forged", "an act that accepts a restore is signed by no key that counts")
            else:
                self.restores.append(said)
        gone = {(number, head) for one in self.restores for number, head in one["abandoned"]}
        for number, head, kind, text in self.contradicting:
            if (number, head.hex()) not in gone:
                self.wrong(kind, text)

    def is_lost(self, first: int, last: int) -> bool:
        """Does an act accept a document as lost whose first and newest entry stand there?"""
        return any(
            last < one["size"] and any(begin <= first <= end for begin, end in one["lost"]) for one in self.restores
        )

    # ------------------------------------------------------------------ steps 5 and 6

    def documents(
        self, entries: list[tuple[int | None, Entry]], documents: Iterable[Json], window: tuple[int | None, int | None]
    ) -> int:
        """Documents against entries."""
        expected: dict[tuple[str, str], tuple[list[str], int, int | None]] = {}
        places: dict[tuple[str, str], list[int]] = {}
        excused: set[tuple[str, str]] = set()
        erased: dict[tuple[str, str], str] = {}
        expired: dict[str, int] = {}
        for sequence, (batch, (kind, home, name, time, digest, _)) in enumerate(entries):
            if kind == "record":
                places.setdefault((home, name), []).append(sequence)
                expected.setdefault((home, name), ([], time, batch))[0].append(digest)
            elif kind == "erased":
                erased[home, name] = digest
            elif kind == "refused":
                excused.add((home, name))
            elif kind == "expired":
                expired[home] = max(time, expired.get(home, time))
        seen: set[tuple[str, str]] = set()
        for body in documents:
            key = str(body.get("event.dataset")), str(body.get("event.id"))
            digest = hashlib.sha256(canonical(body)).hexdigest()
            named = " ".join(key)
            if key not in expected or key in seen:
                self.wrong("record-inserted", f"{named}: no entry is about it")
            elif key in erased:
                if digest != erased[key]:
                    self.wrong("erasure-undone", f"{named}: it was erased, and is there again")
            elif digest not in expected[key][0]:
                moved = instant(body.get("@timestamp")) != expected[key][1]
                kind = "record-moved" if moved else "record-changed"
                self.wrong(kind, f"{named} (batch {expected[key][2]}): it is not the document that was sealed")
            seen.add(key)
        for (home, name), (_, time, batch) in expected.items():
            inside = (window[0] is None or time >= window[0]) and (window[1] is None or time < window[1])
            gone = (home, name) not in seen and (home, name) not in erased and (home, name) not in excused
            lost = gone and self.is_lost(places[home, name][0], places[home, name][-1])
            if inside and gone and not lost and time >= expired.get(home, time):
                self.wrong("record-missing", f"{home} {name} (batch {batch}): it is not there")
        return len(seen)

    # ------------------------------------------------------------------ a proof

    def proof(self, proof: Json) -> None:
        """One document, its entry, the way to the root, and from there to the checkpoint."""
        entry, headers = proof["entry"], proof["batches"]
        path = [bytes.fromhex(step) for step in proof["path"]]
        root = root_of_proof(leaf_hash(entry), proof["index"], headers[0]["count"], path)
        if root is None or root.hex() != headers[0]["root"]:
            self.wrong("no-proof", f"the entry does not lead to the root of batch {headers[0]['number']}")
        for before, after in pairwise(headers):
            if after["previous"] != header_hash(before).hex():
                self.wrong("no-proof", f"batch {after['number']} does not name the one before")
        if signer_of(proof["checkpoint"], self.keys) is None:
            self.wrong("checkpoint-foreign", "the checkpoint is by a key that does not count")
        if read_note(proof["checkpoint"])[2] != header_hash(headers[-1]):
            self.wrong("checkpoint-forked", "the checkpoint names another batch")
        if proof["document"] is None:
            self.wrong("record-missing", "the document is not there any more; its entry is proven")
        elif hashlib.sha256(canonical(proof["document"])).hexdigest() != entry[4]:
            self.wrong("record-changed", "the document is not the one of the entry")


def lines_of(path: str) -> Iterator[Json]:
    """The lines of an export, or the one object of a proof."""
    with gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else Path(path).open(encoding="utf-8") as file:
        text = file.read(1)
        file.seek(0)
        if text != "{":
            raise ValueError("neither an export nor a proof")
        head = file.readline()
        file.seek(0)
        if not head.rstrip().endswith("}"):
            yield json.load(file)  # a proof may be printed over several lines
            return
        for line in file:
            yield json.loads(line)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Check an export or a proof of a revet ledger.")
    parser.add_argument("file")
    parser.add_argument("--key", action="append", default=[], metavar="NAME=KEY", help="a key you got elsewhere")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="FILE", help="a checkpoint from elsewhere")
    given = parser.parse_args(arguments)
    try:
        keys = dict(read_key(line) for line in given.key)
        check = Check(keys, [Path(path).read_text(encoding="utf-8") for path in given.checkpoint])
        told = checked(check, given.file)
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, StopIteration, RecursionError) as error:
        sys.stderr.write(f"cannot be checked: {type(error).__name__}: {shown(str(error)[:500])}\n")
        return 2
    for kind, text in check.problems:
        sys.stdout.write(f"{kind}: {shown(text)}\n")
    sys.stdout.write(f"{'NOT AS SEALED' if check.problems else 'as sealed'}: {shown(told)}\n")
    return 1 if check.problems else 0


def checked(check: Check, file: str) -> str:
    """Check a file; gives what it was, in words."""
    first = next(lines_of(file))
    if not check.keys:
        raise ValueError(f"name the key with --key; the file itself says: {', '.join(first.get('keys', []))}")
    if first.get("revet") == "ledger-proof/v1":
        check.proof(first)
        return f"the record {first['entry'][2]} is in batch {first['batches'][0]['number']}"
    if first.get("revet") != "ledger-export/v1":
        raise ValueError("neither an export nor a proof of a revet ledger")
    check.collect(lines_of(file))
    entries = check.chain(lines_of(file))
    bodies = (line["document"] for line in lines_of(file) if "document" in line)
    number = check.documents(entries, bodies, (first["since"], first["until"]))
    batches = f"{len(check.heads)} batches, signed up to batch {check.signed}"
    told = [f"; a restore was accepted by {one['by']}: {one['reason']}" for one in check.restores]
    return f"{number} documents, {len(entries)} entries, {batches}{''.join(told)}"


def shown(text: str) -> str:
    """Text from strangers, fit for a terminal."""
    return ascii(text)[1:-1]


if __name__ == "__main__":
    sys.exit(main())
