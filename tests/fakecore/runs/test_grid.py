"""Grids: every combination once, a folder that knows what it was asked, failures that stop nothing."""

from pathlib import Path

import pytest
import torch

from fakecore.errors import Interrupted, UserError
from fakecore.files import read_json
from fakecore.runs.grid import Cell, cell_name, check_grid, claimed, combinations, parse_over, run_cells

CELLS = [Cell("a=1", {"a": "1"}), Cell("a=2", {"a": "2"}), Cell("a=3", {"a": "3"})]


def test_over_is_parsed_and_combined_with_the_last_field_innermost():
    over = parse_over(["a=1, 2", " b=x,y,"])
    assert over == {"a": ["1", "2"], "b": ["x", "y"]}
    assert [tuple(one.values()) for one in combinations(over)] == [("1", "x"), ("1", "y"), ("2", "x"), ("2", "y")]
    assert combinations({}) == [{}]


@pytest.mark.parametrize("typed", [["a"], ["=1"], ["a=,"], ["a=1", "a=2"]])
def test_invalid_over_is_refused(typed):
    with pytest.raises(UserError, match="--over"):
        parse_over(typed)


def test_names_are_those_of_folders():
    assert cell_name({"model": "timm:vit/x y", "lr": "1e-4"}, "dog") == "dog_model=timm-vit-x-y_lr=1e-4"


def test_equal_cells_fields_swept_and_set_and_zero_jobs_are_refused():
    with pytest.raises(UserError, match="same run twice"):
        check_grid([*CELLS, CELLS[0]], {"a": []}, {}, 1)
    with pytest.raises(UserError, match="a is given to both --over and --set"):
        check_grid(CELLS, {"a": []}, {"a": "1", "b": "2"}, 1)
    with pytest.raises(UserError, match="--jobs"):
        check_grid(CELLS, {"a": []}, {}, 0)


def test_a_claimed_folder_resumes_only_the_same_request(tmp_path):
    for _ in range(2):
        with claimed(tmp_path / "s", {"runs": ["x"]}):
            assert read_json(tmp_path / "s" / "sweep.json") == {"runs": ["x"]}
    with pytest.raises(UserError, match="sweep with other settings"), claimed(tmp_path / "s", {"runs": ["y"]}):
        pass
    assert read_json(tmp_path / "s" / "sweep.json") == {"runs": ["x"]}


def test_a_folder_with_other_files_is_not_changed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for out, words in ((tmp_path, "not empty"), (tmp_path / "mine.txt", "is a file")):
        with pytest.raises(UserError, match=words), claimed(out, {}):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_cell_records_its_reason_and_the_others_continue(tmp_path):
    done = []

    def train(cell: Cell) -> None:
        if cell.name == "a=1":
            raise UserError("no", got=1)
        if cell.name == "a=2":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")
        done.append(cell.name)

    failed = run_cells(tmp_path, CELLS, train, jobs=1)
    assert failed == {
        "a=1": "no (got 1)",
        "a=2": "the device is out of memory: CUDA out of memory. Tried to allocate",
    }
    assert done == ["a=3"]


@pytest.mark.parametrize("stop", [Interrupted("stopped"), KeyboardInterrupt()])
def test_a_stop_ends_the_grid_and_reports_the_cell(stop, tmp_path):
    def train(cell: Cell) -> None:
        if cell.name == "a=2":
            raise stop
        assert cell.name == "a=1"

    with pytest.raises(Interrupted, match=r"stopped in a=2;.* Repeat the command to resume"):
        run_cells(tmp_path, CELLS, train, jobs=1)


def test_parallel_processes_do_the_work(tmp_path):
    cells = [Cell(str(tmp_path / name), {}) for name in ("one", "two")]
    assert run_cells(tmp_path, cells, touch, jobs=2) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def touch(cell: Cell) -> None:
    Path(cell.name).touch()
