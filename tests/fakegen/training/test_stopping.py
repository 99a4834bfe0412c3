"""The checkpoint of a stopped run, and notes and errors about runs without one."""

import shutil

import pytest

import fakegen
from fakecore.errors import Interrupted, UserError
from fakecore.files import read_json
from fakegen.runs.run import open_run
from fakegen.sampling.requests import note_unfinished

PER_EPOCH = 4  # steps, of digits:3 in batches of 32


class StopAfter:
    """Replaces StopRequest: requests a stop after a number of steps."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @property
    def asked(self):
        self.left -= 1
        return self.left < 0


@pytest.fixture
def stop(monkeypatch, tiny, tmp_path):
    """A function: train three epochs with a checkpoint of the last only, and stop within step `steps + 1`."""

    def stopped(steps):
        changes = {**tiny, "epochs": 3, "checkpoint_every": 100}
        with monkeypatch.context() as patch, pytest.raises(Interrupted) as caught:
            patch.setattr("fakegen.training.loop.StopRequest", StopAfter(steps))
            fakegen.train("digits-32", out=tmp_path / "run", real="digits:3", changes=changes, count=3, device="cpu")
        return open_run(tmp_path / "run"), str(caught.value)

    return stopped


def step_of(run, epoch):
    return read_json(run.checkpoint(epoch).with_suffix(".json"))["step"]


def weights(run, epoch):
    return run.checkpoint(epoch).with_suffix(".safetensors").read_bytes()


def test_a_stop_within_an_epoch_writes_a_checkpoint_that_the_complete_epoch_replaces(stop, run, tmp_path, capsys):
    stopped, message = stop(5)
    assert "stopped at step 6 of 12" in message and "a checkpoint of the unfinished epoch 2" in message
    assert stopped.epochs_on_disk() == [0, 2] and step_of(stopped, 2) == 6
    assert fakegen.sample(stopped.path, tmp_path / "set", count=3)["origin"]["epoch"] == 2
    assert "epoch 2 is unfinished: its checkpoint was saved at step 6 of 8" in capsys.readouterr().err

    fakegen.resume(stopped.path, device="cpu")
    assert stopped.epochs_on_disk() == [0, 2, 3] and step_of(stopped, 2) == 2 * PER_EPOCH
    assert weights(stopped, 2) == weights(open_run(run), 2)
    fakegen.sample(stopped.path, tmp_path / "again", count=3, epoch=2)
    assert "note" not in capsys.readouterr().err


def test_a_stop_at_the_end_of_an_epoch_writes_its_checkpoint(stop, run):
    stopped, _ = stop(PER_EPOCH - 1)
    assert stopped.epochs_on_disk() == [0, 1] and weights(stopped, 1) == weights(open_run(run), 1)


def test_a_resumed_run_may_schedule_other_checkpoints_with_the_same_result(stop, run):
    stopped, _ = stop(1)
    fakegen.resume(stopped.path, changes={"checkpoint_every": 2, "snapshot_every": 3, "epochs": 2}, device="cpu")
    assert weights(stopped, 2) == weights(open_run(run), 2)
    assert open_run(stopped.path).preset.checkpoint_every == 2


def test_a_failed_run_writes_a_checkpoint_of_its_last_valid_state(monkeypatch, run, tiny, tmp_path):
    from fakegen.training import step as training

    given = []

    def bad_at_last(*logits):
        given.append(training_loss(*logits))
        return given[-1] * (float("nan") if len(given) > PER_EPOCH + 1 else 1)

    training_loss = training.generator_loss
    monkeypatch.setattr(training, "generator_loss", bad_at_last)
    changes = {**tiny, "epochs": 3, "checkpoint_every": 100}
    with pytest.raises(UserError, match=r"not finite at step 6, epoch 2.*last valid state is a checkpoint"):
        fakegen.train("digits-32", out=tmp_path / "run", real="digits:3", changes=changes, count=3, device="cpu")
    failed = open_run(tmp_path / "run")
    assert failed.epochs_on_disk() == [0, 1] and weights(failed, 1) == weights(open_run(run), 1)


def test_a_killed_run_cannot_be_shortened_below_its_state(stop):
    stopped, _ = stop(PER_EPOCH + 1)
    stopped.save(step=PER_EPOCH, epoch=1)  # as after a kill within the second epoch
    with pytest.raises(
        UserError, match=r"already trained longer than requested \(got 4 steps; expected 6 or more: .* 1 epoch\)"
    ):
        fakegen.resume(stopped.path, changes={"epochs": 1})
    assert open_run(stopped.path).preset.epochs == 3


def test_a_run_beyond_its_last_checkpoint_says_how_to_save_one(run, tmp_path, capsys):
    """As for a run that was killed, or is still training."""
    killed = shutil.copytree(run, tmp_path / "killed")
    for half in (killed / "checkpoints").glob("epoch-0002.*"):
        half.unlink()
    fakegen.sample(killed, tmp_path / "set", count=3)
    message = capsys.readouterr().err
    assert "is at epoch 2, but its last checkpoint is epoch 1" in message
    assert f"generate --resume --out {killed}" in message
    note_unfinished(open_run(killed), [0])  # an explicit epoch needs no note
    assert capsys.readouterr().err == ""
