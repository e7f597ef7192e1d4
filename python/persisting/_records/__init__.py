"""Records, which are dicts with str keys, as Arrow batches and back."""

from ._arrow import column_of, declared, default_row, normalise, pull, strip, visible
from ._decoder import RecordDecoder, decode
from ._encoder import UNTYPED, Message, RecordEncoder
from ._json import MAX_DEPTH

__all__ = [
    "MAX_DEPTH",
    "UNTYPED",
    "Message",
    "RecordDecoder",
    "RecordEncoder",
    "column_of",
    "declared",
    "decode",
    "default_row",
    "normalise",
    "pull",
    "strip",
    "visible",
]
