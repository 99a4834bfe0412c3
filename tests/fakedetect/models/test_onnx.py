import json

import numpy as np
import pytest

import fakedetect
from fakecore.errors import UserError
from fakedetect import Detector


def edited(exported, path, **changes: object):
    """A copy of the .onnx file with other metadata; None takes an entry out."""
    import onnx

    model = onnx.load(exported.onnx)
    props = {one.key: one.value for one in model.metadata_props} | {k: json.dumps(v) for k, v in changes.items()}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {k: v for k, v in props.items() if k not in changes or changes[k] is not None})
    onnx.save(model, path)
    return path


def test_rows_of_the_onnx_file_and_of_the_folder_agree(exported, trained, write_folder, tmp_path, fakelab):
    folder = write_folder(tmp_path / "in", 8, "fake", side=40)
    write_folder(folder / "more", 8, "real")
    (folder / "empty.png").write_bytes(b"")
    rows = []
    for detector in (trained.detector, exported.onnx):
        done = fakelab("score", folder, "--detector", detector, "--json", "--device", "cpu")
        assert done.returncode == 1
        rows.append([json.loads(line) for line in done.stdout.splitlines()])
    assert len(rows[0]) == 17
    for of_folder, of_file in zip(*rows, strict=True):
        assert of_folder.pop("p_fake") == pytest.approx(of_file.pop("p_fake"), abs=1e-3)
        assert of_folder == of_file  # the verdict and the detector's name too


def test_evaluate_takes_an_onnx_file(exported, trained, small_set, tmp_path):
    made = fakedetect.evaluate(exported.onnx, small_set, out=tmp_path / "out", device="cpu")
    assert made.metrics["auroc"] == pytest.approx(trained.metrics["auroc"], abs=1e-3)
    assert made.metrics["seen"] == 0  # the list of what it was trained on travels with it
    assert "none of these files was used in training" in made.report.read_text()
    assert "tiny.onnx tested on" in made.report.read_text()


def test_a_grey_detector_is_given_grey_images_as_rgb(exported):
    network = Detector.load(exported.onnx, "cpu").network
    grey = np.random.default_rng(0).integers(0, 256, (2, 1, 16, 16), dtype=np.uint8)
    assert np.array_equal(network.run(grey)[0], network.run(grey.repeat(3, axis=1))[0])


def test_a_file_that_was_cut_short_or_is_something_else_is_refused(exported, tmp_path):
    whole = exported.onnx.read_bytes()
    for name, data in (("cut", whole[: len(whole) // 2]), ("empty", b""), ("other", b"\x89PNG and more")):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            Detector.load(path, "cpu")
        line = str(caught.value)
        assert line.startswith(str(path)) and "\n" not in line and "Copy it again" in line


def test_a_graph_of_others_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(UserError, match=r"not a detector that fakelab exported .got metadata none"):
        Detector.load(tmp_path / "foreign.onnx", "cpu")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"temperature": None}, "temperature is missing"),
        ({"temperature": "hot"}, "temperature cannot be used"),
        ({"kind": "gan"}, "not a detector that fakelab exported"),
        ({"version": 99}, "cannot be used as a detector"),
        ({"label_convention": {"real": 1, "fake": 0}}, "another label convention"),
    ],
)
def test_metadata_that_are_missing_or_altered_are_named(exported, tmp_path, changes, why):
    with pytest.raises(UserError, match=why) as caught:
        Detector.load(edited(exported, tmp_path / "x.onnx", **changes), "cpu")
    assert "detector.json" not in str(caught.value)


def test_a_missing_file_and_a_gpu_are_refused(exported, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Detector.load(tmp_path / "none.onnx")
    with pytest.raises(UserError, match=r"runs on the CPU .got --device cuda"):
        Detector.load(exported.onnx, "cuda")
