"""Sets of WebDataset shards, made from sets of single files."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

from fakecore.sets.shards import tar_end, tar_member


def write_shards(source: Path, root: Path, size: int) -> Path:
    """Write the images of the set `source`, byte by byte and in its order, as shards of up to `size` images at `root`."""
    shards: defaultdict[str, bytearray] = defaultdict(bytearray)
    seen: Counter[str] = Counter()
    lines = []
    for line in map(json.loads, (source / "metadata.jsonl").read_text().splitlines()):
        side = f"{line['split']}/{line['label']}"
        shard, member = f"{side}-{seen[side] // size:06d}.tar", f"{line['label']}-{line['index']:06d}"
        seen[side] += 1
        data = (source / line["file_name"]).read_bytes()
        line["file_name"] = f"{shard}/{member}.png"
        shards[shard] += tar_member(f"{member}.png", data) + tar_member(f"{member}.json", json.dumps(line).encode())
        lines.append(json.dumps(line) + "\n")
    for shard, members in shards.items():
        (root / shard).parent.mkdir(parents=True, exist_ok=True)
        (root / shard).write_bytes(bytes(members) + tar_end(len(members)))
    (root / "metadata.jsonl").write_text("".join(lines))
    (root / "imageset.json").write_bytes((source / "imageset.json").read_bytes())
    return root


def put(root: Path, files: dict[str, bytes], folder: str) -> None:
    """Put all files below `root` into `files`, by their URL path below `folder`, as those of stores.Web."""
    for path in root.rglob("*"):
        if path.is_file():
            files[f"/{folder}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
