"""Records, which are dicts with str keys, as Arrow batches and back."""

from ._arrow import normalise, strip, visible
from ._decoder import RecordDecoder, decode
from ._encoder import UNTYPED, RecordEncoder

__all__ = [
    "UNTYPED",
    "RecordDecoder",
    "RecordEncoder",
    "decode",
    "normalise",
    "strip",
    "visible",
]
