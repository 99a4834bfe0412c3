import json

import numpy as np
import pytest

from fakecore.errors import UserError
from fakecore.labels import FAKE, REAL
from fakecore.media.pixels import encode_jpeg, encode_png
from fakecore.sets.imageset import ImageRecord
from fakecore.sets.setwriter import ImageSetWriter
from fakecore.sets.units import Wanted
from fakedetect.data.loading import load_labelled, require_both_classes


def test_a_set_is_read_by_its_own_labels_and_splits(small_set):
    data = load_labelled(small_set)
    lines = [json.loads(line) for line in (small_set / "metadata.jsonl").read_text().splitlines()]
    assert data.paths == [line["file_name"] for line in lines]
    assert data.labels.tolist() == [{"real": 0, "fake": 1}[line["label"]] for line in lines]
    assert data.splits.tolist() == [line["split"] for line in lines]
    assert data.images.shape == (200, 3, 16, 16) and data.images.dtype == np.uint8
    assert data.counts()["train"] == {"real": 60, "fake": 60}
    assert data.unused == []


def test_labels_come_from_metadata_and_not_from_folder_names_or_order(tmp_path, pictures, finish_set):
    """Folders named so that either sorting, or reading, of their names would turn the labels round."""
    lines = []
    for label, folder in (("real", "zz-fake"), ("fake", "aa-real")):
        for split in ("train", "val", "test"):
            name = f"{split}/{folder}/0.png"
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).write_bytes(encode_png(pictures(1, label, 0)[0], label))
            lines.append({"file_name": name, "label": label, "split": split, "index": 0})
    finish_set(tmp_path, lines)
    data = load_labelled(tmp_path)
    assert all(
        label == (FAKE if "aa-real" in path else REAL) for path, label in zip(data.paths, data.labels, strict=True)
    )


def test_a_set_in_shards_is_the_same_to_a_detector_as_one_in_folders(tmp_path, pictures):
    def wanted(label):
        def records(indices, file_name):
            splits = [("train", "train", "val", "test")[i % 4] for i in indices]
            return [
                ImageRecord(file_name(split, label, i), label, split, i)
                for i, split in zip(indices, splits, strict=True)
            ]

        images = pictures(40, label, 0)
        return Wanted(40, records, lambda indices: images[indices.start : indices.stop])

    for image_format in ("png", "webdataset"):
        both = {label: wanted(label) for label in ("real", "fake")}
        root = tmp_path / image_format
        writer = ImageSetWriter(root, both, resolution=16, channels=3, image_format=image_format)
        list(writer.write())
        writer.finish(origin={})
    folders, shards = load_labelled(tmp_path / "png"), load_labelled(tmp_path / "webdataset")
    assert shards.paths[0] == "train/real-000000.tar/real-000000.png" and shards.unused == []
    assert np.array_equal(shards.images, folders.images) and len(shards.images) == 80
    assert np.array_equal(shards.labels, folders.labels) and np.array_equal(shards.splits, folders.splits)
    assert shards.sha256 == folders.sha256


def test_a_run_folder_stands_for_its_set(tmp_path, write_set):
    write_set(tmp_path / "run" / "set", reals=10, fakes=10)
    (tmp_path / "run" / "run.json").write_text("{}")
    assert len(load_labelled(tmp_path / "run").labels) == 20


def test_a_run_without_a_finished_set_says_how_to_finish_it(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="generate --resume"):
        load_labelled(tmp_path)


@pytest.mark.parametrize(("real", "fake"), [("a", "b"), ("b", "a"), ("fake", "real")])
def test_two_folders_are_labelled_by_their_option_and_not_by_their_name(tmp_path, write_folder, real, fake):
    write_folder(tmp_path / real, 12, "real")
    write_folder(tmp_path / fake, 15, "fake")
    data = load_labelled(None, real=str(tmp_path / real), fake=str(tmp_path / fake))
    assert (len(data.labels) - data.labels.sum(), data.labels.sum()) == (12, 15)
    for path, label in zip(data.paths, data.labels, strict=True):
        assert path.startswith(str(tmp_path / (fake if label == FAKE else real)) + "/")


def test_pixels_labels_and_paths_run_parallel(tmp_path, write_folder, pictures):
    write_folder(tmp_path / "r", 10, "real", 3)
    write_folder(tmp_path / "f", 10, "fake", 3)
    (tmp_path / "r" / "0004.png").write_bytes(b"")
    data = load_labelled(None, real=str(tmp_path / "r"), fake=str(tmp_path / "f"))
    assert len(data.images) == len(data.labels) == len(data.splits) == len(data.paths) == len(data.groups) == 19
    for path, label, image in zip(data.paths, data.labels, data.images, strict=True):
        assert np.array_equal(image, pictures(10, ("real", "fake")[label], 3)[int(path[-8:-4])])


def test_splits_of_two_folders_are_by_the_seed(tmp_path, write_folder):
    folders = {name: str(write_folder(tmp_path / name, 40, name)) for name in ("real", "fake")}
    splits = [load_labelled(None, **folders, seed=seed).splits.tolist() for seed in (1, 1, 2)]
    assert splits[0] == splits[1] != splits[2]
    assert [splits[0].count(name) for name in ("train", "val", "test")] == [64, 8, 8]


@pytest.mark.parametrize(
    ("options", "says"), [({}, "no images"), ({"real": "x"}, "--fake is missing"), ({"fake": "x"}, "--real is missing")]
)
def test_anything_but_a_set_or_both_folders_is_refused_by_what_is_missing(options, says):
    with pytest.raises(UserError, match=f"{says}.*--real and --fake together"):
        load_labelled(None, **options)


def test_a_set_and_folders_at_once_are_refused(small_set):
    with pytest.raises(UserError, match=r"cannot be combined.*and --real and --fake"):
        load_labelled(small_set, real="x", fake="y")


@pytest.fixture
def nested(tmp_path, write_folder):
    """Reals in classes, and fakes within their folder."""
    write_folder(tmp_path / "all" / "cat", 12, "real")
    write_folder(tmp_path / "all" / "fakes", 12, "fake")
    (tmp_path / "link").symlink_to(tmp_path / "all")
    return tmp_path


@pytest.mark.parametrize("all_test", [False, True])
@pytest.mark.parametrize(
    ("real", "fake"),
    [
        ("all", "all"),
        ("all", "all/fakes"),
        ("all/fakes", "all"),
        ("all", "link"),
        ("all", "all:fakes"),
        ("all/cat", "link/cat"),
    ],
)
def test_one_folder_for_both_labels_or_one_within_the_other_is_refused(nested, real, fake, all_test):
    with pytest.raises(UserError, match=r"overlap.*in common.*neither inside the other"):
        load_labelled(real=f"{nested}/{real}", fake=f"{nested}/{fake}", all_test=all_test)


def test_a_named_data_set_for_both_labels_is_refused():
    with pytest.raises(UserError, match=r"overlap.*183 files in common"):
        load_labelled(real="digits", fake="digits:3")


def test_two_classes_of_one_folder_are_no_overlap(nested):
    data = load_labelled(real=f"{nested}/all:cat", fake=f"{nested}/all:fakes")
    assert set(data.paths) == {f"{nested}/all/{c}/{n:04d}.png" for c in ("cat", "fakes") for n in range(12)}


def test_reals_and_fakes_of_one_set_are_no_overlap(small_set):
    data = load_labelled(real=str(small_set), fake=str(small_set), all_test=True)
    assert (data.labels == FAKE).sum() == 100 == (data.labels == REAL).sum()


def test_pictures_with_both_labels_are_told_of_with_their_share(tmp_path, write_folder, pictures, capsys):
    folders = {name: write_folder(tmp_path / name, 20, name) for name in ("real", "fake")}
    load_labelled(**{name: str(folder) for name, folder in folders.items()})
    assert "also among the fakes" not in capsys.readouterr().err
    for number, image in enumerate(pictures(20, "real", 0)[:5]):
        (folders["fake"] / f"copy-{number}.png").write_bytes(encode_png(image, "fake"))  # other bytes, the same pixels
    load_labelled(**{name: str(folder) for name, folder in folders.items()})
    assert "note: 5 of 20 reals (25.0%) are also among the fakes" in capsys.readouterr().err


@pytest.mark.parametrize("lacking", ["real", "fake"])
def test_copies_do_not_count_and_how_many_pictures_differ_is_said(tmp_path, write_folder, lacking):
    folders = {name: write_folder(tmp_path / name, 2 if name == lacking else 12, name) for name in ("real", "fake")}
    for number in range(30):
        (folders[lacking] / f"copy-{number}.png").write_bytes((folders[lacking] / "0000.png").read_bytes())
    with pytest.raises(UserError, match=f"--{lacking} .*32 readable, 2 different; expected at least 3 different.*add"):
        load_labelled(**{name: str(folder) for name, folder in folders.items()})


@pytest.mark.parametrize("seed", range(8))
def test_three_reals_among_many_fakes_reach_every_split(tmp_path, write_folder, seed):
    folders = {"real": write_folder(tmp_path / "r", 3, "real"), "fake": write_folder(tmp_path / "f", 40, "fake")}
    data = load_labelled(**{name: str(folder) for name, folder in folders.items()}, seed=seed)
    require_both_classes(data, ("train", "val", "test"))


def test_a_test_of_two_folders_needs_no_splits(tmp_path, write_folder):
    data = load_labelled(
        real=str(write_folder(tmp_path / "r", 1, "real")),
        fake=str(write_folder(tmp_path / "f", 1, "fake")),
        all_test=True,
    )
    assert data.splits.tolist() == ["test", "test"]


def test_what_cannot_be_used_is_listed_once_by_its_path_and_option(tmp_path, write_folder, monkeypatch):
    """Also from the cache, which was filled from another working folder."""
    for name in ("real", "fake"):
        folder = write_folder(tmp_path / name, 12, name)
        (folder / "bad.png").write_bytes(b"")
        (folder / "lost.png").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    load_labelled(real="real", fake="fake")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    unused = load_labelled(real="../real", fake="../fake").unused
    assert sorted((line["path"], line["label"]) for line in unused) == [
        (f"../{name}/{file}", name) for name in ("fake", "real") for file in ("bad.png", "lost.png")
    ]


@pytest.mark.parametrize("content", ["{", "", "\xff"])
def test_a_broken_run_json_beside_a_set_is_told_of(tmp_path, write_set, capsys, content):
    write_set(tmp_path / "run" / "set", reals=10, fakes=10)
    (tmp_path / "run" / "run.json").write_text(content, encoding="latin-1")
    assert len(load_labelled(tmp_path / "run").labels) == 20
    assert "run.json is not valid JSON; only the set of this run is used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reals", "fakes", "lacking", "goes"),
    [(0, 20, "real", "--real SOURCE --fake SET"), (20, 0, "fake", "--real SET --fake SOURCE")],
)
def test_a_missing_class_is_an_error_with_a_remedy(tmp_path, write_set, reals, fakes, lacking, goes):
    data = load_labelled(write_set(tmp_path / "set", reals=reals, fakes=fakes))
    with pytest.raises(UserError, match=f"no {lacking} images in the train split.*{goes}"):
        require_both_classes(data, ("train", "val", "test"))


def test_a_class_whose_files_are_gone_says_so(tmp_path, write_set):
    root = write_set(tmp_path / "set", reals=20, fakes=20)
    for path in (root / "test" / "real").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"no real images in the test split.*4 files could not be used.*no such file"):
        require_both_classes(load_labelled(root), ("test",))


def test_unreadable_images_of_a_set_are_listed_and_the_others_used(tmp_path, write_set):
    root = write_set(tmp_path / "set", reals=20, fakes=20)
    (root / "train/fake/000003.png").write_bytes(b"")
    (root / "val/real/000012.png").unlink()
    data = load_labelled(root)
    unused = {line["path"] for line in data.unused}
    assert unused == {str(root / name) for name in ("train/fake/000003.png", "val/real/000012.png")}
    assert all(line["status"] == "unreadable" and line["error"] for line in data.unused)
    assert len(data.labels) == 38 and data.labels.sum() == 19
    assert not unused & {str(root / name) for name in data.paths}


def test_an_unreadable_image_of_two_folders_is_listed_with_its_folder(tmp_path, write_folder):
    folders = {name: str(write_folder(tmp_path / name, 12, name)) for name in ("real", "fake")}
    (tmp_path / "fake" / "0005.png").write_text("not an image")
    data = load_labelled(None, **folders)
    assert len(data.labels) == 23
    assert [line["path"] for line in data.unused] == [str(tmp_path / "fake" / "0005.png")]


def test_folders_of_nothing_but_unreadable_files_are_an_error_in_one_line(tmp_path):
    for name in ("real", "fake"):
        (tmp_path / name).mkdir()
        for number in range(4):
            (tmp_path / name / f"{number}.png").write_text("not an image")
    for resolution in (None, 16):
        with pytest.raises(UserError, match=r"could be decoded|none of the images in --real .*4 files"):
            folders = {name: str(tmp_path / name) for name in ("real", "fake")}
            require_both_classes(load_labelled(None, **folders, resolution=resolution), ("train",))


def test_copies_across_the_two_folders_share_a_split(tmp_path, write_folder, pictures):
    write_folder(tmp_path / "real", 60, "real", side=32)
    (tmp_path / "fake").mkdir()
    for number, image in enumerate(pictures(60, "real", 0, side=32)):
        (tmp_path / "fake" / f"{number:04d}.jpg").write_bytes(encode_jpeg(image, "real"))
    data = load_labelled(None, real=str(tmp_path / "real"), fake=str(tmp_path / "fake"))
    split = {path.rsplit(".")[0]: split for path, split in zip(data.paths, data.splits, strict=True)}
    pairs = [(split[f"{tmp_path}/real/{n:04d}"], split[f"{tmp_path}/fake/{n:04d}"]) for n in range(60)]
    assert all(left == right for left, right in pairs)
    assert {left for left, _ in pairs} == {"train", "val", "test"}


def test_images_of_one_group_share_a_split(tmp_path, write_folder):
    folders = {name: str(write_folder(tmp_path / name, 40, name)) for name in ("real", "fake")}
    lines = [json.dumps({"file_name": f"{n:04d}.png", "group": f"person-{n // 4}"}) + "\n" for n in range(40)]
    (tmp_path / "real" / "metadata.jsonl").write_text("".join(lines))
    data = load_labelled(None, **folders)
    for person in {group for group in data.groups if group}:
        assert len({s for s, g in zip(data.splits, data.groups, strict=True) if g == person}) == 1
    assert data.groups.count("person-0") == 4


def test_grey_folders_make_grey_images_and_one_colour_image_makes_all_colour(tmp_path, write_folder):
    folders = {name: str(write_folder(tmp_path / name, 10, name, channels=1)) for name in ("real", "fake")}
    assert load_labelled(None, **folders).channels == 1
    assert load_labelled(None, **folders, channels=3).channels == 3
    write_folder(tmp_path / "fake" / "more", 1, "fake", 5)
    assert load_labelled(None, **folders).channels == 3


def test_resolution_can_be_asked_for(small_set):
    assert load_labelled(small_set, resolution=24).images.shape[1:] == (3, 24, 24)


def test_the_fingerprint_is_of_the_pictures(tmp_path, write_set):
    one, same, other = (load_labelled(write_set(tmp_path / f"{n}", reals=9, fakes=9, seed=n // 2)) for n in (0, 1, 2))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_classes_of_equal_size_are_not_mistaken_for_each_other(tmp_path, write_folder):
    """The digits hold 182 ones and 182 fives: what was decoded for one class must not be handed out for the other."""
    fake = str(write_folder(tmp_path / "fake", 5, "fake", side=8, channels=1))
    ones, fives = (load_labelled(None, real=f"digits:{digit}", fake=fake) for digit in (1, 5))
    assert len(ones.labels) == len(fives.labels)
    assert not np.array_equal(ones.images[:182], fives.images[:182])


def test_reals_inside_a_set_given_as_fakes_are_never_labelled_fake(tmp_path, write_folder, small_set):
    real = str(write_folder(tmp_path / "real", 12, "real", 4))
    try:
        data = load_labelled(None, real=real, fake=str(small_set))
    except UserError:
        return
    assert not [p for p, label in zip(data.paths, data.labels, strict=True) if label == FAKE and "/real/0" in p]
