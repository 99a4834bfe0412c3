"""Make the images of a set of blends, each from its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fakecore.device import derive_seed
from fakecore.media.pixels import fit_square
from fakecore.sets.folders import Source
from fakedetect.blends.blending import (
    RENDERED,
    Blend,
    align_face,
    apply_blend,
    blend_mask,
    draw_blend,
    match_colour,
)
from fakedetect.blends.meshes import carry, pose
from fakedetect.blends.photofaces import PhotoFace, cut_square, decode_row
from fakedetect.blends.rendering import Renderer
from fakedetect.blends.views import View, apply_view, draw_view, filmed

_SHARES = {"self": 0.35, "swap": 0.15, "fit": 0.2, "animate": 0.15, "render": 0.2, "generated": 0.1}  # in proportion
_ALIKE = 20  # a donor is drawn among so many faces with the most similar landmarks
_LARGEST = 256  # pixels: crops are blended at their own size, up to this
_AROUND = 1.4  # times the square: what is cut out, so that a turned view has no corners


@dataclass(frozen=True)
class _Shown:
    """A face in a view: uint8 RGB (S, S, 3); landmarks (5, 2) and mesh (468, 3) or None, in its pixels."""

    image: np.ndarray
    landmarks: np.ndarray
    mesh: np.ndarray | None


@dataclass(frozen=True)
class FacesOf:
    """A source and the faces found in it."""

    source: Source
    faces: list[PhotoFace]


class BlendMaker:
    """Makes pairs of a real and a fake: pair i is of face i // copies. Any thread may call it.

    `groups` tells which faces show one person. `renderers` and `generated`, faces that a network made, give more kinds.
    """

    def __init__(
        self,
        photos: FacesOf,
        groups: np.ndarray,
        size: int,
        copies: int,
        seed: int,
    ):
        self._photos, self._groups = photos, groups
        self._size, self._copies, self._seed = size, copies, seed
        self._shapes = np.stack([face.landmarks.ravel() for face in photos.faces])
        self._meshed = np.array([face.mesh is not None for face in photos.faces])
        self.renderers: Sequence[Renderer] = ()
        self.generated: FacesOf | None = None

    def reals(self, indices: range) -> np.ndarray:
        """Return real crops, uint8 (n, 3, size, size)."""
        return np.stack([self._finish(self.crop(i), i) for i in indices])

    def fakes(self, indices: range) -> np.ndarray:
        """Return blends, uint8 (n, 3, size, size)."""
        return np.stack([self._finish(self._blended(i), i) for i in indices])

    def facts(self, index: int) -> dict:
        """Return the parameters of fake `index` for its line in metadata.jsonl."""
        blend, donor, renderer = self._drawn(index)
        facts = blend.to_json()
        if donor is not None:
            facts["donor"] = donor.name
        return facts | ({} if renderer is None else {"renderer": renderer})

    def view(self, index: int) -> View:
        """Return the view of pair `index`."""
        return draw_view(np.random.default_rng(derive_seed(self._seed, "view", index)))

    def crop(self, index: int) -> np.ndarray:
        """Return the real face of pair `index` in its view, uint8 RGB (S, S, 3)."""
        return _show(self._photos, index // self._copies, self.view(index)).image

    def _drawn(self, index: int) -> tuple[Blend, _Donor | None, int | None]:
        """Return the parameters of fake `index`, the other face that it takes, and the number of the renderer."""
        random = np.random.default_rng(derive_seed(self._seed, "blend", index))
        place = index // self._copies
        kinds = self._possible(place)
        shares = np.array([_SHARES[kind] for kind in kinds])
        kind = str(random.choice(kinds, p=shares / shares.sum()))
        blend, donor, renderer = draw_blend(random, kind), None, None
        if kind in ("swap", "fit"):
            donor = _Donor(self._photos, self._alike(place, random, meshed=kind == "fit"))
        elif kind == "generated" and self.generated:
            donor = _Donor(self.generated, int(random.integers(len(self.generated.faces))))
        elif self.renderers and kind in RENDERED:
            renderer = int(random.integers(len(self.renderers)))
        elif kind == "animate" and blend.part == "whole":  # only moved, it would be no fake that one can see
            blend = replace(blend, part="face")
        return blend, donor, renderer

    def _possible(self, place: int) -> list[str]:
        """Return the kinds of fakes that can be made of a face."""
        others = self._groups != self._groups[place]
        can = {
            "swap": others.any(),
            "fit": self._meshed[place] and (others & self._meshed).any(),
            "animate": self._meshed[place],
            "render": len(self.renderers),
            "generated": self.generated,
        }
        return [kind for kind in _SHARES if can.get(kind, True)]

    def _alike(self, place: int, random: np.random.Generator, *, meshed: bool) -> int:
        """Return the number of a face of someone else with similar landmarks."""
        others = np.flatnonzero((self._groups != self._groups[place]) & (self._meshed | (not meshed)))
        apart = np.abs(self._shapes[others] - self._shapes[place]).mean(axis=1)
        nearest = np.argsort(apart, kind="stable")
        return int(others[nearest[random.integers(min(_ALIKE, len(others)))]])

    def _blended(self, index: int) -> np.ndarray:
        blend, donor, renderer = self._drawn(index)
        view = self.view(index)
        target = _show(self._photos, index // self._copies, view)
        outer, mesh = target.image, target.mesh
        inner = outer
        if donor is not None:
            other = _show(donor.of, donor.number, view)
            if blend.part == "whole":
                return other.image
            if blend.kind == "fit" and mesh is not None and other.mesh is not None:
                inner = carry(other.image, other.mesh, mesh, len(outer))
            else:
                inner = align_face(other.image, other.landmarks, target.landmarks, len(outer))
            if blend.matched:
                inner = match_colour(inner, outer, blend_mask(blend, target.landmarks, len(outer), mesh))
        elif blend.kind == "animate" and mesh is not None:
            mesh, before = pose(mesh, blend.yaw, blend.pitch, blend.opened), mesh
            inner = carry(outer, before, mesh, len(outer), still=True)
        if renderer is not None:
            inner = self.renderers[renderer].render(inner)
        return apply_blend(blend, outer, target.landmarks, inner, mesh)

    def _finish(self, image: np.ndarray, index: int) -> np.ndarray:
        return fit_square(filmed(self.view(index), image, str(index)), self._size, 3)


@dataclass(frozen=True)
class _Donor:
    """A face that another one takes the place of, by its number."""

    of: FacesOf
    number: int

    @property
    def name(self) -> str:
        return self.of.source.paths[self.of.faces[self.number].row]


def _show(of: FacesOf, number: int, view: View) -> _Shown:
    """Return a face in a view at its own size, up to _LARGEST."""
    face = of.faces[number]
    left, top, square = face.square
    side = min(_LARGEST, square)
    beyond = round((_AROUND - 1) / 2 * square)
    around = (left - beyond, top - beyond, square + 2 * beyond)
    shown = cut_square(decode_row(of.source, face.row), around, round(side * around[2] / square))
    scale = len(shown) / around[2]
    points = face.landmarks if face.mesh is None else np.vstack([face.landmarks, face.mesh[:, :2]])
    image, points = apply_view(view, shown, (points * square + beyond) * scale, side)
    if face.mesh is None:
        return _Shown(image, points, None)
    depth = face.mesh[:, 2] * square * scale * view.zoom
    return _Shown(image, points[:5], np.column_stack([points[5:], depth]))
