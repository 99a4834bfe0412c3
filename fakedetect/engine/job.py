"""The folder of a job: which files it judges, in parts, and the rows of the finished ones.

    job.json                      the request, and how many files and parts there are; written last, when the job is created
    listing.parquet               the paths of the files: a row group for each part
    parts/part-00000000.parquet   the rows of a part; it appears complete or not at all

A part that is judged twice, because a worker died between writing and reporting it, is written twice under the same name. So each
file has its rows once, whatever dies when.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib.metadata import version
from itertools import batched
from typing import Any

from fakecore import storage
from fakecore.errors import UserError
from fakedetect.engine.request import Request
from fakedetect.engine.rows import need_pyarrow, write_part

VERSION = 1
PART_FILES = 256
_PART = re.compile(r"part-(\d{8})\.parquet")
