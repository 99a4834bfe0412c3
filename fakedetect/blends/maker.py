"""Make the images of a set of blends, each from its number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fakecore.device import derive_seed
from fakecore.media.pixels import fit_square
from fakecore.sets.folders import Source
from fakedetect.blends.blending import Blend, align_face, apply_blend, blend_mask, draw_blend, match_colour
from fakedetect.blends.photofaces import PhotoFace, cut_square, decode_row
from fakedetect.blends.rendering import Renderer
from fakedetect.blends.views import View, apply_view, draw_view, filmed

_SHARES = {"self": 0.6, "swap": 0.3, "render": 0.3}  # of the fakes, in proportion; render only with renderers
_ALIKE = 20  # a donor is drawn among so many faces with the most similar landmarks
_LARGEST = 256  # pixels: crops are blended at their own size, up to this
_AROUND = 1.4  # times the square: what is cut out, so that a turned view has no corners


class BlendMaker:
    """Makes pairs of a real and a fake: pair i is of face i // copies. Any thread may call it."""

    def __init__(
        self,
        source: Source,
        faces: list[PhotoFace],
        groups: np.ndarray,
        size: int,
        copies: int,
        seed: int,
        renderers: Sequence[Renderer] = (),
    ):
        self._source, self._faces, self._groups = source, faces, groups
        self._size, self._copies, self._seed = size, copies, seed
        self._shapes = np.stack([face.landmarks.ravel() for face in faces])
        self.renderers = renderers

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
            facts["donor"] = self._source.paths[self._faces[donor].row]
        return facts | ({} if renderer is None else {"renderer": renderer})

    def view(self, index: int) -> View:
        """Return the view of pair `index`."""
        return draw_view(np.random.default_rng(derive_seed(self._seed, "view", index)))

    def crop(self, index: int) -> np.ndarray:
        """Return the real face of pair `index` in its view, uint8 RGB (S, S, 3)."""
        return self._viewed(index // self._copies, self.view(index))[0]

    def _drawn(self, index: int) -> tuple[Blend, int | None, int | None]:
        """Return the parameters of fake `index`, the number of the other face of a swap, and that of the renderer."""
        random = np.random.default_rng(derive_seed(self._seed, "blend", index))
        place = index // self._copies
        others = np.flatnonzero(self._groups != self._groups[place])
        kinds = [kind for kind in _SHARES if {"swap": len(others), "render": len(self.renderers)}.get(kind, 1)]
        shares = np.array([_SHARES[kind] for kind in kinds])
        kind = str(random.choice(kinds, p=shares / shares.sum()))
        blend, donor, renderer = draw_blend(random, kind), None, None
        if kind == "swap":
            apart = np.abs(self._shapes[others] - self._shapes[place]).mean(axis=1)
            nearest = np.argsort(apart, kind="stable")
            donor = int(others[nearest[random.integers(min(_ALIKE, len(others)))]])
        elif kind == "render":
            renderer = int(random.integers(len(self.renderers)))
        return blend, donor, renderer

    def _blended(self, index: int) -> np.ndarray:
        blend, donor, renderer = self._drawn(index)
        view = self.view(index)
        outer, landmarks = self._viewed(index // self._copies, view)
        if renderer is not None:
            return apply_blend(blend, outer, landmarks, self.renderers[renderer].render(outer))
        if donor is None:
            return apply_blend(blend, outer, landmarks)
        other, theirs = self._viewed(donor, view)
        inner = align_face(other, theirs, landmarks, len(outer))
        inner = match_colour(inner, outer, blend_mask(blend, landmarks, len(outer)))
        return apply_blend(blend, outer, landmarks, inner)

    def _viewed(self, place: int, view: View) -> tuple[np.ndarray, np.ndarray]:
        """Return a face in a view at its own size, up to _LARGEST: uint8 RGB (S, S, 3), and its landmarks, pixels."""
        face = self._faces[place]
        left, top, square = face.square
        side = min(_LARGEST, square)
        beyond = round((_AROUND - 1) / 2 * square)
        around = (left - beyond, top - beyond, square + 2 * beyond)
        shown = cut_square(decode_row(self._source, face.row), around, round(side * around[2] / square))
        landmarks = (face.landmarks * square + beyond) * len(shown) / around[2]
        return apply_view(view, shown, landmarks, side)

    def _finish(self, image: np.ndarray, index: int) -> np.ndarray:
        return fit_square(filmed(self.view(index), image, str(index)), self._size, 3)
