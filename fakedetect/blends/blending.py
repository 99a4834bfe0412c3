"""Fake faces without a generator: blend two versions of one face, or two faces, as a face swap does.

Self-blended images: Shiohara and Yamasaki 2022 (arXiv 2204.08376). Two faces: Face X-ray, Li et al. 2020 (arXiv 1912.13458);
Poisson blending: Perez, Gangnet and Blake 2003. Others are fitted to the mesh of the face that they replace, as FaceSwap does
(Roessler et al. 2019, arXiv 1901.08971, section 3.1), turned and opened as faces are that are animated, or rendered by a small
autoencoder.

Images are uint8 RGB (S, S, 3); landmarks (5, 2) in its pixels: eyes, nose, corners of the mouth; meshes as in
fakedetect.blends.meshes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np

from fakecore.media.pixels import is_grey
from fakedetect.blends.meshes import region_mask

KINDS = ("self", "swap", "fit", "animate", "render", "generated")
PARTS = ("face", "inner", "eyes", "mouth", "lower", "whole")
_PART_SHARES = {
    "self": (0.35, 0.25, 0.1, 0.15, 0.15, 0),
    "swap": (0.5, 0.3, 0.05, 0.1, 0.05, 0),
    "fit": (0.3, 0.55, 0, 0.1, 0.05, 0),
    "animate": (0.25, 0.15, 0, 0.1, 0.1, 0.4),
    "render": (0.3, 0.15, 0, 0.1, 0.05, 0.4),
    "generated": (0.4, 0.25, 0, 0, 0, 0.35),
}
OF_OTHERS = ("swap", "fit", "generated")  # kinds that take the face of someone else
RENDERED = ("render", "animate")  # kinds that renderers render
_POISSON = 0.4  # share of the kinds OF_OTHERS
_MATCHED, _HULL, _SHARP = 0.8, 0.6, 0.25  # shares: colours matched, masks by the mesh, hard edges
SOFTENINGS = ("none", "blur", "sharpen", "resize")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_GRID = 5  # control points of the elastic deformation along a side


@dataclass(frozen=True)
class Blend:
    """All parameters of one blend. Sizes are fractions of the side of the image, unless stated otherwise."""

    kind: str  # one of KINDS
    part: str  # what is replaced: one of PARTS
    inner_changed: bool  # whether the inner layer (the pasted one) or the outer one is recoloured and softened
    hue: float  # added, degrees
    saturation: float  # factor
    brightness: float  # added, grey levels
    contrast: float  # factor
    red: float  # added, grey levels
    blue: float
    softening: str  # one of SOFTENINGS
    strength: float  # of the softening, [0, 1]
    shift_x: float  # of the inner layer
    shift_y: float
    scale: float
    warp: float  # largest displacement of points of the inner layer
    warp_seed: int
    matched: bool  # whether another face takes the colours of the one it replaces
    yaw: float  # of an animated face, degrees
    pitch: float
    opened: float  # of its mouth, in distances between eyes and mouth
    poisson: bool  # whether the gradients of the layers are joined, rather than their colours
    hull: bool  # whether the mask is the hull of the mesh, where there is one, rather than an ellipse
    grow: float  # factor of the size of the mask
    bend: float  # largest displacement of the mask's border
    bend_seed: int
    edge: float  # width of the soft border
    opacity: float  # [0, 1]

    def to_json(self) -> dict:
        return {name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(self).items()}


def draw_blend(random: np.random.Generator, kind: str = "self") -> Blend:
    """Draw the parameters of a blend of one of KINDS at random."""
    rendered = kind in RENDERED
    colour = 0.3 if rendered else 1.0  # a renderer keeps colours, more or less

    def around(width: float, middle: float = 0.0) -> float:
        return float(random.uniform(middle - width, middle + width))

    return Blend(
        kind=kind,
        part=str(random.choice(PARTS, p=_PART_SHARES[kind])),
        inner_changed=bool(rendered or random.random() < 0.5),
        hue=around(8 * colour),
        saturation=around(0.3 * colour, 1.0),
        brightness=around(18 * colour),
        contrast=around(0.15 * colour, 1.0),
        red=around(12 * colour),
        blue=around(12 * colour),
        softening=str(random.choice(SOFTENINGS, p=(0.6, 0.0, 0.4, 0.0) if rendered else (0.25, 0.3, 0.15, 0.3))),
        strength=float(random.uniform(0.2, 1.0)),
        shift_x=around(0.025),
        shift_y=around(0.02),
        scale=around(0.04, 1.0),
        warp=float(random.random() < (0.7 if rendered else 0.3)) * float(random.uniform(0.003, 0.025)),
        warp_seed=int(random.integers(2**31)),
        matched=bool(random.random() < _MATCHED),
        yaw=around(18),
        pitch=around(10),
        opened=float(random.uniform(-0.08, 0.2)),
        poisson=bool(kind in OF_OTHERS and random.random() < _POISSON),
        hull=bool(random.random() < _HULL),
        grow=around(0.2, 1.0),
        bend=float(random.uniform(0.0, 0.04)),
        bend_seed=int(random.integers(2**31)),
        edge=float(random.uniform(0, 0.01) if random.random() < _SHARP else random.uniform(0.01, 0.08)),
        opacity=float(
            random.choice([0.4, 0.6, 0.8, 1.0], p=(0.0, 0.2, 0.2, 0.6) if rendered else (0.1, 0.15, 0.25, 0.5))
        ),
    )


def apply_blend(
    blend: Blend,
    outer: np.ndarray,
    landmarks: np.ndarray,
    inner: np.ndarray | None = None,
    mesh: np.ndarray | None = None,
) -> np.ndarray:
    """Return `outer` with a part of the face replaced by that of `inner`, which lies at the same landmarks; None: `outer`
    itself. `mesh` is where the replaced face lies. A blend of a grey image is grey. Deterministic.
    """
    side = len(outer)
    inner, grey = outer if inner is None else inner, is_grey(outer)
    if blend.inner_changed:
        inner = _changed(inner, blend)
    else:
        outer = _changed(outer, blend)
    if blend.warp:
        inner = _displaced(inner, blend.warp * side, blend.warp_seed, cv2.BORDER_REFLECT)
    centre = landmarks.mean(axis=0)
    matrix = np.array([[blend.scale, 0, 0], [0, blend.scale, 0]], np.float64)
    matrix[:, 2] = centre - blend.scale * centre + side * np.array([blend.shift_x, blend.shift_y])
    inner = cv2.warpAffine(inner, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    mask = blend_mask(blend, landmarks, side, mesh)
    if blend.poisson:
        inner = _poisson(inner, outer, mask)
    weight = blend.opacity * mask[..., None]
    mixed = weight * inner.astype(np.float32) + (1 - weight) * outer.astype(np.float32)
    if grey:  # a tint would tell the blend
        mixed = np.repeat((mixed @ _LUMA)[..., None], 3, axis=2)
    return mixed.round().clip(0, 255).astype(np.uint8)


def blend_mask(blend: Blend, landmarks: np.ndarray, side: int, mesh: np.ndarray | None = None) -> np.ndarray:
    """Return the mask, float32 (side, side) in [0, 1]: an ellipse over the part, or the hull of its mesh, bent and softened; or
    all of it.
    """
    if blend.part == "whole":
        return np.ones((side, side), np.float32)
    if blend.hull and mesh is not None:
        mask = region_mask(
            blend.part, mesh, side, 1 + 0.5 * (blend.grow - 1)
        )  # a hull fits better than an ellipse does
    else:
        centre, axes, angle = _ellipse(blend.part, landmarks)
        mask = np.zeros((side, side), np.float32)
        half = [max(1, round(blend.grow * axis)) for axis in axes]
        cv2.ellipse(mask, (round(float(centre[0])), round(float(centre[1]))), half, angle, 0, 360, 1.0, -1, cv2.LINE_AA)
    mask = _displaced(mask, blend.bend * side, blend.bend_seed, cv2.BORDER_CONSTANT)
    return np.clip(cv2.GaussianBlur(mask, (0, 0), max(0.3, blend.edge * side)), 0, 1)


def align_face(image: np.ndarray, landmarks: np.ndarray, wanted: np.ndarray, side: int) -> np.ndarray:
    """Return `image` turned, scaled and moved so that its landmarks lie at `wanted`, uint8 (side, side, 3)."""
    matrix, _ = cv2.estimateAffinePartial2D(landmarks.astype(np.float32), wanted.astype(np.float32), method=cv2.LMEDS)
    if matrix is None:
        raise ValueError("these landmarks cannot be aligned")
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def match_colour(image: np.ndarray, like: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return `image` with the mean and deviation of `like` within `mask`, in CIELAB (Reinhard et al. 2001)."""
    own, other = (cv2.cvtColor(one, cv2.COLOR_RGB2LAB).astype(np.float32) for one in (image, like))
    inside = mask > 0.5
    if inside.sum() < 16:
        return image
    for channel in range(3):
        a, b = own[..., channel][inside], other[..., channel][inside]
        own[..., channel] = (own[..., channel] - a.mean()) * np.clip(b.std() / max(a.std(), 1.0), 0.6, 1.6) + b.mean()
    return cv2.cvtColor(own.round().clip(0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def _ellipse(part: str, landmarks: np.ndarray) -> tuple[np.ndarray, tuple[float, float], float]:
    """Return centre, half axes (pixels) and angle (degrees) of the ellipse over a part of the face."""
    left, right, nose, mouth_left, mouth_right = np.asarray(landmarks, np.float64)
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    apart, tall = float(np.linalg.norm(right - left)), float(np.linalg.norm(mouth - eyes))
    apart, tall = max(apart, 0.6 * tall), max(tall, 0.6 * apart)  # turned or bowed heads
    angle = float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    down = (mouth - eyes) / max(np.linalg.norm(mouth - eyes), 1e-6)
    if part == "eyes":
        return eyes, (0.95 * apart, 0.38 * tall), angle
    if part == "mouth":
        return mouth + 0.15 * tall * down, (0.62 * apart, 0.55 * tall), angle
    if part == "lower":
        return mouth + 0.2 * tall * down, (0.8 * apart, 0.75 * tall), angle
    if part == "inner":
        return nose + 0.1 * tall * down, (0.85 * apart, 0.95 * tall), angle
    return nose + 0.05 * tall * down, (0.95 * apart, 1.15 * tall), angle


def recoloured(
    image: np.ndarray, hue: float, saturation: float, brightness: float, contrast: float, red: float, blue: float
):
    """Return an image after changes of colour, in the units of Blend."""
    # In floating point, rounded once: 8-bit HSV would leave gaps in the histogram, which no real image has.
    rgb = image.astype(np.float32)
    luma = rgb @ _LUMA
    chroma = (rgb - luma[..., None]) @ _rotation(hue).T
    rgb = luma[..., None] + saturation * chroma
    rgb = (rgb - 128) * contrast + 128 + brightness + np.array([red, 0, blue], np.float32)
    return rgb.round().clip(0, 255).astype(np.uint8)


def _changed(image: np.ndarray, blend: Blend) -> np.ndarray:
    """Return a layer after the changes of colour and sharpness."""
    layer = recoloured(image, blend.hue, blend.saturation, blend.brightness, blend.contrast, blend.red, blend.blue)
    side = len(layer)
    if blend.softening == "blur":
        return cv2.GaussianBlur(layer, (0, 0), 0.3 + blend.strength * side / 128)
    if blend.softening == "sharpen":
        soft = cv2.GaussianBlur(layer, (0, 0), max(0.5, side / 128))
        return cv2.addWeighted(layer, 1 + blend.strength, soft, -blend.strength, 0)
    if blend.softening == "resize":
        small = max(8, round(side * (1 - 0.6 * blend.strength)))
        reduced = cv2.resize(layer, (small, small), interpolation=cv2.INTER_AREA)
        return cv2.resize(reduced, (side, side), interpolation=cv2.INTER_LINEAR)
    return layer


def _rotation(degrees: float) -> np.ndarray:
    """Return the (3, 3) rotation of RGB about the grey axis, which turns the hue."""
    return cv2.Rodrigues(np.radians(degrees) * np.ones(3) / np.sqrt(3))[0].astype(np.float32)


def _poisson(inner: np.ndarray, outer: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return `outer` with the gradients of `inner` inside the mask."""
    inside = np.zeros(mask.shape, np.uint8)
    inside[2:-2, 2:-2] = (mask[2:-2, 2:-2] > 0.1) * 255  # the border of the image must stay fixed
    left, top, width, height = cv2.boundingRect(inside)
    if min(width, height) < 4:
        return inner
    return cv2.seamlessClone(inner, outer, inside, (left + width // 2, top + height // 2), cv2.NORMAL_CLONE)


def _displaced(layer: np.ndarray, most: float, seed: int, border: int) -> np.ndarray:
    """Return a layer whose points are displaced by up to `most` pixels, smoothly."""
    side = len(layer)
    offsets = np.random.default_rng(seed).uniform(-most, most, (2, _GRID, _GRID)).astype(np.float32)
    dx, dy = (cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in offsets)
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    return cv2.remap(layer, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=border)
