"""Find, download and read weights of Inception-v3; files are never unpickled."""

from __future__ import annotations

from pathlib import Path

import torch

from fakecore.errors import UserError
from fakecore.progress import say
from fakecore.runs.checkpoint import read_tensors

# Best first: file names of torch-fidelity, pytorch-fid and torchvision in torch's cache.
FILES = (
    "weights-inception-2015-12-05-6726825d.pth",
    "pt_inception-2015-12-05-6726825d.pth",
    "inception_v3_google-0cc3c7bd.pth",
)
_DOWNLOADED = FILES[-1]


def find_weights() -> Path | None:
    """Return the path of the best weights in torch's cache, or None."""
    return next((path for name in FILES if (path := _torch_cache() / name).is_file()), None)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a .safetensors file, or of a .pth with torch's weights-only reader.

    Raises UserError for a file that is missing, damaged, or contains anything else.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}", expected="weights of Inception-v3: .safetensors or .pth")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or malicious file may fail in any way
        reason = str(error).strip().splitlines()[0][:150] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path} could not be read as weights", got=reason, expected="a state dict that contains only tensors"
        ) from None
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise UserError(f"{path} could not be read as weights", expected="a state dict: a mapping of names to tensors")
    return tensors


def download_weights() -> Path:
    """Download torchvision's weights into torch's cache and check their hash. Raises UserError if the download fails."""
    from torchvision.models import Inception_V3_Weights

    folder = _torch_cache()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _DOWNLOADED
    say("downloading Inception-v3 (104 MB) through torchvision ...")
    try:
        prefix = path.stem.rpartition("-")[2]  # torchvision's file names end with the start of the SHA-256
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
