"""`publish`: a folder that others can draw fakes from with torch alone, in the layout of a model on Hugging Face."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from safetensors.torch import save
from torch import nn

from fakecore.errors import UserError
from fakecore.files import read_jsonl, write_bytes, write_json
from fakecore.media.pixels import encode_png, enlarge, mosaic
from fakecore.runs.runfolder import refuse_used
from fakegen.runs.run import Run, open_run
from fakegen.sampling.requests import choose_epoch, load_epoch, note_unfinished
from fakegen.sampling.sampling import Generator

_SHOWN, _COLUMNS, _SEED = 64, 8, 1  # fakes in samples.png
_CHECKED = (1, 5)  # batches with which the exported program is compared with the generator


def publish(run_path: Path | str, out: Path | str, *, epoch: int | None = None) -> dict[str, Any]:
    """Write the generator of a run to the folder `out`, and return the content of its config.json: a program of torch.export
    with the weights (generator.pt2), the weights alone (generator.safetensors), samples, a model card, and load.py, which
    draws fakes. `epoch` defaults to the one with the lowest measured distance, else the last.

    Nothing that is written names a path of this machine. Raises UserError for an epoch without checkpoint, a folder in use, or
    a program that does not make the generator's images.
    """
    out = Path(out)
    run = open_run(Path(run_path))
    best = run.facts.get("best", {}).get("epoch")
    epoch = choose_epoch(run, best if epoch is None and best in run.epochs_on_disk() else epoch)
    generator = _in_full_precision(load_epoch(run, epoch, "cpu"))
    note_unfinished(run, [epoch])
    refuse_used(out, made_by="a published generator", marker="config.json")
    program = _exported(generator)
    out.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, out / "generator.pt2")
    weights = {name: tensor.detach().clone().contiguous() for name, tensor in generator.network.state_dict().items()}
    write_bytes(out / "generator.safetensors", save(weights, metadata={"format": "pt"}))
    shutil.copy(Path(__file__).with_name("load.py"), out / "load.py")
    fakes = generator.batch(_SEED, range(_SHOWN))
    picture = enlarge(mosaic(fakes, columns=_COLUMNS), max(1, 64 // generator.resolution))
    write_bytes(out / "samples.png", encode_png(picture, "fake"))
    facts = _facts(run, epoch, generator)
    write_json(out / "config.json", facts)
    write_bytes(
        out / "README.md", _card(run, epoch, facts, sum(tensor.numel() for tensor in weights.values())).encode()
    )
    return facts


def _in_full_precision(generator: Generator) -> Generator:
    """Return the generator of a run in bf16 with float32 weights: bf16 is slow on most CPUs."""
    return replace(generator, network=generator.network.float(), dtype=torch.float32)


class _Program(nn.Module):
    """float32 (N, z_dim), and int64 (N,) class numbers if conditional -> uint8 (N, C, R, R)."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.network = generator.network
        for tensor in (*self.network.parameters(), *self.network.buffers()):
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)  # some are views of larger tensors
        (self.low, self.high), self.steps = generator.facts["value_range"], generator.facts["levels"] - 1

    def forward(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        images = self.network(z, *(() if labels is None else (labels,)))
        levels = ((images - self.low) * (self.steps / (self.high - self.low))).round().clamp(0, self.steps)
        return (levels * (255 / self.steps)).round().to(torch.uint8)


def _exported(generator: Generator) -> torch.export.ExportedProgram:
    """Return the program, for any number of images. Raises UserError if it makes other images than the generator."""
    program = _Program(generator).eval()
    z_dim, classes = generator.facts["generator"]["z_dim"], len(generator.classes)
    draw = torch.Generator().manual_seed(0)

    def inputs(count: int) -> tuple[torch.Tensor, ...]:
        z = torch.randn(count, z_dim, generator=draw)
        return (z, torch.randint(classes, (count,), generator=draw)) if classes else (z,)

    count = torch.export.Dim("count", min=1)
    example = inputs(3)
    with torch.no_grad():
        made = torch.export.export(program, example, dynamic_shapes=tuple({0: count} for _ in example), strict=False)
        for size in _CHECKED:
            given = inputs(size)
            theirs, own = made.module()(*given), program(*given)
            if (apart := (theirs.int() - own.int()).abs().max().item()) > 1:
                got = f"images that differ by up to {apart} of 255"
                raise UserError("the exported program does not make the generator's images", got=got)
    for node in made.graph.nodes:
        node.meta.pop("stack_trace", None)  # names files of this machine
    return made


def _facts(run: Run, epoch: int, generator: Generator) -> dict[str, Any]:
    arguments = generator.facts["generator"]
    return {
        "model_type": "gan",
        "architecture": generator.facts["architecture"],
        "resolution": generator.resolution,
        "channels": generator.channels,
        "z_dim": arguments["z_dim"],
        "latent": generator.facts["latent"],
        "classes": generator.classes,
        "preset": run.preset.name,
        "epoch": epoch,
        "checkpoint_sha256": generator.facts["sha256"],
        "made_with": {"fakelab": version("fakelab"), "torch": version("torch")},
    }


def _card(run: Run, epoch: int, facts: dict[str, Any], parameters: int) -> str:
    measured = [line for line in read_jsonl(run.path / "quality.jsonl") if line.get("epoch") == epoch]
    source = run.facts["source"]
    environment = Environment(
        loader=PackageLoader("fakegen.publishing", "."), undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("card.md.j2").render(
        facts=facts,
        preset=run.preset,
        quality=measured[-1] if measured else None,
        source=PurePath(source["spec"]).name,
        images=source["images"]["train"],
        parameters=parameters,
        step=run.facts["step"] if epoch == run.facts["epoch"] else None,
        minutes=run.facts["timings"]["train_s"] / 60,
        device=run.facts["device"],
    )
