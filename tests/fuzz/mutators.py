"""What an attacker does to bytes: any bytes, and bytes of a format whose lengths he keeps right or breaks on purpose.

    mutate(seed, others, "der", Random(7))        one mutated input

Structured mutators read the seed, change the tree and write it again, so that the change gets past the outer layers
of a parser; where that fails they fall back to bytes. Everything follows from the `Random` that is given.
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

MOST_BYTES: Final = 64 * 1024
"""Bytes of a mutated input, unless its seed is larger. What limits are for has tables of its own in the unit tests;
here many small inputs find more than few large ones."""

INTEGERS: Final = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63,
    2**64 - 1,
)
"""Lengths and counts at the edges of their types."""

TOKENS: Final = (
    b"\x00",
    b"\xff" * 9,
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\x30\x80\x00\x00",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xc2\xff\xff\xff\xff\xff",
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    b"-----BEGIN PUBLIC KEY-----\n",
    b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
    b"\n\n",
    b"\r",
    b"\t",
    b" ",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"\\ud800",
    b"\\u0000",
    b"1e999",
    b"-0",
    b"NaN",
    b"9" * 400,
    b"9" * 5000,
    b"[" * 200,
    b'{"a":' * 200,
    b"(" * 200,
    b"*" * 200,
    b"?*" * 100,
    b"sha256:",
    b"sha256:" + b"a" * 64,
    b"@",
    b"%s%n",
    b"../" * 20,
    b"a" * 3000,
    b"&a [*a]",
    b"<<: *a",
    b"!!python/object:os.system ",
    b": ",
    b"- ",
    b"---\n",
)
"""Pieces of text and of formats that have broken parsers before."""


def mutate(seed: bytes, others: Sequence[bytes], family: str, random: Random) -> bytes:
    """One to four changes in a row; the family is one of `FAMILIES`."""
    data = seed
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        structured = FAMILIES[family]
        try:
            data = (
                structured(data, others, random)
                if structured and random.random() < 0.7
                else change(data, others, random)
            )
        except (ValueError, RecursionError, IndexError):
            data = change(data, others, random)
    return data[: max(MOST_BYTES, 2 * len(seed))]


# --------------------------------------------------------------------------------------------------------- any bytes


def change(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """One change that needs no format."""
    return random.choice(_PLAIN)(data, others, random)


def _flip(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    if not data:
        return b"\x80"
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _byte(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.randbytes(1) + data[at + 1 :]


def _truncate(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)] if random.random() < 0.7 else data[random.randrange(len(data) + 1) :]


def _delete(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    start, size = random.randrange(len(data) + 1), random.choice((1, 2, 3, 8, 64))
    return data[:start] + data[start + size :]


def _repeat(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    start = random.randrange(len(data) + 1)
    part = data[start : start + random.choice((1, 4, 16, 64, 512))]
    return data[:start] + part * random.choice((2, 2, 3, 10, 100)) + data[start:]


def _splice(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    other = random.choice(others) if others else data
    start = random.randrange(len(other) + 1)
    part = other[start : start + random.choice((4, 16, 64, 256, len(other)))]
    at = random.randrange(len(data) + 1)
    return data[:at] + part + data[at + random.choice((0, len(part))) :]


def _insert(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(TOKENS) + data[at:]


def _number(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    """A field of 1, 2, 4 or 8 bytes with an edge in it: lengths of TLS vectors, of MPIs, of packets."""
    size = random.choice((1, 2, 2, 3, 4, 8))
    at = random.randrange(len(data) + 1)
    old = int.from_bytes(data[at : at + size])
    new = random.choice((*INTEGERS, old + 1, old - 1, len(data), len(data) - at, old * 2))
    return data[:at] + (new % 256**size).to_bytes(size) + data[at + size :]


_PLAIN: Final = (_flip, _flip, _byte, _truncate, _delete, _repeat, _splice, _insert, _number)


# ---------------------------------------------------------------------------------------------------------------- DER

_Tree = list[Any]
"""[tag, content]: content is bytes, or a list of such nodes."""


def der(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A change to one element; lengths above it are right again, or one of them is broken."""
    tree: _Tree = [0, _der_nodes(data, 0)]
    nodes = list(_walk(tree))
    parent = random.choice(nodes)
    at = random.randrange(len(parent[1]))
    chosen = parent[1][at]
    match random.randrange(9):
        case 0:
            parent[1].pop(at)
        case 1:
            parent[1][at:at] = [chosen] * random.choice((1, 1, 2, 70))
        case 2:
            parent[1][at] = random.choice(nodes)[1][0]
        case 3:
            chosen[0] = random.choice(
                (0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x17, 0x18, 0x30, 0x31, 0xA0, 0xA3, 0x1F, 0x80)
            )
        case 4:
            parent[1][at] = [-1, _broken_length(_der_bytes(chosen), random)]
        case 5:
            chosen[1] = change(_der_content(chosen), others, random)
        case 6:
            chosen[1] = random.choice((b"", b"\0", b"\0\0", b"\xff" * 40, b"\x80\x01", b"\x7f" * 3000, b"a" * 70))
        case 7:
            other = random.choice(others) if others else data
            parent[1][at] = [-1, other[:MOST_BYTES]]
        case _:
            depth = random.choice((3, 40, 300))
            for _ in range(depth):
                chosen = [0x30, [chosen]]
            parent[1][at] = chosen
    return b"".join(map(_der_bytes, tree[1]))


def _der_nodes(data: bytes, depth: int) -> list[_Tree]:
    nodes, at = [], 0
    while at < len(data):
        tag, first = data[at], data[at + 1]
        count = first & 0x7F if first & 0x80 else 0
        size = int.from_bytes(data[at + 2 : at + 2 + count]) if count else first
        start = at + 2 + count
        if start + size > len(data) or first == 0x80:
            raise ValueError("not DER")
        nodes.append([tag, _der_inside(tag, data[start : start + size], depth)])
        at = start + size
    if not nodes:
        raise ValueError("nothing in it")
    return nodes


def _der_inside(tag: int, content: bytes, depth: int) -> bytes | list[_Tree]:
    if depth < 24 and content and (tag & 0x20 or (tag == 0x04 and content[0] in {0x30, 0x04, 0x02})):
        try:
            return _der_nodes(content, depth + 1)
        except (ValueError, IndexError):
            return content
    return content


def _walk(node: _Tree) -> list[_Tree]:
    """Nodes with children."""
    found, todo = [], [node]
    while todo:
        node = todo.pop()
        if isinstance(node[1], list) and node[1]:
            found.append(node)
            todo += node[1]
    return found


def _der_content(node: _Tree) -> bytes:
    return node[1] if isinstance(node[1], bytes) else b"".join(map(_der_bytes, node[1]))


def _der_bytes(node: _Tree) -> bytes:
    content = _der_content(node)
    if node[0] < 0:
        return content
    size = len(content)
    if size < 0x80:
        return bytes((node[0], size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((node[0], 0x80 | len(length))) + length + content


def _broken_length(element: bytes, random: Random) -> bytes:
    lengths = (
        b"\x80",
        b"\x81\x00",
        b"\x82\x00\x01",
        b"\x84\xff\xff\xff\xff",
        b"\x89" + b"\xff" * 9,
        b"\xff",
        b"\x00",
        b"\x7f",
    )
    return element[:1] + random.choice(lengths) + element[2:]


# --------------------------------------------------------------------------------------------------------------- CBOR


def cbor(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A head with another major type, length or argument; inside of byte strings, CBOR and DER again."""
    heads = _cbor_heads(data)
    at = random.choice(heads)
    head, size = data[at], {24: 1, 25: 2, 26: 4, 27: 8}.get(data[at] & 0x1F, 0)
    match random.randrange(6):
        case 0:
            return data[:at] + bytes([head & 0x1F | random.randrange(8) << 5]) + data[at + 1 :]
        case 1:
            return data[:at] + bytes([head & 0xE0 | random.choice((0, 23, 24, 25, 27, 28, 31))]) + data[at + 1 :]
        case 2:
            wide = bytes([head & 0xE0 | 27]) + random.choice(INTEGERS).to_bytes(8)
            return data[:at] + wide + data[at + 1 + size :]
        case 3:
            return (
                data[:at]
                + bytes([random.choice((0x9F, 0xBF, 0x5F, 0x7F, 0xFF, 0xF6, 0xF7, 0xFB, 0xC1, 0xC2, 0xD2))])
                + data[at:]
            )
        case 4:
            other = random.choice(heads)
            return data[:at] + data[other : other + random.choice((1, 2, 10, 100))] + data[at:]
        case _:
            return data[:at] + random.choice((b"\x81", b"\xc1", b"\xa1\x00")) * random.choice((2, 30, 5000)) + data[at:]


def _cbor_heads(data: bytes) -> list[int]:
    """Offsets of heads, also inside of byte strings that look like CBOR (the protected header is one)."""
    heads, at = [], 0
    while at < len(data):
        heads.append(at)
        major, more = data[at] >> 5, data[at] & 0x1F
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(more, 0)
        argument = int.from_bytes(data[at + 1 : at + 1 + size]) if size else more
        at += 1 + size
        looks_like_cbor = major == 2 and data[at : at + 1] in {b"\xa3", b"\xa4", b"\xa5", b"\xa6"}
        if major in {2, 3} and not looks_like_cbor:
            at += argument
    return heads


# ------------------------------------------------------------------------------------------------------------ OpenPGP


def openpgp(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Packets taken out, repeated, exchanged; their tags and lengths broken."""
    packets, at = [], 0
    while at < len(data):
        if at + 6 > len(data) or data[at] & 0xC0 != 0xC0 or data[at + 1] != 0xFF:
            raise ValueError("not written by tests.fuzz.world")
        size = int.from_bytes(data[at + 2 : at + 6])
        packets.append((data[at] & 0x3F, data[at + 6 : at + 6 + size]))
        at += 6 + size
    index = random.randrange(len(packets))
    tag, body = packets[index]
    match random.randrange(7):
        case 0:
            packets.pop(index)
        case 1:
            packets[index:index] = [packets[index]] * random.choice((1, 2, 40, 300))
        case 2:
            random.shuffle(packets)
        case 3:
            packets[index] = (random.choice((1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 17, 18, 20, 60, 63)), body)
        case 4:
            return (
                b"".join(_packet(*p) for p in packets[:index])
                + _odd_packet(tag, body, random)
                + b"".join(_packet(*p) for p in packets[index + 1 :])
            )
        case _:
            packets[index] = (tag, change(body, others, random))
    return b"".join(_packet(*p) for p in packets)


def _packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4) + body


def _odd_packet(tag: int, body: bytes, random: Random) -> bytes:
    head = bytes([0xC0 | tag])
    length = random.choice(
        (
            b"\xff\xff\xff\xff\xff",
            b"\xe0",
            b"\xfe",
            bytes([len(body) % 192]),
            b"\xdf\xff",
            b"\xff" + (len(body) + 1).to_bytes(4),
        )
    )
    if random.random() < 0.3:  # the old format, with an indeterminate length
        return bytes([0x80 | (tag & 15) << 2 | random.randrange(4)]) + body
    return head + length + body


def armor(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Damage inside of the base64 of PEM or armor, which is whole again afterwards."""
    lines = data.split(b"\n")
    marks = [n for n, line in enumerate(lines) if line.startswith(b"-----")]
    if len(marks) < 2:
        raise ValueError("no armor")
    pair = random.randrange(len(marks) // 2) * 2
    start, end = marks[pair] + 1, marks[pair + 1]
    try:
        content = b64decode(b"".join(lines[start:end]))
    except NotBase64 as error:
        raise ValueError("no base64") from error
    inner = openpgp if b"PGP" in lines[marks[pair]] else der
    changed = b64encode(inner(content, others, random))
    blank = [b""] if b"PGP" in lines[marks[pair]] else []
    return b"\n".join(
        [*lines[:start], *blank, *(changed[n : n + 64] for n in range(0, len(changed), 64)), *lines[end:]]
    )


# --------------------------------------------------------------------------------------------------------------- JSON

VALUES: Final[tuple[object, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**400,
    2**53 + 1,
    2**64,
    1e308,
    "",
    "0",
    "\ud800",
    "\u202e",
    "\x00",
    "a" * 5000,
    "A" * 4096,
    "é" * 400,
    "sha256:" + "0" * 64,
    "9" * 5000,
    "-9223372036854775809",
    [],
    {},
    [[]],
    [None],
    {"": None},
)


class _Pairs(list[tuple[str, Any]]):
    """An object as its members in order; names may repeat."""


def json_text(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """A change to the tree: members twice, other types, depth, numbers, texts; inside of base64 the format it holds."""
    tree = json.loads(data, object_pairs_hook=_Pairs)
    places = _json_places(tree)
    if not places:
        raise ValueError("a scalar")
    holder, key = random.choice(places)
    value = holder[key][1] if isinstance(holder, _Pairs) else holder[key]
    changed = _json_change(value, others, random)
    kind = random.randrange(8)
    if isinstance(holder, _Pairs):
        name = holder[key][0]
        if kind == 0:
            holder.pop(key)
        elif kind == 1:
            holder.insert(random.randrange(len(holder) + 1), (name, changed))
        elif kind == 2:
            holder[key] = (
                random.choice((name.upper(), name.capitalize(), name + "\u0000", "", "__proto__", name[:-1])),
                value,
            )
        else:
            holder[key] = (name, changed)
    elif kind == 0:
        holder.pop(key)
    elif kind == 1:
        holder[key:key] = [value] * random.choice((1, 2, 40, 300))
    else:
        holder[key] = changed
    return _json_bytes(tree)


def _json_places(tree: Any) -> list[tuple[Any, int]]:
    found, todo = [], [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            found += [(node, n) for n in range(len(node))]
            todo += [pair[1] for pair in node] if isinstance(node, _Pairs) else node
    return found


def _json_change(value: Any, others: Sequence[bytes], random: Random) -> Any:
    kind = random.random()
    if isinstance(value, str) and value and kind < 0.6:
        return _text_change(value, others, random)
    if kind < 0.7:
        for _ in range(random.choice((1, 5, 70, 400))):
            value = [value] if random.random() < 0.5 else _Pairs([("a", value)])
        return value
    return random.choice(VALUES)


def _text_change(text: str, others: Sequence[bytes], random: Random) -> str:
    """Damage inside of what the base64 holds, or to the spelling of the text."""
    try:
        raw = b64decode(text, validate=True) if random.random() < 0.8 else b""
    except ValueError:
        raw = b""
    if len(raw) > 8:
        inner = json_text if raw[:1] in {b"{", b"["} else der if raw[:1] == b"\x30" else change
        try:
            raw = inner(raw, others, random)
        except (ValueError, IndexError):
            raw = change(raw, others, random)
        return b64encode(raw).decode()
    at = random.randrange(len(text) + 1)
    pieces = (
        "=",
        "\n",
        " ",
        "-",
        "_",
        "A",
        "\u0410",
        "\ud800",
        "9" * 30,
        "*",
        ":",
        "/",
        "@",
        "%00",
        "\x1b[31m",
        "e5",
        ".",
    )
    if random.random() < 0.3:
        return text[:at]
    return text[:at] + random.choice(pieces) + text[at + random.randrange(2) :]


def _json_bytes(tree: Any) -> bytes:
    """Written without recursion, lone surrogates as escapes and members as often as they are there."""
    out: list[str] = []
    todo: list[Any] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, _Raw):
            out.append(node)
        elif isinstance(node, _Pairs | dict):
            members = node if isinstance(node, _Pairs) else list(node.items())
            parts: list[Any] = [_Raw("{")]
            for n, (name, value) in enumerate(members):
                parts += [_Raw("," * (n > 0) + json.dumps(name) + ":"), value]
            todo += reversed([*parts, _Raw("}")])
        elif isinstance(node, list):
            inner = [part for n, value in enumerate(node) for part in (*((_Raw(","),) if n else ()), value)]
            todo += reversed([_Raw("["), *inner, _Raw("]")])
        else:
            out.append(json.dumps(node))
    return "".join(out).encode()


class _Raw(str):
    """Text that is JSON already."""

    __slots__ = ()


# --------------------------------------------------------------------------------------------------------------- text


def text(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Lines taken out, repeated, exchanged, indented; words of other seeds."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            lines.pop(at)
        case 1:
            lines[at:at] = [lines[at]] * random.choice((1, 2, 50, 600))
        case 2:
            lines[at] = b" " * random.choice((1, 2, 3, 40)) + lines[at]
        case 3:
            lines[at] = lines[at].lstrip()
        case 4:
            other = (random.choice(others) if others else data).split(b"\n")
            lines.insert(at, random.choice(other))
        case _:
            words = lines[at].split(b" ")
            word = random.randrange(len(words))
            words[word] = change(words[word], others, random)
            lines[at] = b" ".join(words)
    return b"\n".join(lines)


Structured = Callable[[bytes, Sequence[bytes], Random], bytes]

FAMILIES: Final[dict[str, Structured | None]] = {
    "bytes": None,
    "der": der,
    "cbor": cbor,
    "openpgp": openpgp,
    "armor": armor,
    "json": json_text,
    "text": text,
}
"""Family of a target -> the mutator that knows the format."""
