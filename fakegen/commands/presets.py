"""The command `presets`: options and output."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fakecore.commands.options import Json
from fakecore.messages import command, duration
from fakecore.report.tables import paragraph, table
from fakecore.settings import describe

if TYPE_CHECKING:
    from fakegen.presets.preset import Preset


def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="PRESET", help="Show every field of this preset, with its value and reason.")
    ] = None,
    as_json: Json = False,
) -> int:
    """List the GAN presets, or show every field of one preset.

    \b
    Examples:
      fakelab presets
      fakelab presets dcgan-64
    """
    if name is None:
        print_presets(as_json)
    else:
        print_preset(name, as_json)
    return 0


def print_presets(as_json: bool) -> None:
    """Print one line of comparable values per preset, with its summary below."""
    from fakegen.presets.catalogue import catalogue
    from fakegen.presets.times import measured_on

    rows = catalogue()
    if as_json:
        print(json.dumps(rows))
        return
    columns = ("name", "pixels", "reals", "G", "D", "batch", "length")
    keys = ("name", "resolution", "real", "params_g", "params_d", "batch")
    shown = [
        [_short(row[key]) if key.startswith("params") else row[key] for key in keys]
        + [f"{row['steps']:,} steps" if row["steps"] else f"{row['epochs']} epochs"]
        for row in rows
    ]
    header, *lines = table(columns, shown).splitlines()
    print(header)
    for line, row in zip(lines, rows, strict=True):
        print(line)
        print(paragraph(f"{row['summary']}{_time(row['s_per_1000_steps'])}", indent=4))
    print(paragraph(f"G and D: number of parameters. Times: on {measured_on()}."))
    print(paragraph(f"Show every field of a preset: {command('presets', 'NAME')}"))


def print_preset(name: str, as_json: bool) -> None:
    """Print the layers of a preset's networks, then every field with its value and reason.

    Raises UserError for an unknown name.
    """
    from fakegen.presets.catalogue import networks
    from fakegen.presets.table import get_preset
    from fakegen.presets.times import measured_on, seconds_of_1000_steps

    preset = get_preset(name)
    stored = networks(name)
    if as_json:
        columns = ("layer", "output", "parameters")
        named = {key: [dict(zip(columns, row, strict=True)) for row in rows] for key, rows in stored.layers.items()}
        print(json.dumps({**asdict(preset), "layers": named, "s_per_1000_steps": seconds_of_1000_steps(name)}))
        return
    print(paragraph(f"{preset.name}: {preset.summary}"))
    if preset.system:
        print(paragraph(f"System {preset.system}, published on {preset.published_on}."))
    seconds = seconds_of_1000_steps(name)
    if seconds is not None:
        print(paragraph(f"1,000 steps take about {duration(seconds)} on {measured_on()}."))
    for network, rows in stored.layers.items():
        total = sum(parameters for *_, parameters in rows)
        print(f"\n{table((network, 'output', 'parameters'), [*rows, ('all layers', '', total)])}")
    print("\n" + paragraph("Fields; change one with --set field=value:"))
    print(table(("field", "value", "why"), _settable(preset, stored.unused)))


def _settable(preset: Preset, unused: list[str]) -> list[tuple[str, str, str]]:
    from fakegen.presets.preset import FIXED

    rows = describe(preset)
    return [(name, str(value), why) for name, value, why in rows if name not in {*FIXED, *unused}]


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"; 1,000 steps: {duration(seconds)}"


def _short(number: int) -> str:
    """567360 -> "567 k", 3578624 -> "3.58 M"."""
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k"
