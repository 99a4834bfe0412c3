"""Load images with their attributes: match names to files, decode each image once, split by group."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.device import derive_seed
from fakecore.errors import UserError, unknown_name
from fakecore.labels import SPLITS
from fakecore.messages import counted
from fakecore.progress import say
from fakecore.sets.copies import cached_groups
from fakecore.sets.folders import Source
from fakecore.sets.pixelcache import cached_pixels, source_channels
from fakecore.sets.sources import open_source
from fakecore.sets.splits import split_groups
from fakedetect.attributes.labels import LabelTable, Target, parse_targets, read_labels, shown

SPLIT = (60, 20, 20)  # system E's
GROUP_COLUMN = "identity"


@dataclass(frozen=True)
class AttributeImages:
    """Decoded images and their attributes: `images` uint8 (N, C, R, R), `truth` uint8 (N, T), 1 for yes, `splits` (N,).

    All lists have N items in the same order."""

    images: np.ndarray
    truth: np.ndarray
    splits: np.ndarray
    paths: list[str]
    groups: list[str | None]
    targets: list[Target]
    unused: list[dict]  # {"path", "status", "error"}
    label_counts: dict[str, dict[str, int]]  # every attribute of the file: see LabelTable.label_counts
    listed: int  # images that the file names
    origin: dict
    sha256: list[str]  # of the files' bytes

    @property
    def fingerprint(self) -> str:
        """Return a hash of all images, labels and splits."""
        facts = "".join(self.sha256) + "".join(self.splits)
        return hashlib.sha256(facts.encode() + self.truth.tobytes()).hexdigest()

    def rows(self, split: str) -> np.ndarray:
        """Return the row numbers of a split."""
        return np.flatnonzero(self.splits == split)

    def counts(self) -> dict[str, dict]:
        """Return {split: {"images": count, "yes": {target: count}}}."""
        found: dict[str, dict] = {}
        for split in SPLITS:
            own = self.truth[self.rows(split)]
            yes = {target.name: int(n) for target, n in zip(self.targets, own.sum(axis=0), strict=True)}
            found[split] = {"images": len(own), "yes": yes}
        return found


def load_attributes(
    spec: str,
    labels: Path,
    targets: str,
    *,
    resolution: int,
    group: str | None = None,
    shares: tuple[int, int, int] = SPLIT,
    seed: int = 0,
    data_root: Path | None = None,
) -> AttributeImages:
    """Return the images of the source `spec` that the file `labels` lists, with the values of `targets`, split by `seed`.

    Images with the same value in the column `group` (default: `identity`, if present) share a split, and so do duplicates.
    Images that cannot be decoded or have no labels, and names without an image, are listed in `unused`. Raises UserError
    if no image is left, or if an attribute has only one value.
    """
    table = read_labels(labels)
    wanted = parse_targets(targets, table)
    column = _group_column(table, group)
    source = open_source(spec, data_root)
    matched, unused = _match(source, table)
    unused += [{"path": path, "status": "unreadable", "error": why} for path, why in source.problems]
    truth = np.stack([target.truth(table) for target in wanted], axis=1)  # (lines of the table, T)
    lines = np.array(list(matched.values()))
    answered = np.isfinite(truth[lines]).all(axis=1)
    _require_both(truth[lines[answered]], wanted, table, unanswered=int((~answered).sum()))
    chosen, lines = np.array(list(matched))[answered], lines[answered]  # parallel: rows of the source, of the table
    known = source.paths
    paths = [known[row] for row in chosen]

    def read(index: int):
        return source.read(int(chosen[index]))

    stamp = f"{source.stamp}|{hashlib.sha256(chosen.tobytes()).hexdigest()}"
    channels = source_channels(paths, read)
    pixels = cached_pixels(paths, read, stamp, resolution=resolution, channels=channels)
    unused += pixels.unused
    kept = pixels.rows
    if not len(kept):
        raise UserError(f"none of the images in {spec} can be decoded", got=f"{len(paths):,}", expected="image files")
    groups = [table.columns[column][line] or None for line in lines[kept]] if column else None
    groups = groups or [source.groups[row] for row in chosen[kept]]
    answers = truth[lines[kept]].astype(np.uint8)
    _require_both(answers, wanted, table, unanswered=0)
    splits = _split(pixels.images, pixels.sha256, groups, answers, wanted, shares, seed)
    origin = {"data": spec, "labels": labels.name, "targets": targets, "split": list(shares), "group": column}
    return AttributeImages(
        images=pixels.images,
        truth=answers,
        splits=splits,
        paths=[paths[row] for row in kept],
        groups=groups,
        targets=wanted,
        unused=unused,
        label_counts=table.value_counts(),
        listed=len(table.names),
        origin=origin | {"unanswered": int((~answered).sum())},
        sha256=pixels.sha256,
    )


def _group_column(table: LabelTable, group: str | None) -> str | None:
    if group is not None and group not in table.columns:
        raise unknown_name("column", group, table.columns, where=f"in {table.path}")
    return group or (GROUP_COLUMN if GROUP_COLUMN in table.columns else None)


def _match(source: Source, table: LabelTable) -> tuple[dict[int, int], list[dict]]:
    """Return {row of the source: row of the table}, in the order of the source, and the unmatched entries.

    A name in the table is a path as the source lists it, or a file name without its folder.
    """
    exact = {name: row for row, name in enumerate(source.names)}
    by_file: dict[str, list[int]] = {}
    for row, name in enumerate(source.names):
        by_file.setdefault(Path(name).name, []).append(row)
    matched: dict[int, int] = {}
    absent, twice = [], []
    for line, name in enumerate(table.names):
        found = [exact[name]] if name in exact else by_file.get(name, [])
        if len(found) > 1:
            several = [source.names[row] for row in found]
            what = f"{table.path}: the name {name!r} fits several images of {source.spec}"
            raise UserError(what, got=shown(several), remedy="Name them by their paths.")
        if not found:
            absent.append(name)
        elif found[0] in matched:
            twice.append(name)
        else:
            matched[found[0]] = line
    if twice:
        raise UserError(f"{table.path} names {counted(len(twice), 'image')} more than once", got=shown(twice))
    if not matched:
        what = f"none of the {len(table.names):,} names in {table.path} is an image of {source.spec}"
        raise UserError(what, got=table.names[0], expected=f"names such as {source.names[0]}")
    own = table.path.resolve()
    unlabelled = [
        path
        for row, path in enumerate(source.paths)
        if row not in matched and (source.folder is None or Path(path).resolve() != own)
    ]
    if absent or unlabelled:
        say(
            f"note: of {len(table.names):,} names in {table.path}, {len(absent):,} are not in {source.spec}; of "
            f"{len(unlabelled) + len(matched):,} images there, {len(unlabelled):,} are not in {table.path.name}"
        )
    rows = [{"path": name, "status": "missing", "error": f"not in {source.spec}"} for name in absent]
    rows += [{"path": path, "status": "unlabelled", "error": f"not in {table.path}"} for path in unlabelled]
    return dict(sorted(matched.items())), rows


def _require_both(truth: np.ndarray, targets: list[Target], table: LabelTable, unanswered: int) -> None:
    """Raise UserError unless every target has images of both values."""
    for target, column in zip(targets, truth.T, strict=True):
        yes = int(column.sum())
        if yes in (0, len(column)):
            left_out = f", without {unanswered:,} that answer not all targets" if unanswered else ""
            raise UserError(
                f"the attribute {target.name!r} of {table.path} has one value only",
                got=f"{yes:,} yes and {len(column) - yes:,} no in {counted(len(column), 'image')}{left_out}",
                expected="images of both",
                remedy="Leave it out of --targets, or add images.",
            )


def _split(images, sha256, groups, truth: np.ndarray, targets: list[Target], shares, seed: int) -> np.ndarray:
    """Return the splits (N,). Groups and duplicates stay together; stratified by the rarest attribute value of each image."""
    together = cached_groups(images, sha256, groups)
    rarer = truth == (truth.mean(axis=0) < 0.5)  # (N, T): has it the value that fewer have?
    rank = np.argsort(np.argsort(rarer.sum(axis=0), kind="stable"), kind="stable")  # 0 for the rarest
    count = len(targets)
    strata = np.where(rarer, rank, count).min(axis=1)
    strata = np.unique(strata, return_inverse=True)[1]  # numbers from 0, as split_groups wants them
    splits = split_groups(together, shares, derive_seed(seed, "split"), strata)
    for number, target in enumerate(targets):
        for split in SPLITS:
            own = truth[splits == split, number]
            if len(np.unique(own)) < 2:
                yes = int(truth[:, number].sum())
                raise UserError(
                    f"the attribute {target.name!r} has one value only in the {split} split",
                    got=f"{yes:,} yes and {len(truth) - yes:,} no in all, in {len(np.unique(together)):,} groups",
                    expected="three groups or more with either value",
                    remedy="Copies, and pictures of one group, count as one: add others.",
                )
    return splits
