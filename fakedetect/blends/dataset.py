"""`blend`: a set of real face crops and of blends made from them. A pair of real and blend has the same view and encoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fakecore.device import derive_seed
from fakecore.errors import Interrupted, UserError
from fakecore.interrupt import StopRequest
from fakecore.labels import Label
from fakecore.media.duplicates import same_picture_groups
from fakecore.progress import progress_bar, say
from fakecore.runs.runfolder import refuse_used
from fakecore.sets.imageset import ImageRecord
from fakecore.sets.setwriter import ImageSetWriter
from fakecore.sets.sources import open_source
from fakecore.sets.splits import DEFAULT_SPLIT, split_groups
from fakecore.sets.units import Wanted
from fakedetect.blends.maker import BlendMaker, FacesOf
from fakedetect.blends.photofaces import MIN_FACE, find_faces, join_sources
from fakedetect.blends.rendering import train_renderers
from fakedetect.faces.finder import MARGIN, FaceFinder

_LEARNED = 2000  # pairs whose real crops the renderers learn from


@dataclass(frozen=True)
class BlendRecord(ImageRecord):
    """The line of a blend in metadata.jsonl: the fields of every image, and all parameters of the blend."""

    facts: dict = field(default_factory=dict)

    def to_json(self) -> dict:
        return {**super().to_json(), **self.facts}


@dataclass(frozen=True)
class Blended:
    """The result of `blend`. `unused`: {"path", "status", "error"} of photos without a usable face."""

    set: Path
    counts: dict
    unused: list[dict]


def blend(
    real: str | Sequence[str],
    out: Path | str,
    *,
    size: int = 128,
    copies: int = 1,
    seed: int = 0,
    margin: float = MARGIN,
    render: bool = False,
    generated: str | None = None,
    device: str = "auto",
    data_root: Path | None = None,
) -> Blended:
    """Write a set of `copies` pairs of each face of the photos `real` (one source, or several) into the new folder `out`: the
    face in a view, `size` pixels large, and a blend in the same view. Pair i depends only on the photos, `seed` and i. With
    `render`, small autoencoders are trained first, and render some of the faces. `generated` is a source of faces that a GAN
    made: a folder of images, a set, or a run.

    Raises UserError if fewer than three photos show a face, and Interrupted when stopped: the same call starts over.
    """
    out = Path(out)
    if not 16 <= size <= 1024:
        raise UserError("--size cannot be used", got=size, expected="16 to 1024 pixels")
    if copies < 1:
        raise UserError("--copies is out of range", got=copies, expected="1 or more")
    refuse_used(out, made_by="a set", marker="imageset.json")
    source = join_sources([open_source(one, data_root) for one in ([real] if isinstance(real, str) else real)])
    finder = FaceFinder(MIN_FACE, device)
    faces, thumbnails, unused = find_faces(source, finder, margin)
    groups = [source.groups[face.row] for face in faces]
    if len(faces) < 3:
        what = f"too few photos in {source.spec} show a face"
        raise UserError(what, got=len(faces), expected="three or more, hundreds are better")
    digests = [str(face.row) for face in faces]
    together = same_picture_groups(np.stack(thumbnails), digests, groups)
    splits = split_groups(together, DEFAULT_SPLIT, derive_seed(seed, "split"))
    maker = BlendMaker(FacesOf(source, faces), together, size, copies, seed)
    if generated:
        maker.generated = _generated_faces(generated, finder, margin, data_root)
    pairs = copies * len(faces)
    if render:
        learned = np.random.default_rng(derive_seed(seed, "learned")).permutation(pairs)[:_LEARNED]
        maker.renderers = train_renderers([maker.crop(int(i)) for i in learned], seed)

    def records(label: Label) -> Callable:
        def of(indices: range, file_name: Callable) -> list[ImageRecord]:
            made: list[ImageRecord] = []
            for i in indices:
                place = i // copies
                split, row = splits[place], faces[place].row
                facts = {"photo": source.paths[row], **maker.view(i).to_json()}
                facts |= {} if label == "real" else maker.facts(i)
                name, group = file_name(split, label, i), f"face {together[place]}"
                made.append(BlendRecord(name, label, split, i, group=group, facts=facts))
            return made

        return of

    wanted: dict[Label, Wanted] = {
        "real": Wanted(pairs, records("real"), maker.reals),
        "fake": Wanted(pairs, records("fake"), maker.fakes),
    }
    origin = {"made_by": "blend", "source": {"spec": source.spec}, "seed": seed, "copies": copies}
    origin |= {"renderers": len(maker.renderers), "generated": generated}
    origin |= {"faces": {"margin": margin, "align": False, "size": size}}
    writer = ImageSetWriter(out, wanted, resolution=size, channels=3)
    try:
        with StopRequest() as stop, progress_bar("blending", writer.total, "images") as bar:
            for listed in writer.write():
                bar.advance(listed)
                if stop.asked:
                    raise Interrupted(f"{out} is incomplete: remove it and repeat the command")
        counts = writer.finish(origin=origin)["counts"]
    finally:
        writer.close()
    return Blended(out, counts, unused)


def _generated_faces(spec: str, finder: FaceFinder, margin: float, data_root: Path | None) -> FacesOf | None:
    source = open_source(spec, data_root, label="fake")
    faces, _, _ = find_faces(source, finder, margin)
    if not faces:
        say(f"note: no face is found in the fakes of {source.spec}, so none is used")
    return FacesOf(source, faces) if faces else None
