import hashlib
import pickle
import struct
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets as tv
from PIL import Image

from fakecore.errors import UserError
from fakecore.media.pixels import decode_image
from fakecore.sets.sources import open_source


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every way by which torchvision reaches out ends in the error that a machine without a network gives."""

    def fail(*_, **__):
        raise URLError("Temporary failure in name resolution")

    for module in ("mnist", "cifar", "lfw", "utils"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", fail)
    monkeypatch.setattr("torchvision.datasets.svhn.download_url", fail)
    monkeypatch.setattr("torchvision.datasets.celeba.download_file_from_google_drive", fail)
    monkeypatch.setattr("urllib.request.urlopen", fail)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def jpeg(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 12), (value, value, value)).save(path, "JPEG")


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, first, count in (("train", 0, 6), ("t10k", 100, 3)):
        images = (np.arange(count)[:, None, None] + first + np.zeros((1, 28, 28))).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx((np.arange(count) % 3).astype(np.uint8)))
    return tmp_path


def test_mnist_joins_train_and_test(mnist):
    source = open_source("mnist", mnist)
    assert len(source) == 9
    assert source.classes == ["0", "1", "2", "0", "1", "2", "0", "1", "2"]
    assert [int(source.read(i)[0, 0]) for i in range(9)] == [0, 1, 2, 3, 4, 5, 100, 101, 102]
    assert source.read(0).shape == (28, 28)
    assert source.read(0).dtype == np.uint8
    assert len(set(source.names)) == 9


def test_one_class_of_mnist(mnist):
    source = open_source("mnist:2", mnist)
    assert set(source.classes) == {"2"}
    assert [int(source.read(i)[0, 0]) for i in range(3)] == [2, 5, 102]
    assert len({open_source(spec, mnist).stamp for spec in ("mnist", "mnist:1", "mnist:2")}) == 3


def test_an_unknown_class_of_mnist_lists_the_classes(mnist):
    with pytest.raises(UserError, match=r"no class '7' in mnist .*one of 0 to 2"):
        open_source("mnist:7", mnist)


@pytest.mark.parametrize("keep", [0, 2, 500])
def test_a_damaged_mnist_file_is_a_one_line_error(mnist, keep):
    path = mnist / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="mnist") as caught:
        open_source("mnist", mnist)
    assert "Error" not in str(caught.value) and "MNIST/raw" in str(caught.value)


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def batch(name, first):
        planes = np.zeros((2, 3, 32, 32), dtype=np.uint8)
        planes[:, 0] = 255
        planes[:, 1] = np.array([first, first + 1])[:, None, None]
        content = {"data": planes.reshape(2, -1), "labels": [0, 1]}
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, md5(folder / name)]

    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["cat", "dog"]}))
    monkeypatch.setattr(tv.CIFAR10, "train_list", [batch(f"data_batch_{i}", 10 * i) for i in (1, 2)])
    monkeypatch.setattr(tv.CIFAR10, "test_list", [batch("test_batch", 90)])
    monkeypatch.setattr(tv.CIFAR10, "meta", {**tv.CIFAR10.meta, "md5": md5(folder / "batches.meta")})
    return tmp_path


def test_cifar10_is_rgb_and_chosen_by_name(cifar10):
    source = open_source("cifar10", cifar10)
    assert source.classes == ["cat", "dog"] * 3
    assert source.read(0).shape == (32, 32, 3)
    assert [source.read(i)[5, 7].tolist() for i in (0, 5)] == [[255, 10, 0], [255, 91, 0]]
    dogs = open_source("cifar10:dog", cifar10)
    assert [int(dogs.read(i)[0, 0, 1]) for i in range(3)] == [11, 21, 91]
    assert len({open_source(spec, cifar10).stamp for spec in ("cifar10", "cifar10:dog", "cifar10:cat")}) == 3


def test_an_unknown_class_of_cifar10_names_the_nearest(cifar10):
    with pytest.raises(UserError, match=r"cat, dog.*Did you mean 'dog'\?"):
        open_source("cifar10:dogs", cifar10)


def test_an_altered_cifar10_pickle_is_never_opened(cifar10):
    marker = cifar10 / "it-ran"

    class Trap:
        def __reduce__(self):
            return type(marker).touch, (marker,)

    (cifar10 / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="cifar10"):
        open_source("cifar10", cifar10)
    assert not marker.exists()


@pytest.fixture
def svhn(tmp_path, monkeypatch):
    from scipy.io import savemat

    parts = dict(tv.SVHN.split_list)
    for part, first, labels in (("train", 10, [1, 10, 9]), ("test", 60, [10, 2])):
        pixels = np.zeros((32, 32, 3, len(labels)), dtype=np.uint8)
        pixels[:, :, 0] = 255
        pixels[:, :, 1] = first + np.arange(len(labels))
        pixels[:, :, 2] = np.arange(32)[:, None, None]
        path = tmp_path / f"{part}_32x32.mat"
        savemat(path, {"X": pixels, "y": np.array(labels, dtype=np.uint8)[:, None]})
        parts[part] = [*parts[part][:2], md5(path)]
    monkeypatch.setattr(tv.SVHN, "split_list", parts)
    monkeypatch.setattr("torchvision.datasets.svhn.download_url", lambda *_, **__: None)
    return tmp_path


def test_svhn_is_rgb_and_its_ten_is_a_zero(svhn):
    source = open_source("svhn", svhn)
    assert source.classes == ["1", "0", "9", "0", "2"]
    assert source.read(0).shape == (32, 32, 3)
    assert [source.read(i)[3, 4].tolist() for i in (0, 4)] == [[255, 10, 3], [255, 61, 3]]
    nines = open_source("svhn:9", svhn)
    assert [nines.read(i)[0, 0].tolist() for i in range(len(nines))] == [[255, 12, 0]]


@pytest.fixture
def lfw(tmp_path, monkeypatch):
    root = tmp_path / "lfw-py"
    people = {"Train": [("Ann_Lee", 2), ("Bob_Ray", 1)], "Test": [("Cy_Fox", 1)]}
    checksums = dict(tv.LFWPeople.checksums)
    (root / "lfw_funneled").mkdir(parents=True)
    for part, rows in people.items():
        path = root / f"peopleDev{part}.txt"
        path.write_text(f"{len(rows)}\n" + "".join(f"{name}\t{count}\n" for name, count in rows))
        checksums[path.name] = md5(path)
        for name, count in rows:
            for number in range(1, count + 1):
                jpeg(root / "lfw_funneled" / name / f"{name}_{number:04d}.jpg", 50 * number)
    (root / "lfw-names.txt").write_text("".join(f"{n}\t{c}\n" for rows in people.values() for n, c in rows))
    checksums["lfw-names.txt"] = md5(root / "lfw-names.txt")
    (root / "lfw-funneled.tgz").write_bytes(b"the archive")
    files = {**tv.LFWPeople.file_dict, "funneled": ("lfw_funneled", "lfw-funneled.tgz", md5(root / "lfw-funneled.tgz"))}
    monkeypatch.setattr(tv.LFWPeople, "file_dict", files)
    monkeypatch.setattr(tv.LFWPeople, "checksums", checksums)
    return tmp_path


def test_lfw_keeps_each_person_as_a_group(lfw):
    source = open_source("lfw", lfw)
    assert source.groups == ["Ann_Lee", "Ann_Lee", "Bob_Ray", "Cy_Fox"]
    assert np.abs(decode_image(source.read(1)).astype(int) - 100).max() <= 2
    assert open_source("lfw:Bob_Ray", lfw).groups == ["Bob_Ray"]


@pytest.fixture
def celeba(tmp_path, monkeypatch):
    root = tmp_path / "celeba"
    rows = [(1, -1, 1), (1, 1, 1), (-1, 1, 1), (1, 1, -1)]
    files = [f"{i + 1:06d}.jpg" for i in range(4)]
    for number, name in enumerate(files):
        jpeg(root / "img_align_celeba" / name, 40 * number)
    attributes = "".join(
        f"{name} " + " ".join(f"{v:2d}" for v in row) + "\n" for name, row in zip(files, rows, strict=True)
    )
    (root / "list_attr_celeba.txt").write_text("4\nMale Smiling Young \n" + attributes)
    (root / "identity_CelebA.txt").write_text("".join(f"{name} {7 + i // 2}\n" for i, name in enumerate(files)))
    (root / "list_eval_partition.txt").write_text("".join(f"{name} {i % 3}\n" for i, name in enumerate(files)))
    for name in ("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        (root / name).write_text("4\nimage_id x y\n" + "".join(f"{file} 0 0\n" for file in files))
    monkeypatch.setattr(tv.CelebA, "_check_integrity", lambda self: True)
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "files"),
    [
        ("celeba", ["000001", "000002", "000003", "000004"]),
        ("celeba:Smiling", ["000002", "000003", "000004"]),
        ("celeba:Male,Smiling", ["000002", "000004"]),
        ("celeba:Male,Smiling,Young", ["000002"]),
    ],
)
def test_celeba_gives_images_that_have_all_attributes(celeba, spec, files):
    source = open_source(spec, celeba)
    assert source.names == [f"celeba/{name}.jpg" for name in files]
    assert source.groups == [{"1": "7", "2": "7", "3": "8", "4": "8"}[name[-1]] for name in files]
    for index, name in enumerate(files):
        assert np.abs(decode_image(source.read(index)).astype(int) - 40 * (int(name) - 1)).max() <= 2


def test_an_unknown_attribute_of_celeba_names_the_nearest(celeba):
    with pytest.raises(
        UserError, match=r"no attribute 'Smilling' in celeba.*Male, Smiling, Young.*Did you mean 'Smiling'"
    ):
        open_source("celeba:Male,Smilling", celeba)


def test_attributes_that_no_face_has_together_are_refused(celeba):
    path = celeba / "celeba" / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace(" 1", "-1"))
    with pytest.raises(UserError, match="has all attributes of Male,Young"):
        open_source("celeba:Male,Young", celeba)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn", "lfw", "celeba"])
def test_without_data_and_network_the_error_explains_the_manual_download(tmp_path, name):
    root = tmp_path / "data"
    with pytest.raises(UserError) as caught:
        open_source(name, root)
    text = str(caught.value)
    assert f"the data set {name} is missing or damaged" in text
    assert text.count(str(root)) >= 2
    assert "Put " in text or "Unpack " in text
    assert "--data-root or FAKELAB_DATA" in text


def test_fakelab_data_is_where_it_looks(tmp_path, monkeypatch, mnist):
    monkeypatch.setenv("FAKELAB_DATA", str(mnist))
    assert len(open_source("mnist")) == 9


def test_a_data_root_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UserError):
        open_source("mnist", tmp_path / "file")
