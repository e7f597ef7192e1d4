"""Steps of episodes: written once each, kept through crashes, read as arrays.

A rollout worker writes the steps of an episode as it goes, and a trainer draws batches of steps by
a sampler, or reads episodes, or steps that an SQL filter chooses. It needs numpy.
"""

from persisting._errors import DuplicateError
from persisting.trajectory._atif import ATIF_COLUMNS, export_atif, import_atif
from persisting.trajectory._batch import Batch
from persisting.trajectory._columns import Column
from persisting.trajectory._lerobot import export_lerobot, import_lerobot
from persisting.trajectory._merge import merge
from persisting.trajectory._minari import export_minari, import_minari
from persisting.trajectory._mix import Mix
from persisting.trajectory._openai import export_openai, import_openai
from persisting.trajectory._otel import SPAN_COLUMNS, export_otel, import_otel
from persisting.trajectory._packing import balance, pack
from persisting.trajectory._ragged import Packed, Padded, Ragged
from persisting.trajectory._rlds import import_rlds, rlds_steps
from persisting.trajectory._sampler import Groups, NStep, RateLimit, Sampler, Slices, Steps
from persisting.trajectory._samples import (
    SAMPLE_COLUMNS,
    export_areal,
    export_verl,
    import_areal,
    import_verl,
)
from persisting.trajectory._store import Episode, Lease, TrajectoryStore
from persisting.trajectory._writer import AsyncWriter, Writer

__all__ = [
    "ATIF_COLUMNS",
    "SAMPLE_COLUMNS",
    "SPAN_COLUMNS",
    "AsyncWriter",
    "Batch",
    "Column",
    "DuplicateError",
    "Episode",
    "Groups",
    "Lease",
    "Mix",
    "NStep",
    "Packed",
    "Padded",
    "Ragged",
    "RateLimit",
    "Sampler",
    "Slices",
    "Steps",
    "TrajectoryStore",
    "Writer",
    "balance",
    "export_areal",
    "export_atif",
    "export_lerobot",
    "export_minari",
    "export_openai",
    "export_otel",
    "export_verl",
    "import_areal",
    "import_atif",
    "import_lerobot",
    "import_minari",
    "import_openai",
    "import_otel",
    "import_rlds",
    "import_verl",
    "merge",
    "pack",
    "rlds_steps",
]
