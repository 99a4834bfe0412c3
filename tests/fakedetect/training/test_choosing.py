import json
import shutil

import pytest

from fakedetect.training.choosing import choose_model


@pytest.mark.parametrize(
    ("channels", "resolution", "changes", "model"),
    [
        (3, 16, {}, "lite"),
        (1, 16, {}, "cnn"),
        (1, 64, {}, "lite"),
        (3, 16, {"blocks": 2}, "cnn"),
        (1, 8, {"rate": 1}, "cnn"),
    ],
)
def test_the_model_follows_from_the_images_and_is_printed(
    channels, resolution, changes, model, small_set, tmp_path, capsys
):
    shutil.copytree(small_set, tmp_path / "set")
    facts = json.loads((small_set / "imageset.json").read_text()) | {"channels": channels, "resolution": resolution}
    (tmp_path / "set" / "imageset.json").write_text(json.dumps(facts))
    images = {"place": str(tmp_path / "set"), "real": None, "fake": None, "data_root": None}
    assert choose_model(images, changes) == model
    assert (f"model: {model}" in capsys.readouterr().err) == ("blocks" not in changes)
