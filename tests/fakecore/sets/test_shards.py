import io
import tarfile

import pytest

from fakecore.sets.shards import member_places, read_member, tar_end, tar_member

MEMBERS = {"fake-000000.png": b"", "fake-000000.json": b"{}", "b": b"x" * 512, "c" * 100: bytes(range(256)) * 40}


def ours(members):
    content = b"".join(tar_member(name, data) for name, data in members.items())
    return content + tar_end(len(content))


@pytest.mark.parametrize("count", range(len(MEMBERS) + 1))
def test_the_bytes_are_those_that_tarfile_writes(count):
    members = dict(list(MEMBERS.items())[:count])
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert ours(members) == file.getvalue()


def test_members_are_read_back_by_name(tmp_path):
    (tmp_path / "a.tar").write_bytes(ours(MEMBERS))
    assert {name: read_member(tmp_path / "a.tar", name) for name in MEMBERS} == MEMBERS
    with pytest.raises(KeyError):
        read_member(tmp_path / "a.tar", "other")


def test_a_replaced_shard_is_read_again(tmp_path):
    import os

    path = tmp_path / "a.tar"
    path.write_bytes(ours({"one": b"1"}))
    assert list(member_places(path)) == ["one"]
    path.write_bytes(ours({"two": b"2"}))
    os.utime(path, ns=(1, 1))
    assert list(member_places(path)) == ["two"]


@pytest.mark.parametrize("name", ["é.png", "n" * 101])
def test_a_name_that_a_header_cannot_hold_is_an_error(name):
    with pytest.raises(ValueError):
        tar_member(name, b"")
