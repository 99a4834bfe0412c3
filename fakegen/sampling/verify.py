"""`verify`: regenerate a random sample of the fakes of a set, and compare them with its files."""

from __future__ import annotations

import tarfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.cpus import usable_cpus
from fakecore.device import choose_device, device_name
from fakecore.errors import UserError
from fakecore.files import read_json
from fakecore.labels import SPLITS
from fakecore.media.pixels import ImageError, decode_image, encode_jpeg
from fakecore.progress import progress_bar
from fakecore.runs.checkpoint import load_checkpoint
from fakecore.runs.runfolder import versions
from fakecore.sets.folders import walk_files
from fakecore.sets.imageset import ImageRecord, ImageSet, in_shard, is_imageset, read_imageset
from fakecore.sets.shards import member_places
from fakecore.sets.units import FORMATS
from fakegen.runs.run import Run, open_run
from fakegen.sampling.sampling import BLOCK, Generator, load_generator

# Packages whose versions may change the last bits of a fake.
PACKAGES = ("fakelab", "torch", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Verified:
    """The result of `verify`. `different` has {"file_name", "reason"} for each regenerated fake that differs."""

    set: Path
    run: Path
    checked: int
    different: list[dict]
    missing: list[str]  # file_names in the manifest that are not on disk
    surplus: list[str]  # file_names on disk that are not in the manifest
    notes: list[str]  # differences between this machine and the one that made the set

    @property
    def as_made(self) -> bool:
        """True if nothing differs."""
        return not (self.different or self.missing or self.surplus)


def verify(
    place: Path | str, *, count: int = 100, seed: int = 0, run: Path | str | None = None, device: str = "auto"
) -> Verified:
    """Regenerate `count` fakes of a set (all, if it has fewer), chosen at random by `seed`, and compare pixels of PNGs and
    bytes of JPEGs. Also compare the files on disk with those in the manifest.

    `place` is a set, or a run with a set. `run` is the run that made the set, by default searched for beside and above it.
    "auto" uses the kind of device that made the set, if available. Raises UserError if `place` is not a finished set or
    has no fakes of a run, or that run's checkpoint is not found.
    """
    place = Path(place)
    found = read_imageset(place / "set" if is_imageset(place / "set") else place)
    fakes = [record for record in found.records if record.checkpoint_sha256 is not None]
    if not fakes:
        raise UserError(f"{found.root} contains no fakes made by a fakelab run")
    if count < 1:
        raise UserError("--count is out of range", got=count, expected="1 or more")
    chosen = np.random.default_rng(seed).choice(len(fakes), min(count, len(fakes)), replace=False)
    sample = [fakes[index] for index in np.sort(chosen)]
    origin_device = str(found.info["origin"].get("device", ""))
    if device == "auto" and origin_device.startswith("cpu"):
        device = "cpu"
    source = _find_run(found.root, sample[0], Path(run) if run else None)
    missing, surplus = _compare_listing(found)
    absent = set(missing)
    present = [record for record in sample if record.file_name not in absent]
    different = list(_compare(found, present, source, device))
    notes = _differences(found, device_name(choose_device(device)))
    return Verified(found.root, source.path, len(present), different, missing, surplus, notes)


def _find_run(root: Path, record: ImageRecord, given: Path | None) -> Run:
    """Return the run whose checkpoint made `record`: the `given` one, or the first near the set that has the checkpoint."""
    root = root.resolve()
    name, sha256 = record.run or "", record.checkpoint_sha256 or ""  # every fake has both
    near = [root.parent, root.parent / name, root.parent.parent / name, root.parent / "runs" / name]
    places = [given] if given else near
    for place in places:
        if given or (place / "run.json").is_file():
            run = open_run(place)
            facts = run.checkpoint(record.epoch or 0).with_suffix(".json")
            if facts.is_file() and read_json(facts).get("sha256") == sha256:
                return run
    raise UserError(
        f"the checkpoint that made {root.name} was not found",
        got=f"none in {', '.join(map(str, places))}",
        expected=f"epoch {record.epoch} of the run {name}, sha256 {sha256[:12]}",
        remedy="Use --run RUN.",
    )


def _compare(found: ImageSet, sample: list[ImageRecord], run: Run, device: str) -> Iterator[dict]:
    """Regenerate the sample block by block, and yield {"file_name", "reason"} for each fake that differs."""
    blocks: dict[tuple, list[ImageRecord]] = defaultdict(list)
    for record in sample:
        made_by = record.epoch, record.checkpoint_sha256, record.truncation
        blocks[made_by, record.latent_seed, record.index // BLOCK].append(record)
    generators: dict[tuple, Generator] = {}
    for made_by, *_ in blocks:
        if made_by not in generators:
            epoch, sha256, truncation = made_by
            if load_checkpoint(run.checkpoint(epoch))[1]["sha256"] != sha256:
                raise UserError(f"the checkpoint of epoch {epoch} in {run.path} is not the one that made {found.root}")
            generator = load_generator(run.checkpoint(epoch), device)
            generators[made_by] = generator.truncated(1.0 if truncation is None else truncation)
    only = found.info["origin"].get("class")
    by_bytes = FORMATS[found.info["writer"]["format"]].encode is encode_jpeg

    def compare(item: tuple[tuple, list[ImageRecord]]) -> list[dict]:
        (made_by, seed, number), records = item
        generator, first = generators[made_by], number * BLOCK
        images = generator.block(seed, number, only)  # uint8 (64, C, R, R)
        classes = generator.block_classes(seed, number, only)
        different = []
        for record in records:
            reason = _difference(found, record, images[record.index - first], by_bytes)
            if record.class_ != (class_ := classes[record.index - first]):
                reason = f"its class is {class_}, not {record.class_}"
            if reason:
                different.append({"file_name": record.file_name, "reason": reason})
        return different

    with ThreadPoolExecutor(usable_cpus()) as pool, progress_bar("verifying", len(sample), "images") as bar:
        for records, differences in zip(blocks.values(), pool.map(compare, blocks.items()), strict=True):
            bar.advance(len(records))
            yield from differences


def _difference(found: ImageSet, record: ImageRecord, image: np.ndarray, by_bytes: bool) -> str | None:
    """Describe how the image on disk differs from `image`, uint8 (C, R, R), or return None."""
    try:
        data = found.read(record)
        if by_bytes:
            return None if data == encode_jpeg(image, "fake") else "its bytes differ"
        pixels = decode_image(data).transpose(2, 0, 1)  # (3, R, R); grey images have three equal channels
    except ImageError as error:
        return f"{error.status}: {error}"
    if pixels.shape[1:] != image.shape[1:]:
        return f"it is {pixels.shape[2]}x{pixels.shape[1]} pixels"
    distance = np.abs(pixels.astype(int) - image)
    return f"{(distance > 0).mean():.1%} of its values differ, by up to {distance.max()}" if distance.any() else None


def _compare_listing(found: ImageSet) -> tuple[list[str], list[str]]:
    """Return (file_names in the manifest but not on disk, file_names on disk but not in the manifest)."""
    listed = {record.file_name for record in found.records}
    present = set(_present(found))
    return sorted(listed - present), sorted(present - listed)


def _present(found: ImageSet) -> Iterator[str]:
    """Yield the file_names of all images in the split folders, including those in shards."""
    shards = {in_shard(record.file_name)[0] for record in found.records if in_shard(record.file_name)[1]}
    for split in SPLITS:
        for path in walk_files(found.root / split, []):
            name = path.relative_to(found.root).as_posix()
            if name not in shards:
                yield name
                continue
            try:
                members = member_places(path)
            except (OSError, tarfile.TarError):
                continue  # then all of its images are missing
            yield from (f"{name}/{member}" for member in members if not member.endswith(".json"))


def _differences(found: ImageSet, here: str) -> list[str]:
    """Return one line for each difference between this machine and the one that made the set."""
    made, now = found.info.get("versions", {}), versions()
    notes = [
        f"made with {name} {made[name]}, this machine has {now.get(name, 'none')}: the last bits may differ"
        for name in PACKAGES
        if name in made and made[name] != now.get(name)
    ]
    device = found.info["origin"].get("device")
    if device and device != here:
        notes.append(f"made on {device}, regenerated on {here}: the last bits may differ")
    return notes
