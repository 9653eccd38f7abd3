"""A strict walker over DER (ITU-T X.690 clause 10), for certificates and timestamp tokens.

    doc = Der(data, "certificate-malformed")
    fields = doc.children(doc.root(SEQUENCE))
    serial = doc.unsigned(required(fields, INTEGER, doc, "serialNumber"))

One length per element: indefinite lengths, lengths longer than needed, tags of several bytes and elements that reach
over their parent are refused, since the two readings of such bytes are how one signature gets two documents. Nothing is
copied before it is asked for, nothing recurses: every level is one loop over bytes that the caller has bounded. The
order of a SET is not judged: timestamp authorities write unsorted ones, and whoever signs or hashes a SET fixes it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from verifier.errors import EvidenceError
from verifier.models import Micros
from verifier.times import since_epoch

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OID: Final = 0x06
UTF8_STRING: Final = 0x0C
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

Node = tuple[int, int, int, int]
"""An element: tag byte, offset of its first byte, of its content, and of the byte behind it."""

ABSENT: Final[Node] = (0, 0, 0, 0)
"""Stands for an optional element that is not there. No element has tag 0 here."""

OPTIONAL: Final = 0x100
"""Added to a tag of a layout (`Der.fields`)."""

INTEGER_BYTES: Final = 64
"""Bytes of an INTEGER that is read as a number. Serial numbers have at most 20; Python refuses to print 2000."""

OID_BYTES: Final = 64
"""Bytes of one object identifier. Real ones have 3 to 12."""


class Der:
    """One document and the code of the errors it may cause."""

    __slots__ = ("code", "data")

    def __init__(self, data: bytes, code: str) -> None:
        self.data = data
        self.code = code

    def refuse(self, message: str) -> EvidenceError:
        """The error to raise: not the DER that was expected."""
        return EvidenceError(self.code, message)

    def root(self, tag: int) -> Node:
        """The one element that is the whole document.

        Raises:
            EvidenceError: with the document's code; so do all methods.
        """
        found = self.children((0, 0, 0, len(self.data)))
        if len(found) != 1 or found[0][0] != tag:
            raise self.refuse(f"expected one DER element of tag {tag:#04x} and nothing behind it")
        return found[0]

    def children(self, node: Node) -> list[Node]:
        """The elements inside `node`, which they must fill exactly (X.690 clauses 8.1.3 and 10.1)."""
        data, at, end = self.data, node[2], node[3]
        found = []
        while at < end:
            start = at + 2
            if start > end:
                raise self.refuse("a DER element ends inside its header")
            tag, length = data[at], data[at + 1]
            if tag & 0x1F == 0x1F or tag == 0:
                raise self.refuse("a DER tag of more than one byte, or none")
            if length >= 0x80:
                start, length = self._long_length(at + 1, end)
            stop = start + length
            if stop > end:
                raise self.refuse("a DER element reaches over the one that holds it")
            found.append((tag, at, start, stop))
            at = stop
        return found

    def _long_length(self, at: int, end: int) -> tuple[int, int]:
        """(offset of the content, its length) of the length octets at `at`, the first of which is 0x80 or more."""
        count = self.data[at] & 0x7F
        start = at + 1 + count
        if 0 < count <= 2 and start <= end:  # the usual ones, the quick way
            length = self.data[at + 1] if count == 1 else self.data[at + 1] << 8 | self.data[at + 2]
            if length >> (7 if count == 1 else 8):
                return start, length
        if count == 0:
            raise self.refuse("an indefinite length: BER, where DER is required")
        if count > 4 or start > end:
            raise self.refuse("a DER length beyond the document")
        length = int.from_bytes(self.data[at + 1 : start])
        if length < 0x80 or length >> (8 * (count - 1)) == 0:
            raise self.refuse("a DER length written with more bytes than it needs")
        return start, length

    def fields(self, node: Node, what: str, layout: tuple[int, ...]) -> list[Node]:
        """The elements inside `node`, one for each tag of `layout`, in this order and no others.

        A tag with the bit `OPTIONAL` may be missing: then `ABSENT` stands for it.
        """
        data, at, end = self.data, node[2], node[3]
        found = []
        for tag in layout:  # as `children` does it, in one pass: this loop is most of the cost of reading a token
            have = data[at] if at < end else 0
            if have != tag & 0xFF:
                if not tag & OPTIONAL:
                    raise self.refuse(f"{what}: an element is missing or not of tag {tag:#04x}")
                found.append(ABSENT)
                continue
            start = at + 2
            if start > end:
                raise self.refuse("a DER element ends inside its header")
            length = data[at + 1]
            if length >= 0x80:
                start, length = self._long_length(at + 1, end)
            stop = start + length
            if stop > end:
                raise self.refuse("a DER element reaches over the one that holds it")
            found.append((have, at, start, stop))
            at = stop
        if at != end:
            raise self.refuse(f"{what} holds an element that does not belong there")
        return found

    def only_child(self, node: Node, tag: int, what: str) -> Node:
        """The one element inside an explicit tag or a wrapper."""
        return self.fields(node, what, (tag,))[0]

    def content(self, node: Node) -> bytes:
        """The bytes inside."""
        return self.data[node[2] : node[3]]

    def raw(self, node: Node) -> bytes:
        """The element with its header."""
        return self.data[node[1] : node[3]]

    def unsigned(self, node: Node, what: str) -> int:
        """An INTEGER of zero or more, in its shortest form (X.690 clause 8.3)."""
        body = self.content(node)
        if not body or body[0] >= 0x80 or (len(body) > 1 and body[0] == 0 and body[1] < 0x80):
            raise self.refuse(f"{what}: expected an INTEGER that is not negative, in its shortest form")
        if len(body) > INTEGER_BYTES:
            raise self.refuse(f"{what}: an INTEGER of {len(body)} bytes, limit {INTEGER_BYTES}")
        return int.from_bytes(body)

    def true(self, node: Node) -> bool:
        """A BOOLEAN, 0xFF or 0x00 (X.690 clause 11.1)."""
        body = self.content(node)
        if body not in {b"\xff", b"\x00"}:
            raise self.refuse("a BOOLEAN that is neither 0xFF nor 0x00")
        return body == b"\xff"

    def bits(self, node: Node, what: str) -> tuple[int, bytes]:
        """(number of unused bits, bytes) of a BIT STRING (X.690 clause 11.2: unused bits are zero)."""
        body = self.content(node)
        unused = body[0] if body else 8
        if unused > 7 or (unused and (len(body) == 1 or body[-1] & ((1 << unused) - 1))):
            raise self.refuse(f"{what}: not a DER BIT STRING")
        return unused, body[1:]

    def text(self, node: Node, what: str) -> str:
        """The content as UTF-8."""
        try:
            return self.content(node).decode()
        except UnicodeDecodeError as error:
            raise self.refuse(f"{what} is not UTF-8") from error

    def time(self, node: Node, what: str) -> Micros:
        """A UTCTime or GeneralizedTime in Zulu time (RFC 5280 section 4.1.2.5; fractions by RFC 3161 section 2.4.2).

        Fractions finer than a microsecond are cut off.
        """
        body = self.content(node)
        whole, dot, fraction = body[:-1].partition(b".")
        if node[0] == UTC_TIME and len(whole) == 12 and not dot:
            whole = (b"19" if whole >= b"5" else b"20") + whole
        elif node[0] != GENERALIZED_TIME:
            raise self.refuse(f"{what} is not a time")
        digits = whole + fraction
        if body[-1:] != b"Z" or len(whole) != 14 or not digits.isdigit() or (dot and fraction[-1:] in {b"", b"0"}):
            raise self.refuse(f"{what} is not a DER time that ends in Z")
        parts = [int(whole[:4]), *(int(whole[i : i + 2]) for i in range(4, 14, 2))]
        try:
            moment = datetime(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], tzinfo=UTC)
        except ValueError as error:
            raise self.refuse(f"{what} is not a time that exists") from error
        return since_epoch(moment) + int(fraction[:6].ljust(6, b"0"))

    def oid(self, node: Node) -> str:
        """An OBJECT IDENTIFIER, dotted."""
        body = self.content(node)
        text = dotted(body) if len(body) <= OID_BYTES else ""
        if not text:
            raise self.refuse("not an OBJECT IDENTIFIER")
        return text


def optional(nodes: list[Node], tag: int) -> Node | None:
    """Takes the first of `nodes` when it has this tag."""
    return nodes.pop(0) if nodes and nodes[0][0] == tag else None


def required(nodes: list[Node], tag: int, doc: Der, what: str) -> Node:
    """Takes the first of `nodes`, which must have this tag.

    Raises:
        EvidenceError: it has not; the message names `what`.
    """
    if not nodes or nodes[0][0] != tag:
        raise doc.refuse(f"{what} is missing or of another type")
    return nodes.pop(0)


def finished(nodes: list[Node], doc: Der, what: str) -> None:
    """Refuses what nobody took.

    Raises:
        EvidenceError: an element is left; the message names `what`.
    """
    if nodes:
        raise doc.refuse(f"{what} holds an element that does not belong there")


@lru_cache(maxsize=1024)
def dotted(content: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's content; empty when it is none (X.690 8.19). Kept: few exist."""
    if not content or len(content) > OID_BYTES or content[-1] >= 0x80:
        return ""
    arcs: list[int] = []
    value, fresh = 0, True
    for byte in content:
        if fresh and byte == 0x80:  # a leading zero group: a second spelling of the same number
            return ""
        value, fresh = value << 7 | byte & 0x7F, byte < 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def oid_content(text: str) -> bytes:
    """The content octets of a dotted OBJECT IDENTIFIER: for tables of known ones."""
    first, second, *rest = map(int, text.split("."))
    out = bytearray()
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        out += bytes(reversed(groups))
    return bytes(out)
