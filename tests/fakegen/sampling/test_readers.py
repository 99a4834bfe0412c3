"""Other libraries read our sets: torchvision, Hugging Face datasets and webdataset."""

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

import fakegen
from fakecore.media.pixels import decode_image
from fakecore.sets.imageset import read_imageset


@pytest.fixture(scope="module")
def fakes(run, tmp_path_factory):
    """300 fakes of the small run, as folders."""
    out = tmp_path_factory.mktemp("sets") / "fakes"
    fakegen.sample(run, out, count=300)
    return out


@pytest.fixture(scope="module")
def shards(run, tmp_path_factory):
    """The same fakes and some more, in shards."""
    out = tmp_path_factory.mktemp("sets") / "shards"
    fakegen.sample(run, out, count=1500, image_format="webdataset")
    return out


def test_torchvision_reads_a_set_of_fakes_and_one_with_reals(fakes, run):
    from torchvision.datasets import ImageFolder

    alone = ImageFolder(fakes / "train")
    assert alone.classes == ["fake"] and len(alone) == 240
    both = ImageFolder(run / "set" / "train")
    assert both.classes == ["fake", "real"] and both[0][0].size == (16, 16)


HUGGING_FACE = """
import json, sys
from datasets import load_dataset
found = load_dataset("imagefolder", data_dir=sys.argv[1])
rows = {split: [{**row, "image": list(row["image"].size)} for row in part] for split, part in found.items()}
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """What load_dataset("imagefolder", data_dir=...) gives: {split: rows}, read in a process that may not use a network."""
    home = str(tmp_path_factory.mktemp("hugging-face"))
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": home, "HF_DATASETS_CACHE": home}

    def read(root):
        command = [sys.executable, "-c", HUGGING_FACE, str(root)]
        environment = {**os.environ, **offline}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return read


def test_hugging_face_reads_a_set_with_every_column_of_its_manifest(fakes, run, hugging_face):
    for root in (fakes, run / "set"):
        found = hugging_face(root)
        lines = [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]
        columns = {name for line in lines for name in line} - {"file_name"}
        rows = [row for split in ("train", "validation", "test") for row in found[split]]
        assert len(rows) == len(lines) and rows[0]["image"] == [16, 16]
        assert set(rows[0]) == columns | {"image"}
        by_key = {(line["label"], line["index"]): line for line in lines}
        for row in rows:  # labels are our names, never numbers by alphabet
            line = by_key[row["label"], row["index"]]
            assert {name: row[name] for name in columns} == {name: line.get(name) for name in columns}
        for split, ours in (("train", "train"), ("validation", "val"), ("test", "test")):
            assert {row["split"] for row in found[split]} == {ours}


def test_hugging_face_reads_a_set_too_small_for_every_split(run, tmp_path, hugging_face):
    fakegen.sample(run, tmp_path / "set", count=2)
    assert {split: len(rows) for split, rows in hugging_face(tmp_path / "set").items()} == {"train": 2}


def test_the_webdataset_library_reads_the_shards(shards):
    import webdataset

    found = read_imageset(shards)
    pixels = {(r.split, r.index): decode_image(found.read(r)) for r in found.records}
    seen = Counter()
    for split in ("train", "val", "test"):
        urls = str(shards / split / "fake-{000000..000001}.tar")
        for sample in webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"):
            facts = sample["json"]
            assert (facts["split"], facts["label"], sample["__key__"]) == (split, "fake", f"fake-{facts['index']:06d}")
            assert np.array_equal(sample["png"], pixels[split, facts["index"]])
            seen[facts["index"]] += 1
    assert seen == Counter(range(1500))


def test_shards_and_folders_hold_the_same_images(shards, fakes):
    found, folder = read_imageset(shards), read_imageset(fakes)
    by_index = {record.index: record for record in found.records}
    for record in folder.records:
        assert found.read(by_index[record.index]) == folder.read(record)
        assert by_index[record.index].split == record.split
