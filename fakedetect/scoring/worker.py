"""A process of `judge_many`: decodes photos, and reads what they say of their origin."""

from __future__ import annotations

from fakecore.sets.decoding import serve
from fakedetect.scoring.provenance import provenance_of

if __name__ == "__main__":
    serve(provenance_of)
