"""Where weights of Inception-v3 are looked for, how they are fetched, and how their files are read: never unpickled."""

from __future__ import annotations

from pathlib import Path

import torch

from fakecore.errors import UserError
from fakecore.progress import say
from fakecore.runs.checkpoint import read_tensors

# Best first. Names under which torch-fidelity, pytorch-fid and torchvision leave their downloads in torch's cache.
FILES = (
    "weights-inception-2015-12-05-6726825d.pth",
    "pt_inception-2015-12-05-6726825d.pth",
    "inception_v3_google-0cc3c7bd.pth",
)
_FETCHED = FILES[-1]


def weights_at_hand() -> Path | None:
    """The best weights in torch's own cache of downloads, or None."""
    return next((path for name in FILES if (path := _torch_cache() / name).is_file()), None)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file, or of a .pth through torch's reader that admits nothing but tensors.

    Raises UserError for a file that is missing, damaged, or holds anything else.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}", expected="weights of Inception-v3: .safetensors or .pth")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file fails in whatever way it was made to
        reason = str(error).strip().splitlines()[0][:150] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path} could not be read as weights", got=reason, expected="a state dict that contains only tensors"
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise UserError(f"{path} could not be read as weights", expected="a state dict: a mapping of names to tensors")
    return tensors


def fetch_weights() -> Path:
    """Download torchvision's weights into torch's cache, checked against their hash. Raises UserError without network."""
    from torchvision.models import Inception_V3_Weights

    folder = _torch_cache()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _FETCHED
    say("downloading Inception-v3 (104 MB) through torchvision ...")
    try:
        prefix = path.stem.rpartition("-")[2]  # of the file's SHA-256, as torchvision names its files
        torch.hub.download_url_to_file(Inception_V3_Weights.IMAGENET1K_V1.url, str(path), prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            "the weights of Inception-v3 are missing, and could not be downloaded",
            got=f"{type(error).__name__}: {error}"[:150],
            expected=f"one of {', '.join(FILES)} in {folder}",
            remedy="Put one there, use --weights FILE, or use --features classes or random.",
        ) from None
    return path


def _torch_cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"
