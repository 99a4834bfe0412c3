"""The command line as its users meet it: real processes, exit codes, one line for each mistake."""

import json

import numpy as np
import pytest
from PIL import Image

SMALL = ["--set", "resolution=16", "--set", "g_width=8", "--set", "d_width=8", "--set", "batch=16"]


@pytest.fixture(scope="module")
def loop(fakelab, tmp_path_factory):
    """generate, detect-train, in a folder of their own, with no names given where none are needed."""
    home = tmp_path_factory.mktemp("home")
    made = fakelab("generate", "digits", "--real", "digits:3", "--epochs", 4, *SMALL, "--json", cwd=home)
    assert made.returncode == 0, made.stderr
    trained = fakelab("detect-train", "--set", "epochs=3", "--set", "blocks=1", "--json", cwd=home)
    assert trained.returncode == 0, trained.stderr
    return home, json.loads(made.stdout), json.loads(trained.stdout)


def test_the_three_commands_need_no_names(loop, fakelab):
    home, made, trained = loop
    assert made["run"] == "runs/digits" and trained["detector"] == "runs/digits-cnn"
    assert (home / trained["report"]).is_file()
    assert trained["test_metrics"]["n_fake"] > 0
    scored = fakelab("score", "runs/digits/set/test", "--json", cwd=home)
    assert scored.returncode == 0, scored.stderr
    rows = [json.loads(line) for line in scored.stdout.splitlines()]
    assert len(rows) == trained["test_metrics"]["n_fake"] + trained["test_metrics"]["n_real"]
    assert {"path", "status", "kind", "p_fake", "verdict", "threshold", "outside_domain", "error"} <= rows[0].keys()
    mean = {label: np.mean([r["p_fake"] for r in rows if f"/{label}/" in r["path"]]) for label in ("real", "fake")}
    assert mean["fake"] > mean["real"]


def test_a_second_run_takes_the_next_free_name(loop, fakelab):
    home, *_ = loop
    again = fakelab("generate", "digits", "--real", "digits:3", "--epochs", 0, "--count", 3, *SMALL, cwd=home)
    assert again.returncode == 0 and "runs/digits-2" in again.stdout


def test_results_go_to_stdout_and_the_rest_to_stderr(loop, fakelab):
    home, *_ = loop
    scored = fakelab("score", "runs/digits/set/test/fake", "--detector", "runs/digits-cnn", cwd=home)
    lines = scored.stdout.splitlines()
    assert all(line.split()[1] in ("real", "fake", "unsure") for line in lines)
    assert f"{len(lines)} files" in scored.stderr and "\r" not in scored.stderr  # no progress bar into a pipe


def test_evaluate_reports_on_another_set(loop, fakelab):
    home, *_ = loop
    done = fakelab("evaluate", "runs/digits-cnn", "runs/digits", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert 0 <= facts["metrics"]["auroc"] <= 1 and facts["metrics"]["seen"] == 0
    assert (home / facts["report"]).is_file()


def test_presets_list_names_sizes_and_sources(fakelab):
    rows = json.loads(fakelab("presets", "--json").stdout)
    assert {"digits", "dcgan-64"} <= {row["name"] for row in rows}
    assert rows[0].keys() >= {"name", "real", "resolution", "z_dim", "params_g", "params_d", "lr", "batch", "epochs"}
    assert "dcgan-64" in fakelab("presets").stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["generat"], "generat"),
        (["generate", "digts"], "Did you mean 'digits'"),
        (["generate", "digits", "--set", "epoch=3"], "Did you mean 'epochs'"),
        (["generate", "digits", "--set", "epochs"], "field=value"),
        (["generate", "digits", "--epochs", "many"], "--epochs"),
        (["generate", "digits", "--split", "80,20"], "80,10,10"),
        (["generate", "digits", "--real", "no/such/folder"], "no folder"),
        (["generate", "digits", "--real", "digts"], "Did you mean 'digits'"),
        (["generate", "digits", "--device", "gpu"], "device"),
        (["generate", "--resume"], "no run to resume"),
        (["generate", "--resume", "--out", "nowhere"], "no run in nowhere"),
        (["sample", "nowhere", "--count", "3", "--out", "x"], "no run in nowhere"),
        (["measure", "nowhere"], "no run in nowhere"),
        (["detect-train"], "no finished run"),
        (["detect-train", "nowhere"], "nowhere"),
        (["detect-train", "--real", "digits"], "belong together"),
        (["detect-train", "--real", "digits", "--fake", "digits", "--model", "cnm"], "Did you mean 'cnn'"),
        (["evaluate", "nowhere", "nowhere"], "not a detector"),
        (["score", "x.jpg"], "no detector"),
        (["score", "x.jpg", "--detector", "nowhere"], "not a detector"),
        (["score"], "PATH"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(fakelab, tmp_path, words, expected):
    done = fakelab(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == "" and expected in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())  # nothing was left behind


def test_no_command_prints_help(fakelab):
    done = fakelab()
    assert done.returncode == 0 and "detect-train" in done.stdout


def test_images_that_cannot_be_used_give_exit_code_1_and_a_line_each(fakelab, tmp_path):
    source = tmp_path / "photos"
    source.mkdir()
    random = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(source / f"{number}.png")
    (source / "broken.png").write_bytes(b"\x89PNG broken")
    done = fakelab("generate", "digits", "--real", source, "--epochs", 1, *SMALL, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert "'broken.png': unreadable" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "run" / "set" / "imageset.json").is_file()


def test_a_full_disk_is_one_line_and_the_run_goes_on_after(fakelab, tmp_path):
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        words = ["generate", "digits", "--real", "digits:3", "--epochs", 40, *SMALL, "--out", disk / "run"]
        full = fakelab(*words)
        assert full.returncode == 2 and full.stderr.splitlines()[-1].startswith("error: the disk is full")
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        done = fakelab("generate", "--resume", "--out", disk / "run")
        assert done.returncode == 0, done.stderr
        assert (disk / "run" / "checkpoints" / "epoch-0040.safetensors").is_file()
    finally:
        subprocess.run(["umount", disk], check=False)
