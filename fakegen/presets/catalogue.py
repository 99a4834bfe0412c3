"""Comparable facts of every preset. Numbers of parameters are stored, since counting takes torch, and seconds to import it."""

from __future__ import annotations

from typing import Any, NamedTuple

from fakegen.presets.table import PRESETS
from fakegen.presets.times import seconds_of_1000_steps


class Parameters(NamedTuple):
    """Numbers of parameters of the generator and the discriminator, for the preset's own source: all, and those trained."""

    g: int
    g_trainable: int
    d: int
    d_trainable: int


# As `fakegen.architectures.summary.parameters` counts them; a test compares.
PARAMETERS = {
    "digits": Parameters(213_760, 211_840, 57_857, 57_857),
    "digits-32": Parameters(567_360, 566_688, 42_624, 42_432),
    "dog-baseline": Parameters(781_760, 780_864, 664_320, 663_424),
    "dog-lr2e-4": Parameters(1_069_824, 1_068_928, 664_320, 663_424),
    "dog-lr3e-4": Parameters(1_069_824, 1_068_928, 664_320, 663_424),
    "mnist-digit": Parameters(7_017_729, 7_015_809, 6_952_257, 6_950_337),
    "svhn-digit": Parameters(8_199_427, 8_197_507, 6_954_305, 6_952_385),
    "dense-1": Parameters(248_677_312, 248_669_632, 123_537_409, 123_537_409),
    "dense-2": Parameters(248_677_312, 248_669_632, 123_537_409, 123_537_409),
    "dense-3": Parameters(248_677_312, 248_669_632, 123_537_409, 123_537_409),
    "dense-4": Parameters(248_677_312, 248_669_632, 123_537_409, 123_537_409),
    "dense-5": Parameters(248_677_312, 248_669_632, 123_537_409, 123_537_409),
    "dense-6": Parameters(248_677_312, 248_669_632, 123_537_409, 123_537_409),
    "upsample-faces": Parameters(32_543_875, 32_543_491, 431_681, 431_681),
    "dcgan-64": Parameters(3_578_624, 3_576_704, 2_767_360, 2_765_568),
    "celeba-128": Parameters(14_953_987, 14_953_987, 4_218_881, 4_218_881),
    "conditional-32": Parameters(1_332_608, 1_331_712, 666_624, 665_856),
    "modern-32": Parameters(1_069_824, 1_068_928, 664_064, 663_296),
    "modern-64": Parameters(3_578_624, 3_576_704, 2_767_360, 2_765_568),
    "modern-128": Parameters(7_774_976, 7_772_032, 6_963_712, 6_960_896),
    "projected-64": Parameters(9_158_851, 9_153_475, 4_491_264, 994_816),
    "projected-128": Parameters(9_345_891, 9_340_259, 4_491_264, 994_816),
    "projected-256": Parameters(9_387_827, 9_382_131, 7_122_944, 3_624_448),
    "r3-64": Parameters(888_800, 888_800, 872_672, 872_672),
}


def catalogue() -> list[dict[str, Any]]:
    """Return one dict per preset."""
    return [
        {
            "name": preset.name,
            "summary": preset.summary,
            "system": preset.system,
            "published_on": preset.published_on,
            "real": preset.real,
            "resolution": preset.resolution,
            "z_dim": preset.z_dim,
            "params_g": PARAMETERS[preset.name].g,
            "params_g_trainable": PARAMETERS[preset.name].g_trainable,
            "params_d": PARAMETERS[preset.name].d,
            "params_d_trainable": PARAMETERS[preset.name].d_trainable,
            "optimiser": preset.optimiser,
            "rate": preset.lr,
            "batch": preset.batch,
            "epochs": preset.epochs if not preset.epoch_steps else None,
            "steps": preset.epochs * preset.epoch_steps if preset.epoch_steps else None,
            "s_per_1000_steps": seconds_of_1000_steps(preset.name),
        }
        for preset in PRESETS.values()
    ]
