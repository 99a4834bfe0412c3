import errno

import pytest

import fakecore
from fakecore.errors import Interrupted, UserError, explain_os_error, unknown_name, why_unreadable


def test_an_error_says_what_got_expected_and_remedy_in_one_line():
    error = UserError("no such thing", got="a\nb", expected=3, remedy="Do\r\nthis.")
    assert str(error) == "no such thing (got a b; expected 3). Do this."


def test_a_newline_in_a_file_name_does_not_break_the_line():
    assert "\n" not in str(UserError("line one\nline two\tof a name"))


def test_falsy_facts_are_included():
    assert str(UserError("too few", got=0, expected=1)) == "too few (got 0; expected 1)"


def test_an_unknown_name_lists_the_choices_and_the_nearest():
    text = str(unknown_name("preset", "cifr10", ["mnist", "cifar10", "celeba"]))
    assert text == "there is no preset 'cifr10' (expected one of mnist, cifar10, celeba). Did you mean 'cifar10'?"


def test_an_unknown_name_says_where_it_was_searched():
    text = str(unknown_name("class", "dgo", ["cat", "dog"], where="in photos"))
    assert text == "there is no class 'dgo' in photos (expected one of cat, dog). Did you mean 'dog'?"


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ("0123456789", "0 to 9"),
        (["8", "9", "10"], "8 to 10"),
        ("013", "0, 1, 3"),
        ("01", "0, 1"),
        (["00", "01", "02"], "00,"),
    ],
)
def test_numbers_are_listed_as_a_range_and_none_is_guessed(choices, expected):
    text = str(unknown_name("class", "11", choices))
    assert f"expected one of {expected}" in text and "Did you mean" not in text


def test_a_known_synonym_is_suggested_before_a_similar_name():
    assert str(unknown_name("field", "lr", ["blur", "rate"], meant="rate")).endswith("Did you mean 'rate'?")


def test_without_a_similar_name_the_remedy_is_given():
    text = str(unknown_name("preset", "zzz", (name for name in ["mnist"]), remedy="See `presets`."))
    assert "Did you mean" not in text
    assert text.endswith("See `presets`.")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full at 'x y.png'. Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.ENOENT, "no such file or folder"),
        (errno.ENOTDIR, "expected a folder, found a file"),
        (errno.EEXIST, "expected a folder, found a file"),
        (errno.EISDIR, "expected a file, found a folder"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_an_os_error_is_explained_in_one_line(number, words):
    import os

    error = explain_os_error(OSError(number, os.strerror(number), "x y.png"))
    assert isinstance(error, UserError)
    assert words in str(error)
    assert "\n" not in str(error)


def test_why_a_file_among_many_could_not_be_read(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    words = {
        "loop": "a symbolic link that points to itself",
        "gone": "a broken symbolic link",
        "absent": "no such file",
    }
    for name, expected in words.items():
        with pytest.raises(OSError) as caught:
            (tmp_path / name).stat()
        assert why_unreadable(caught.value, tmp_path / name) == expected
    assert why_unreadable(PermissionError(errno.EACCES, "Permission denied"), tmp_path) == "permission denied"
    assert why_unreadable(OSError(errno.EIO, "Input/output error"), tmp_path) == "input/output error"


def test_an_os_error_without_a_number_keeps_its_words():
    assert "odd thing" in str(explain_os_error(OSError("odd thing")))


def test_what_the_package_exports():
    assert set(fakecore.__all__) == {"FAKE", "REAL", "Interrupted", "UserError"}
    assert fakecore.UserError is UserError
    assert fakecore.Interrupted is Interrupted
    assert not issubclass(Interrupted, UserError)
