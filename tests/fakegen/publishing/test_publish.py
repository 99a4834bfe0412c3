"""A published folder works alone: with torch, without fakelab."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import fakegen
from fakecore.errors import UserError
from fakegen.runs.run import open_run
from fakegen.sampling.sampling import load_generator

ROOT = Path(__file__).parents[3]
ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("fakelab", "fakegen", "fakecore", "safetensors", "torchvision", "PIL"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.argv = ["load.py", "5"]
import runpy
runpy.run_path("load.py", run_name="__main__")
"""


@pytest.fixture(scope="module", params=["plain", "conditional"])
def published(request, run, tiny, tmp_path_factory):
    if request.param == "conditional":
        changes = {**tiny, "epochs": 1, "upscale": True}
        out = tmp_path_factory.mktemp("runs") / "classes"
        run = fakegen.train("conditional-32", out=out, real="digits", changes=changes, count=20, device="cpu").run
    folder = tmp_path_factory.mktemp("published") / "gan"
    return run, folder, fakegen.publish(run, folder)


def test_the_program_makes_the_images_of_the_run_for_any_number(published):
    run, folder, facts = published
    generator = load_generator(open_run(run).checkpoint(facts["epoch"]), "cpu")
    program = torch.export.load(folder / "generator.pt2").module()
    for count in (1, 4):
        z = torch.randn(count, facts["z_dim"], generator=torch.Generator().manual_seed(count))
        labels = (torch.arange(count) % len(facts["classes"]),) if facts["classes"] else ()
        found = program(z, *labels).numpy()
        with torch.inference_mode():
            assert np.abs(found.astype(int) - generator.render(z, *labels)).max() <= 1
    assert load_file(folder / "generator.safetensors").keys() == generator.network.state_dict().keys()


@pytest.mark.parametrize("published", ["conditional"], indirect=True)
def test_its_loader_draws_with_torch_alone(published):
    _, folder, facts = published
    subprocess.run([sys.executable, "-c", ALONE], cwd=folder, env={"PYTHONPATH": str(folder)}, check=True, timeout=120)
    with Image.open(folder / "fakes.ppm") as fakes:
        assert fakes.size == (5 * facts["resolution"], facts["resolution"]) and np.asarray(fakes).std() > 0


def test_its_card_says_what_it_is_and_nothing_names_a_place_of_this_machine(published):
    run, folder, facts = published
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: torch") and "synthetic" in card and "Not measured" in card
    assert json.loads((folder / "config.json").read_text()) == facts
    with Image.open(folder / "samples.png") as samples:
        assert "trainedAlgorithmicMedia" in samples.info["XML:com.adobe.xmp"]
    for path in folder.iterdir():
        content = path.read_bytes()
        assert not any(str(place).encode() in content for place in (run.parent, ROOT, sys.prefix)), path


def test_a_run_in_bf16_is_published_in_full_precision(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "checkpoints" / "epoch-0002.json"
    path.write_text(path.read_text().replace('"precision": "fp32"', '"precision": "bf16"'))
    assert load_generator(path.with_suffix(""), "cpu").dtype == torch.bfloat16
    facts = fakegen.publish(copy, tmp_path / "gan")
    made = torch.export.load(tmp_path / "gan" / "generator.pt2").module()(torch.zeros(2, facts["z_dim"]))
    assert made.dtype == torch.uint8
    weights = load_file(tmp_path / "gan" / "generator.safetensors")
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float32}


def test_a_folder_in_use_and_an_epoch_without_checkpoint_are_refused(run, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "a").touch()
    for out, options, words in (
        ("used", {}, "Choose another --out"),
        ("new", {"epoch": 9}, "no checkpoint of epoch 9"),
    ):
        with pytest.raises(UserError, match=words):
            fakegen.publish(run, tmp_path / out, **options)
    assert not (tmp_path / "new").exists()
