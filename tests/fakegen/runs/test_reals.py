import json

import cv2
import numpy as np

from fakegen.presets.table import get_preset
from fakegen.runs.reals import load_reals
from fakegen.runs.run import create_run


def test_a_run_records_how_its_faces_were_cropped(tmp_path):
    root, random = tmp_path / "faces", np.random.default_rng(0)
    (root / "train" / "real").mkdir(parents=True)
    names = [f"train/real/{number:06d}.png" for number in range(6)]
    for name in names:
        cv2.imwrite(str(root / name), random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    lines = [{"file_name": n, "label": "real", "split": "train", "index": i} for i, n in enumerate(names)]
    (root / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    counts = {split: {"real": 6 * (split == "train"), "fake": 0} for split in ("train", "val", "test")}
    origin = {"faces": {"margin": 0.35, "align": False, "min_face": 60}}
    facts = {"version": 1, "resolution": 16, "channels": 3, "counts": counts, "origin": origin}
    (root / "imageset.json").write_text(json.dumps(facts))
    reals = load_reals(str(root), resolution=16, shares=(80, 10, 10), seed=0)
    run = create_run(tmp_path / "run", get_preset("digits-32"), reals, {"seed": 0})
    assert run.facts["source"]["faces"] == {"margin": 0.35, "align": False}
