"""Installation of the wheel, and packages that add detectors and architectures."""

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from fakedetect.detectors import NAMES

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

DETECTOR = """
import torch
from torch import nn
from fakedetect import Model
from fakecore.schema import whole


class Brightness(nn.Module):
    def __init__(self, resolution, channels, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(channels * resolution**2, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, images):
        return self.layers(images.float() / 255).squeeze(1)


BRIGHTNESS = Model(
    "a small perceptron", Brightness, kinds={"width": whole(1)}, describe=lambda settings, resolution: {"width": 8}
)
BROKEN = 3
"""
GENERATOR = """
from torch import nn
from fakegen.architectures.registry import Architecture


class G(nn.Module):
    def __init__(self, z_dim, resolution, channels):
        super().__init__()
        self.shape = (channels, resolution, resolution)
        self.layers = nn.Sequential(nn.Linear(z_dim, 32), nn.ReLU(), nn.Linear(32, channels * resolution**2), nn.Tanh())

    def forward(self, z):
        return self.layers(z.flatten(1)).view(-1, *self.shape)


class D(nn.Module):
    def __init__(self, resolution, channels):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(channels * resolution**2, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x):
        return self.layers(x).squeeze(1)


PERCEPTRONS = Architecture(G, D)
"""
RUN = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
sys.path.append(sys.argv[1])
from fakelab.app import main
done = []
for words in json.loads(sys.argv[2]):
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            main(words)
        except SystemExit as ended:
            done.append([ended.code, out.getvalue(), errors.getvalue()])
print(json.dumps(done))
"""
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "fakelab-third-party"
version = "1.0"
[project.entry-points."fakelab.detectors"]
brightness = "third_party_detector:BRIGHTNESS"
broken = "third_party_detector:BROKEN"
missing = "third_party_nowhere:MODEL"
[project.entry-points."fakelab.generators"]
perceptrons = "third_party_generator:PERCEPTRONS"
[tool.setuptools]
py-modules = ["third_party_detector", "third_party_generator"]
"""


@pytest.fixture(scope="module")
def third_party(tmp_path_factory):
    """A function that runs fakelab with a third-party package installed."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "third_party_detector.py").write_text(DETECTOR)
    (source / "third_party_generator.py").write_text(GENERATOR)
    words = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--target",
        str(target),
        str(source),
    ]
    subprocess.run([*PIP, *words], check=True, timeout=120)

    def run(*commands, cwd):
        """Run the commands in one process that finds the package; [exit status, stdout, stderr] of each."""
        commands = [list(map(str, words)) for words in commands]
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(target), json.dumps(commands)],
            cwd=cwd, capture_output=True, text=True, timeout=240, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    return run


def test_a_package_adds_a_detector_and_an_architecture(third_party, tmp_path):
    small = ["--set", "architecture=perceptrons", "--set", "resolution=8", "--set", "measure_every=0"]
    done = third_party(
        ["generate", "digits-32", "--real", "digits:3", *small, "--epochs", 2, "--count", 60, "--out", "run"],
        ["sample", "run", "--count", 4, "--out", "more"],
        ["detect-train", "run", "--model", "brightness", "--set", "epochs=2", "--out", "det"],
        ["score", "more", "--detector", "det", "--json"],
        cwd=tmp_path,
    )
    assert [status for status, _, _ in done] == [0, 0, 0, 0], done
    assert json.loads((tmp_path / "run/run.json").read_text())["preset"]["architecture"] == "perceptrons"
    facts = json.loads((tmp_path / "det/detector.json").read_text())
    assert facts["model"] == "brightness" and facts["arguments"]["width"] == 8
    rows = [json.loads(line) for line in done[-1][1].splitlines()]
    assert len(rows) == 4 and all(0 <= row["p_fake"] <= 1 for row in rows)


def test_a_package_that_fails_is_named_in_one_line(third_party, tmp_path):
    (tmp_path / "real").mkdir()
    expected = {"broken": "is not a detector model", "missing": "cannot be imported", "brightnes": "brightness"}
    asked = [["detect-train", "--real", "real", "--fake", "real", "--model", model] for model in expected]
    for (status, _, errors), words in zip(third_party(*asked, cwd=tmp_path), expected.values(), strict=True):
        assert status == 2 and words in errors and len(errors.strip().splitlines()) == 1


def test_the_wheel_installs_four_packages_that_run_outside_the_checkout(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (
            name.endswith(
                (
                    ".py",
                    ".pyi",
                    ".toml",
                    ".j2",
                    "py.typed",
                    "README.md",
                    "LICENSE",
                    "detector.json",
                    "times.json",
                    "networks.json",
                    ".safetensors",
                    ".tflite",
                )
            )
            and (ROOT / name).exists()
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    words = [
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run([*PIP, *words], check=True, timeout=240)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packed = {f"fakedetect/detectors/{name}/detector.{suffix}" for name in NAMES for suffix in ("json", "safetensors")}
    assert packed <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        *("fakelab", "fakecore", "fakegen", "fakedetect")
    }
    shipped = {
        "fakedetect/faces/face_landmark.tflite",
        "fakedetect/evaluation/report.html.j2",
        "fakegen/__init__.pyi",
        "fakedetect/py.typed",
    }
    assert shipped <= set(names)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True, timeout=60)
    python = tmp_path / "env/bin/python"
    # The dependencies come from this environment; its .pth files, such as that of an editable fakelab, are not read.
    site = next((tmp_path / "env/lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    subprocess.run(
        [*PIP, "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True
    )

    def run(*words):
        return subprocess.run(
            list(map(str, words)), cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
        )

    where = run(python, "-c", "import fakelab; print(fakelab.__file__)").stdout
    assert where.startswith(str(site))
    assert run(tmp_path / "env/bin/fakelab", "--version").stdout.startswith("fakelab ")
    assert "dcgan-64" in run(tmp_path / "env/bin/fakelab", "presets").stdout
    assert "Catch fakes" in run(python, "-m", "fakelab", "--help").stdout
