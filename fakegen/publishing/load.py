"""Draw fakes from the generator in this folder; needs torch alone. `python load.py 16` writes sixteen to fakes.ppm."""

import json
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent


def draw(count: int, seed: int = 0, only: str | None = None) -> torch.Tensor:
    """Return fakes, uint8 (count, channels, side, side), grey or RGB; of a generator with classes, `only` of one if given."""
    facts = json.loads((HERE / "config.json").read_text())
    generator = torch.export.load(HERE / "generator.pt2").module()
    random = torch.Generator().manual_seed(seed)
    if facts["latent"] == "uniform":
        z = torch.rand(count, facts["z_dim"], generator=random) * 2 - 1
    else:
        z = torch.randn(count, facts["z_dim"], generator=random)
    if not facts["classes"]:
        return generator(z)
    labels = torch.randint(len(facts["classes"]), (count,), generator=random)
    return generator(z, labels if only is None else torch.full_like(labels, facts["classes"].index(only)))


if __name__ == "__main__":
    images = draw(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
    row = torch.cat(list(images.expand(-1, 3, -1, -1)), dim=2)  # side by side, (3, side, count * side)
    header = f"P6 {row.shape[2]} {row.shape[1]} 255\n".encode()
    (HERE / "fakes.ppm").write_bytes(header + bytes(row.permute(1, 2, 0).flatten().tolist()))
