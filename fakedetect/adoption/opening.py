"""Open a detector that others trained: which network it is, its weights, and what its file says of its input and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from fakecore.errors import UserError
from fakecore.files import read_json
from fakecore.runs.checkpoint import read_tensors
from fakedetect.adoption.checkpoints import recognise
from fakedetect.adoption.graphs import open_graph
from fakedetect.adoption.keras import read_mesonet
from fakedetect.models.adopted import IMAGENET, Pixels
from fakedetect.models.backbones import read_weights
from fakedetect.models.bodies import TRANSFORMERS_EXTRA

_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Foreign:
    """A network that others trained. `body` describes it (see fakedetect.models.bodies), `tensors` are its weights."""

    body: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    sides: tuple[int, ...]  # what its input may measure, pixels
    pixels: Pixels | None = None  # the input, if it is known
    known_from: str = ""  # what says so
    labels: tuple[str, ...] = ()  # names of the outputs, if the file has them
    file: Path = field(default_factory=Path)

    @property
    def digest(self) -> str:
        """SHA-256 of the file of the weights."""
        return sha256(self.file.read_bytes()).hexdigest()


def open_foreign(path: Path, architecture: str | None = None, weights: Path | None = None) -> Foreign:
    """Open `path`: an .onnx file, a checkpoint (.safetensors; .pth, .pt, .bin or .ckpt with tensors only), MesoNet's .h5, or a
    folder of timm or of transformers.

    `architecture` is timm:NAME or torchvision:NAME, for a checkpoint that isn't recognised. `weights` are those of the CLIP
    encoder that a linear probe needs. Raises UserError for anything else.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise UserError(f"there is no model {path}", expected="a file or folder")
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        graph = open_graph(path)
        return Foreign(graph.body, graph.tensors, graph.sides, file=path)
    if suffix in (".h5", ".hdf5", ".keras"):
        body, tensors = read_mesonet(path)
        pixels = Pixels(256, 256, "RGB", (0.0,) * 3, (1.0,) * 3)
        return Foreign(body, tensors, (256,), pixels, "MesoNet", file=path)
    if suffix not in (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar"):
        expected = "an .onnx, .safetensors, .pth or .h5 file, or a folder of timm or transformers"
        raise UserError(f"{path} is not a model that can be adopted", got=suffix or "no suffix", expected=expected)
    found = recognise(read_weights(path, "MODEL"), architecture, weights)
    return Foreign(found.body, found.tensors, found.sides, found.pixels, found.name, file=path)


def _open_folder(folder: Path) -> Foreign:
    """Open a folder with config.json, as timm or transformers writes it."""
    if not (folder / "config.json").is_file():
        remedy = "Give the file of its weights."
        raise UserError(f"{folder} has no config.json", expected="a folder of timm or transformers", remedy=remedy)
    config = read_json(folder / "config.json")
    file = next((folder / name for name in _FOLDER_FILES if (folder / name).is_file()), None)
    if file is None:
        raise UserError(f"{folder} contains no weights", expected=" or ".join(_FOLDER_FILES))
    tensors = read_tensors(file) if file.suffix == ".safetensors" else read_weights(file, "MODEL")  # or a clear refusal
    if "architecture" in config:
        return _from_timm(config, tensors, file)
    names = config.get("architectures") or [""]
    if "model_type" not in config or not str(names[0]).endswith("ForImageClassification"):
        got, expected = names[0] or "no architecture", "a model for image classification"
        raise UserError(f"{folder / 'config.json'} describes another kind of model", got=got, expected=expected)
    return _from_transformers(folder, config, file)


def _from_timm(config: dict[str, Any], tensors: dict[str, torch.Tensor], file: Path) -> Foreign:
    own = config.get("pretrained_cfg") or {}
    classes = config.get("num_classes") or own.get("num_classes") or 1
    body = {"kind": "timm", "name": config["architecture"], "classes": classes}
    side = (own.get("input_size") or [3, 224, 224])[-1]
    pixels = None
    if "mean" in own and "std" in own:
        whole = round(side / (own.get("crop_pct") or 1.0))
        pixels = Pixels(side, whole, "RGB", tuple(own["mean"]), tuple(own["std"]))
    labels = tuple(config.get("label_names") or ())
    return Foreign(body, tensors, (side,), pixels, "config.json", labels, file)


def _from_transformers(folder: Path, config: dict[str, Any], file: Path) -> Foreign:
    kept = {name: value for name, value in config.items() if not name.startswith(("_", "transformers_", "torch_dtype"))}
    body = {"kind": "transformers", "config": json.loads(json.dumps(kept))}
    numbered: Mapping[str, str] = config.get("id2label") or {}
    labels = tuple(str(numbered[key]) for key in sorted(numbered, key=int))
    side, pixels = int(config.get("image_size") or 224), None
    path = folder / "preprocessor_config.json"
    if path.is_file():
        side, pixels = _processor(read_json(path), side)
    tensors = {f"model.{name}": tensor for name, tensor in _transformers_weights(folder, file).items()}
    return Foreign(body, tensors, (side,), pixels, path.name, labels, file)


def _transformers_weights(folder: Path, file: Path) -> dict[str, torch.Tensor]:
    """Return the weights, float32, by the names of the network that transformers builds: its own loader knows the names that
    files of other versions have.
    """
    try:
        from transformers import AutoModelForImageClassification
        from transformers.utils import logging
    except ImportError:
        raise UserError("this detector needs the package transformers", remedy=TRANSFORMERS_EXTRA) from None
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network, found = AutoModelForImageClassification.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            use_safetensors=file.suffix == ".safetensors",
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        what = f"transformers cannot open {folder}"
        raise UserError(
            what, got=str(error).strip().partition("\n")[0], expected="a folder of save_pretrained"
        ) from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    wrong = sorted(map(str, [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]))
    if wrong:
        got = f"{', '.join(wrong[:3])} missing or of another shape"
        raise UserError(f"{file} has not all weights of the network in config.json", got=got, remedy="Save it again.")
    return network.state_dict()


def _processor(facts: dict[str, Any], side: int) -> tuple[int, Pixels | None]:
    """Return the side, and the pixels, that preprocessor_config.json states."""

    def length(value: Any) -> int | None:
        if isinstance(value, dict):
            value = value.get("height") or value.get("shortest_edge")
        return int(value) if value else None

    whole = length(facts.get("size")) or side
    side = (length(facts.get("crop_size")) if facts.get("do_center_crop") else None) or whole
    if not facts.get("do_rescale", True):
        return side, None  # the range of the values is then unknown
    mean, std = (0.0,) * 3, (1.0,) * 3
    if facts.get("do_normalize", True):
        mean, std = (
            tuple(facts.get(name, default)) for name, default in zip(("image_mean", "image_std"), IMAGENET, strict=True)
        )
    return side, Pixels(side, max(whole, side), "RGB", mean, std)
