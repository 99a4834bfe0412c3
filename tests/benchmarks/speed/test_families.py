import numpy as np
from PIL import Image

from benchmarks.speed.families import FAMILIES, families, time_one
from fakegen.presets.table import PRESETS


def test_time_one_measures_training_and_writes_no_weights(tmp_path):
    photos = tmp_path / "photos" / "one-class"
    photos.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(photos / f"{number}.png")
    found = time_one("conditional-32", str(tmp_path / "photos"), str(tmp_path / "run"), 2, 8)
    assert found["images_per_s"] > 0 and found["peak_mb"] > 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_table_shows_where_a_batch_is_smaller_than_the_presets(tmp_path):
    text = families(tmp_path, tmp_path, lambda code: {"images_per_s": 4.0, "peak_mb": 10.0})
    lines = {line.split()[0]: line for line in text.splitlines()[1:] if line.split()[0] in PRESETS}
    assert lines.keys() == FAMILIES.keys()
    assert "8 of 128" in lines["upsample-faces"] and "2,000" in lines["upsample-faces"]  # ms for a step of 8
