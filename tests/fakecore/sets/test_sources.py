import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from fakecore.errors import UserError
from fakecore.media.pixels import decode_image
from fakecore.sets.folders import walk_files
from fakecore.sets.sources import default_data_root, open_source


def write_image(path, colour=(10, 20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture
def animals(tmp_path):
    root = tmp_path / "animals"
    write_image(root / "cat" / "1.png", (1, 1, 1))
    write_image(root / "dog" / "1.png", (2, 2, 2))
    write_image(root / "dog" / "old" / "2.png", (3, 3, 3))
    return root


def first_pixel(source, index):
    return decode_image(source.read(index))[0, 0].tolist()


def test_a_set_records_how_its_faces_were_cropped(tmp_path):
    write_image(tmp_path / "train" / "real" / "000000.png")
    line = {"file_name": "train/real/000000.png", "label": "real", "split": "train", "index": 0}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    counts = {split: {"real": int(split == "train"), "fake": 0} for split in ("train", "val", "test")}
    facts = {"version": 1, "resolution": 4, "channels": 3, "counts": counts}
    for origin, expected in (
        ({"faces": {"margin": 0.3, "align": True, "size": 64, "fps": 5}}, {"margin": 0.3, "align": True}),
        ({"run": "a"}, None),
        ({"faces": "all"}, None),
    ):
        (tmp_path / "imageset.json").write_text(json.dumps({**facts, "origin": origin}))
        assert open_source(str(tmp_path)).faces == expected


def test_a_flat_folder_has_no_classes(tmp_path):
    for name in ("b.png", "a.png"):
        write_image(tmp_path / name)
    source = open_source(str(tmp_path))
    assert source.names == ["a.png", "b.png"]
    assert source.classes == [None, None]
    assert source.groups == [None, None]
    assert len(source) == 2
    assert first_pixel(source, 0) == [10, 20, 30]


def test_a_sub_folder_is_a_class(animals):
    source = open_source(str(animals))
    assert source.names == ["cat/1.png", "dog/1.png", "dog/old/2.png"]
    assert source.classes == ["cat", "dog", "dog"]


def test_a_colon_chooses_one_class(animals):
    source = open_source(f"{animals}:dog")
    assert source.names == ["dog/1.png", "dog/old/2.png"]
    assert source.classes == ["dog", "dog"]
    assert [first_pixel(source, i)[0] for i in range(2)] == [2, 3]


def test_an_unknown_class_lists_the_classes_and_the_nearest(animals):
    with pytest.raises(UserError, match=r"no class 'dogs' in .*animals .*one of cat, dog.*Did you mean 'dog'\?"):
        open_source(f"{animals}:dogs")


def test_a_class_of_a_flat_folder_is_refused(tmp_path):
    write_image(tmp_path / "a.png")
    with pytest.raises(UserError, match="no sub-folders"):
        open_source(f"{tmp_path}:dog")


def test_a_colon_in_a_folder_name_is_no_class(tmp_path):
    root = tmp_path / "at 12:30"
    write_image(root / "cat" / "a.png")
    write_image(root / "dog" / "a.png")
    assert len(open_source(str(root))) == 2
    assert open_source(f"{root}:cat").classes == ["cat"]


def test_a_loop_of_links_ends_and_lists_each_file_once(animals):
    (animals / "cat" / "loop").symlink_to(animals)
    (animals / "dog" / "self").symlink_to(".")
    assert open_source(str(animals)).names == ["cat/1.png", "dog/1.png", "dog/old/2.png"]


def test_a_linked_folder_and_a_linked_file_are_followed(tmp_path, animals):
    root = tmp_path / "linked"
    root.mkdir()
    (root / "dog").symlink_to(animals / "dog")
    (root / "cat.png").symlink_to(animals / "cat" / "1.png")
    assert open_source(str(root)).names == ["cat.png", "dog/1.png", "dog/old/2.png"]


def test_a_broken_link_and_a_pipe_are_reported_and_the_rest_is_listed(animals):
    (animals / "cat" / "gone.png").symlink_to(animals / "nowhere.png")
    os.mkfifo(animals / "cat" / "pipe.png")
    source = open_source(str(animals))
    assert len(source) == 3
    problems = dict(source.problems)
    assert "a broken symbolic link" in problems[str(animals / "cat" / "gone.png")]
    assert "not a regular file" in problems[str(animals / "cat" / "pipe.png")]
    assert len(problems) == 2


def test_a_link_to_itself_is_reported_and_only_problems_of_the_chosen_class_are(animals):
    (animals / "cat" / "loop.png").symlink_to(animals / "cat" / "loop.png")
    (animals / "dog" / "gone.png").symlink_to("nowhere.png")
    (animals / "gone.png").symlink_to("nowhere.png")
    everything = dict(open_source(str(animals)).problems)
    assert everything[str(animals / "cat" / "loop.png")] == "a symbolic link that points to itself"
    assert len(everything) == 3
    assert {path for path, _ in open_source(f"{animals}:cat").problems} == {
        str(animals / "cat" / "loop.png"),
        str(animals / "gone.png"),
    }


def test_every_image_has_a_path_that_its_user_can_open(animals):
    assert open_source(str(animals)).paths[0] == str(animals / "cat" / "1.png")
    assert open_source(f"{animals}:dog").paths == [str(animals / "dog" / name) for name in ("1.png", "old/2.png")]
    assert open_source("digits:3").paths == open_source("digits:3").names


ODD = [
    "with space.png",
    "new\nline.png",
    "été 猫.png",
    "a.b.c.png",
    "no-suffix",
    "semi;colon:.png",
    "-dash.png",
    "%s{}.png",
]


def test_odd_names_are_listed_and_read(tmp_path):
    for number, name in enumerate(ODD):
        write_image(tmp_path / "class é" / name, (number, 0, 0))
    source = open_source(f"{tmp_path}:class é")
    assert sorted(source.names) == sorted(f"class é/{name}" for name in ODD)
    for index, name in enumerate(source.names):
        assert first_pixel(source, index)[0] == ODD.index(name.removeprefix("class é/"))


@pytest.mark.parametrize("place", ["file", "folder"])
def test_names_that_are_not_utf8_are_listed_and_read(tmp_path, place):
    latin = os.fsdecode(b"caf\xe9")
    root = tmp_path / latin if place == "folder" else tmp_path
    try:
        write_image(root / "a.png")
        write_image(root / f"{latin}.png", (9, 9, 9))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = open_source(str(root))
    assert len(source) == 2
    assert first_pixel(source, source.names.index(f"{latin}.png")) == [9, 9, 9]


def test_hidden_files_and_sidecars_are_no_images(tmp_path):
    write_image(tmp_path / "a.png")
    for name in (".DS_Store", "Thumbs.db", "metadata.csv", "imageset.json", ".cache/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("file_name\n")
    assert open_source(str(tmp_path)).names == ["a.png"]


def test_an_empty_folder_is_a_user_error(tmp_path):
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    with pytest.raises(UserError, match="contains no images"):
        open_source(str(tmp_path / "empty"))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        open_source(str(tmp_path / "absent"))
    with pytest.raises(UserError, match="there is no folder"):
        open_source(str(tmp_path / "absent") + ":cat")


def test_a_misspelt_source_names_the_nearest():
    with pytest.raises(UserError, match=r"no source of images 'cifar100'.*digits, mnist.*Did you mean 'cifar10'\?"):
        open_source("cifar100")


def test_a_file_that_vanishes_later_is_an_image_error(tmp_path):
    from fakecore.media.pixels import ImageError

    path = write_image(tmp_path / "a.png")
    source = open_source(str(tmp_path))
    path.unlink()
    with pytest.raises(ImageError):
        source.read(0)


def test_walking_is_sorted(tmp_path):
    for name in ("z/1.png", "a/2.png", "m.png"):
        write_image(tmp_path / name)
    assert [path.relative_to(tmp_path).as_posix() for path in walk_files(tmp_path, [])] == [
        "a/2.png",
        "m.png",
        "z/1.png",
    ]


@pytest.mark.parametrize("change", ["touch", "add", "rename", "nothing"])
def test_the_stamp_follows_the_listing(animals, change):
    before = open_source(str(animals)).stamp
    if change == "touch":
        os.utime(animals / "cat" / "1.png", ns=(1, 1))
    elif change == "add":
        write_image(animals / "cat" / "2.png")
    elif change == "rename":
        (animals / "cat").rename(animals / "lynx")
    assert (open_source(str(animals)).stamp == before) == (change == "nothing")


def test_metadata_jsonl_gives_class_and_group(animals):
    lines = [
        {"file_name": "cat/1.png", "class": "lion", "group": "leo"},
        {"file_name": "dog/1.png", "group": "rex"},
        {"file_name": "elsewhere.png", "class": "x"},
    ]
    (animals / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = open_source(str(animals))
    assert source.classes == ["lion", "dog", "dog"]
    assert source.groups == ["leo", "rex", None]
    chosen = open_source(f"{animals}:lion")
    assert (chosen.names, chosen.groups) == (["cat/1.png"], ["leo"])


def test_metadata_jsonl_includes_a_last_line_without_a_newline(animals):
    """Users edit these files; a group that is ignored leaks a person across splits."""
    lines = [{"file_name": "cat/1.png", "group": "a"}, {"file_name": "dog/1.png", "group": "a"}]
    (animals / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert open_source(str(animals)).groups == ["a", "a", None]


def test_metadata_jsonl_damaged_in_the_middle_is_refused(animals):
    (animals / "metadata.jsonl").write_text(
        '{"file_name": "cat/1.png"}\n{oops\n{"file_name": "dog/1.png", "group": "a"}\n'
    )
    try:
        groups = open_source(str(animals)).groups
    except UserError as error:
        assert "metadata.jsonl" in str(error)
    else:
        assert groups == [None, "a", None]


def test_metadata_that_is_not_text_is_refused(animals):
    (animals / "metadata.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError) as caught:
        open_source(str(animals))
    assert "bytes that are not UTF-8 text" in str(caught.value) and "codec" not in str(caught.value)


def test_numbers_serve_as_class_and_group(animals):
    lines = [{"file_name": "cat/1.png", "class": 0, "group": 0}, {"file_name": "dog/1.png", "class": 3, "group": 17}]
    (animals / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = open_source(str(animals))
    assert source.classes == ["0", "3", "dog"]
    assert source.groups == ["0", "17", None]
    assert open_source(f"{animals}:3").names == ["dog/1.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_metadata_csv_gives_class_and_group(animals, encoding):
    text = "file_name,class,group\ncat/1.png,löwe,leo\ndog/1.png,,rex\n"
    (animals / "metadata.csv").write_text(text, encoding=encoding)
    source = open_source(str(animals))
    assert source.classes == ["löwe", "dog", "dog"]
    assert source.groups == ["leo", "rex", None]


def test_metadata_csv_of_another_encoding_is_a_one_line_error(animals):
    (animals / "metadata.csv").write_bytes("file_name,class\ncat/1.png,löwe\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"metadata\.csv"):
        open_source(str(animals))


def test_digits_need_no_download():
    source = open_source("digits")
    assert len(source) == 1797
    assert set(source.classes) == set("0123456789")
    pixels = np.stack([source.read(i) for i in range(100)])
    assert pixels.shape == (100, 8, 8)
    assert pixels.dtype == np.uint8
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_one_digit_can_be_selected():
    from sklearn.datasets import load_digits

    source, data = open_source("digits:3"), load_digits()
    threes = data.images[data.target == 3]
    assert set(source.classes) == {"3"}
    assert len(source) == len(source.names) == len(threes) == 183
    for index in (0, 91, 182):
        assert np.abs(source.read(index) / 255 * 16 - threes[index]).max() < 0.1


def test_an_unknown_digit_lists_the_digits():
    for chosen in ("x", "11", "-1"):
        with pytest.raises(UserError) as caught:
            open_source(f"digits:{chosen}")
        assert str(caught.value) == f"there is no class '{chosen}' in digits (expected one of 0 to 9)"


def test_an_empty_source_is_not_the_current_folder():
    with pytest.raises(UserError, match="the name of the image source is empty"):
        open_source("")


def test_a_file_is_not_a_source(tmp_path):
    write_image(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png is a file \(expected a folder"):
        open_source(str(tmp_path / "a.png"))


def test_each_digit_has_a_stamp_of_its_own():
    stamps = {open_source(spec).stamp for spec in ("digits", *(f"digits:{digit}" for digit in range(10)))}
    assert len(stamps) == 11


def test_downloads_are_in_fakelab_data(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKELAB_DATA", str(tmp_path))
    assert default_data_root() == tmp_path
    monkeypatch.delenv("FAKELAB_DATA")
    assert default_data_root().parts[-3:] == (".cache", "fakelab", "data")
