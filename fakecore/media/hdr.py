"""Frames of high dynamic range, PQ or HLG, as sRGB: what a display of standard range shows of them."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273: SMPTE ST 2084, and hybrid log-gamma of ITU-R BT.2100
_WHITE_NITS = 203.0  # diffuse white, such as paper in the light (ITU-R BT.2408); it is 1 below
_PEAK_NITS = 1000.0  # what most videos are graded for, and the nominal display of HLG; brighter light is shown as white
_BAND = 1 << 17  # pixels at a time: their light fits into a processor's cache
_KNEE = 0.5  # light up to this share of diffuse white keeps its brightness
_HLG_GAMMA = 1.2  # of the whole system, for a display of 1000 nits
_LUMINANCE = (0.2627, 0.6780, 0.0593)  # of BT.2020's primaries
# From the primaries of H.273 to those of sRGB, both with the white D65; others are taken for those of sRGB.
_TO_SRGB = {
    9: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),  # BT.2020
    12: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),  # Display P3
}


def to_srgb(values: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Return encoded colours, uint16 RGB (H, W, 3), [0, 65535], as uint8 sRGB (H, W, 3).

    `transfer` is PQ or HLG, `primaries` a number of ITU-T H.273. Diffuse white becomes a light grey, which leaves room for
    highlights; these are compressed, up to _PEAK_NITS, without a change of hue.
    """
    height, width = values.shape[:2]
    pixels = np.empty((height, width, 3), np.uint8)
    step = max(1, _BAND // max(1, width))
    for start in range(0, height, step):
        pixels[start : start + step] = _band_to_srgb(values[start : start + step], transfer, primaries)
    return pixels


def _band_to_srgb(values: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Return `to_srgb` of some rows."""
    light = _light(transfer)[values]  # (H, W, 3), float32
    if transfer == HLG:  # the display's part: it raises contrast by luminance, not by channel
        luminance = cv2.transform(light, np.array([_LUMINANCE], np.float32)).reshape(*light.shape[:2], 1)
        light *= _PEAK_NITS / _WHITE_NITS * np.maximum(luminance, 1e-6) ** (_HLG_GAMMA - 1)
    if primaries in _TO_SRGB:
        light = cv2.transform(light, np.array(_TO_SRGB[primaries], np.float32))
    brightest = np.maximum(light.max(axis=2, keepdims=True), 1e-6)
    light *= _compressed(brightest) / brightest
    return _encoding()[(np.clip(light, 0, 1) * 65535 + 0.5).astype(np.uint16)]


def _compressed(light: np.ndarray) -> np.ndarray:
    """Return light, 1 is diffuse white, in [0, 1]: unchanged up to the knee, then with a slope that falls from 1, and 1 at the
    peak. With s the distance from the knee and S that of the peak, in units of the room above it: s (1 + s / S²) / (1 + s).
    """
    room = 1 - _KNEE
    peak = (_PEAK_NITS / _WHITE_NITS - _KNEE) / room
    above = np.clip((light - _KNEE) / room, 0, peak)
    return np.minimum(light, _KNEE) + room * above * (1 + above / peak**2) / (1 + above)


@cache
def _light(transfer: int) -> np.ndarray:
    """Return the light of each encoded value, float32 (65536,): for PQ in units of diffuse white, for HLG in [0, 1]."""
    value = np.linspace(0, 1, 65536)
    if transfer == PQ:  # SMPTE ST 2084, equation 4.1
        power = value ** (1 / 78.84375)
        nits = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
        return (nits / _WHITE_NITS).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # BT.2100, table 5
    return np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12).astype(np.float32)


@cache
def _encoding() -> np.ndarray:
    """Return the sRGB value, uint8 (65536,), of linear light from 0 to 1 (IEC 61966-2-1)."""
    light = np.linspace(0, 1, 65536)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * encoded).round().astype(np.uint8)
