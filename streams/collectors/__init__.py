"""Records of a cluster in, observations out: pure parsers, fed by receivers and replays.

`read_stream` splits any input into items, `Stream.observe` reads them, `reduced_original` is what may be stored of one.
"""

from streams.collectors.deadletters import CODES, IGNORED
from streams.collectors.framing import MAX_BODY_BYTES, MAX_EVENT_BYTES, MAX_NESTING, Refused
from streams.collectors.intake import Raw, RawItem, Stream, observe, observe_stream, read_stream
from streams.collectors.originals import reduced_original

__all__ = [
    "CODES",
    "IGNORED",
    "MAX_BODY_BYTES",
    "MAX_EVENT_BYTES",
    "MAX_NESTING",
    "Raw",
    "RawItem",
    "Refused",
    "Stream",
    "observe",
    "observe_stream",
    "read_stream",
    "reduced_original",
]
