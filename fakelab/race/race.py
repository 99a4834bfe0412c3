"""The race: how well do detectors separate a GAN's fakes from reals over the epochs of the GAN?

Every expensive result is a cell on disk (fakelab.race.cells): a killed race resumes, and one with another detector, epoch or
seed computes only what is new.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fakecore.device import choose_device, one_thread
from fakecore.errors import UserError
from fakecore.files import read_json, write_json
from fakecore.interrupt import with_resume_command
from fakecore.progress import progress_bar, say
from fakecore.runs.runfolder import host, locked, versions
from fakedetect.data.degrade import NONE, parse_degradation
from fakedetect.models.detector import network_logits, scoring_network
from fakedetect.models.registry import trains_on_features
from fakelab.race.baselines import baseline_scores
from fakelab.race.cells import CELLS_VERSION, key_of, load_cell, save_cell
from fakelab.race.contestants import Contestant, Finished, Trial, open_contestants, trials
from fakelab.race.distances import epoch_distances
from fakelab.race.fits import (
    TestImages,
    Training,
    load_heads,
    load_logits,
    load_network,
    missing_tests,
    open_untrained,
    pool_features,
    save_logits,
)
from fakelab.race.numbers import COLUMNS, correlation, detection_metrics, headline
from fakelab.race.report import write_race
from fakelab.race.results import Raced
from fakelab.race.sets import RaceRun, describe_run, open_race_runs
from fakelab.race.speed import images_per_s
from fakelab.race.workers import Workers

DEFAULT_DETECTORS = ("cnn", "dct", "spectrum", "discriminator")
MARKER = "race.json"


def run_race(
    runs: Sequence[Path | str],
    *,
    out: Path | str,
    detectors: Sequence[str] = DEFAULT_DETECTORS,
    epochs: str | None = None,
    per_epoch: int = 2000,
    seeds: int = 3,
    degrade: Sequence[str] = (),
    jobs: int | None = None,
    changes: dict[str, Any] | None = None,
    device: str = "auto",
    data_root: Path | None = None,
    real: Sequence[str] = (),
    resume_command: str = "the same command",
) -> Raced:
    """Train and test every detector at every chosen epoch of every run; write results.csv, the plots and report.html.

    `detectors` are models to train, "discriminator", or folders of trained detectors. `degrade` adds tests on degraded
    images. `changes` overrides RaceSettings. `jobs` is the number of parallel trainings, by default one per core. `real` is
    where the runs' real images are now, if they moved. Raises UserError for an invalid request, Interrupted when stopped;
    the next call with the same arguments resumes.
    """
    out, target = Path(out), choose_device(device)
    if not runs:
        raise UserError("no run is given", expected="one or more folders made by `generate`")
    for name, value in (("--seeds", seeds), ("--jobs", 1 if jobs is None else jobs)):
        if value < 1:
            raise UserError(f"{name} is out of range", got=value, expected="1 or more")
    degrades = list(dict.fromkeys([NONE, *(parse_degradation(one).name for one in degrade)]))
    contestants = open_contestants(detectors, changes or {}, str(target))
    _check_folder(out)
    with locked(out), with_resume_command(resume_command):
        clock = _Clock()
        with clock("drawing fakes, decoding reals"):
            race_runs, problems = open_race_runs(
                [Path(run) for run in runs], epochs, per_epoch, target, data_root, real
            )
            problems += check_contestants(contestants, race_runs)
        made = Raced(out, [], "", [], problems, clock.seconds)
        write_json(out / MARKER, _facts(race_runs, contestants, per_epoch, seeds, degrades))
        with clock("distances"):
            distances = {}
            for one in race_runs:
                distances[one.name], fresh = epoch_distances(one, out / "cells", device)
                _count(made, "distances", fresh)
        with Workers(out / "cells", target, jobs) as workers:
            for contestant in contestants:
                planned = trials(contestant, race_runs, range(seeds), degrades)
                with clock(contestant.name):
                    _train_and_score(contestant, planned, out / "cells", target, workers, made)
                with clock("speed of scoring"):
                    rate = _scoring_speed(contestant, planned[0], out / "cells", target)
                made.rows += _rows(contestant, planned, out / "cells", rate)
        with clock("baselines"):
            made.rows += _baselines(race_runs, seeds)
        names = [one.name for one in contestants]
        facts = [describe_run(one) for one in race_runs]
        made.correlations = _correlations(made.rows, race_runs, names, distances)
        made.headline = headline(made.rows, facts, distances, names)
        with clock("plots and report"):
            asked = {"per_epoch": per_epoch, "seeds": seeds, "degrades": degrades, "device": str(target)}
            write_race(made, race_runs, facts, contestants, distances, asked)
    return made


def check_contestants(contestants: list[Contestant], race_runs: list[RaceRun]) -> list[dict]:
    """Remove finished detectors that were trained on too many test reals, and return them as problems.

    Raises UserError if no detector is left.
    """
    problems = []
    for one in contestants:
        if not one.detector:
            continue
        try:
            one.find_known_reals(race_runs)
        except UserError as error:
            problems.append({"path": str(one.path), "status": "unusable", "error": str(error)})
            contestants.remove(one)
    if not contestants:
        raise UserError(f"no detector can be used: {problems[0]['error']}")
    return problems


class _Clock:
    """Wall-clock seconds by phase; calls with the same name add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str):
        began = time.perf_counter()
        yield
        self.seconds[what] = round(self.seconds.get(what, 0.0) + time.perf_counter() - began, 2)


def _check_folder(out: Path) -> None:
    """Check that `out` is free or holds a race; print a note if its cells have another version. Raises UserError if not."""
    if out.is_file():
        raise UserError(f"{out} is a file", expected="a new folder, or that of a race", remedy="Choose another --out.")
    if (out / MARKER).is_file():
        if _version(out / MARKER) != CELLS_VERSION:
            say(f"note: the cells in {out} have another version: they are computed again")
    elif out.is_dir() and any(entry.name not in (".lock", "cells") for entry in out.iterdir()):
        raise UserError(
            f"{out} contains other files", expected="a new folder, or that of a race", remedy="Choose another --out."
        )


def _version(marker: Path) -> object:
    try:
        facts = read_json(marker)
    except UserError:  # it is written again, and each cell has its version in its name
        return CELLS_VERSION
    return facts.get("version") if isinstance(facts, dict) else None


def _facts(race_runs, contestants, per_epoch: int, seeds: int, degrades: list[str]) -> dict:
    facts = {"version": CELLS_VERSION, "runs": [describe_run(one) for one in race_runs], "per_epoch": per_epoch}
    facts |= {"detectors": [one.to_json() for one in contestants], "seeds": seeds, "degrade": degrades}
    return facts | {"versions": versions(), "host": host()}


def _train_and_score(
    contestant: Contestant, planned: list[Trial], cells: Path, device: torch.device, workers: Workers, made: Raced
) -> None:
    """Train the detectors of one contestant and compute their logits, where these are not on disk."""
    tests: dict[str, dict[str, TestImages]] = {}
    by_key: dict[str, Any] = {trial.job.key: trial.job for trial in planned}
    for trial in planned:
        wanted = tests.setdefault(trial.job.key, {})
        wanted |= {test.key: test for test in (trial.reals, trial.fakes)}
    lists = {key: list(own.values()) for key, own in tests.items()}
    todo = [key for key, own in lists.items() if missing_tests(by_key[key], own, cells)]
    untrained = [key for key, job in by_key.items() if isinstance(job, Training) and load_cell(cells, job.key) is None]
    _count(made, "trainings", len(untrained))
    _count(made, "detectors scored", len(todo))
    if contestant.detector:
        for key in todo:
            _score_finished(contestant, by_key[key], lists[key], cells)
    elif contestant.settings is not None and trains_on_features(contestant.settings):
        jobs_left = [by_key[key] for key in untrained]
        _compute_features(jobs_left, device)
        workers(contestant.name, [(job, []) for job in jobs_left])
        _score_on_features({key: (by_key[key], lists[key]) for key in todo}, cells, device)
    else:
        left = [key for key in by_key if key in todo or key in untrained]
        workers(contestant.name, [(by_key[key], lists[key]) for key in left])


def _compute_features(jobs: list[Training], device: torch.device) -> None:
    """Compute the features for these trainings once, on all cores."""
    pools = {part.pool.key: part.pool for job in jobs for part in (job.reals, *job.fakes)}
    if pools:
        extractor = _extractor(jobs[0], device)
        for pool in pools.values():
            pool_features(extractor, pool.images(), device)


def _extractor(job: Training, device: torch.device) -> torch.nn.Module:
    return open_untrained(job).network.features.to(device)


def _score_on_features(todo: dict[str, tuple[Training, list[TestImages]]], cells: Path, device: torch.device) -> None:
    """Compute logits of detectors on the same features; the features of each pool are loaded once for all heads."""
    if not todo:
        return
    jobs = [job for job, _ in todo.values()]
    extractor = _extractor(jobs[0], device)
    heads = dict(zip(todo, load_heads(jobs, extractor, cells), strict=True))
    groups: dict[tuple[str, str], list[tuple[str, TestImages]]] = {}
    for key, (job, tests) in todo.items():
        for test in missing_tests(job, tests, cells):
            groups.setdefault((test.pool.key, test.degrade), []).append((key, test))
    found: dict[str, dict[str, np.ndarray]] = {key: {} for key in todo}
    with progress_bar("scoring", len(groups), "sets") as bar, torch.inference_mode(), one_thread():
        for (_, degrade), wanted in groups.items():
            pool = wanted[0][1].pool
            features = torch.from_numpy(pool_features(extractor, pool.degraded(degrade), device))
            for key, test in wanted:
                found[key][test.key] = heads[key](features[test.rows]).flatten().double().numpy()
            bar.advance()
    for key, (job, _) in todo.items():
        save_logits(job, found[key], cells)


def _score_finished(contestant: Contestant, job, tests: list[TestImages], cells: Path) -> None:
    found = {}
    with progress_bar(f"scoring with {contestant.name}", len(tests), "sets") as bar:
        for test in missing_tests(job, tests, cells):
            found[test.key] = contestant.logits(test.pool.degraded(test.degrade, test.rows))
            bar.advance()
    save_logits(job, found, cells)


def _scoring_speed(contestant: Contestant, trial: Trial, cells: Path, device: torch.device) -> float:
    """Return the images per second that a detector scores; measured once per device type and stored."""
    key = key_of("speed", job=trial.job.key, device=device.type)
    if (cell := load_cell(cells, key)) is None:
        images = np.concatenate([test.pool.images()[test.rows] for test in (trial.reals, trial.fakes)])
        if isinstance(trial.job, Finished):
            rate = round(images_per_s(contestant.logits, images), 1)
        else:
            network = scoring_network(load_network(trial.job, cells, device), device)
            rate = round(images_per_s(lambda batch: network_logits(network, batch, device), images), 1)
        save_cell(cells, key, {}, {"images_per_s": rate})
        return rate
    return cell[1]["images_per_s"]


def _rows(contestant: Contestant, planned: list[Trial], cells: Path, rate: float) -> list[dict]:
    logits = {key: load_logits(key, cells) for key in {trial.job.key for trial in planned}}
    seconds = {}
    for key in logits:
        cell = load_cell(cells, key)
        seconds[key] = None if cell is None else round(cell[1]["fit_s"], 3)
    rows = []
    for trial in planned:
        own = logits[trial.job.key]
        reals = own[trial.reals.key]
        found = detection_metrics(
            reals[contestant.unknown_reals(trial.reals)], own[trial.fakes.key], contestant.threshold
        )
        row = {**trial.facts(), **found, "fit_seconds": seconds[trial.job.key], "score_images_per_s": rate}
        rows.append({name: row[name] for name in COLUMNS})
    return rows


def _baselines(race_runs: list[RaceRun], seeds: int) -> list[dict]:
    rows = []
    for one in race_runs:
        reals = one.reals.images()
        for epoch, pool in one.fakes.items():
            fakes = pool.images()
            for seed in range(seeds):
                train_r, _ = one.split_reals(seed)
                train_f, _, test_f = one.split_fakes(seed)
                pairs = (reals[train_r], reals[one.test_reals]), (fakes[train_f], fakes[test_f])
                for name, (of_reals, of_fakes) in baseline_scores(*pairs, f"{epoch}-{seed}").items():
                    facts = {"run": one.name, "detector": name, "train_epoch": epoch, "test_epoch": epoch}
                    rows.append(
                        dict.fromkeys(COLUMNS)
                        | {**facts, "degrade": NONE, "seed": seed, **detection_metrics(of_reals, of_fakes, 0.5)}
                    )
    return rows


def _correlations(rows: list[dict], race_runs: list[RaceRun], names: list[str], distances) -> list[dict]:
    found = []
    for one in race_runs:
        far = {epoch: facts["frechet"] for epoch, facts in distances[one.name].items()}
        for name in names:
            own = [row for row in rows if row["run"] == one.name and row["detector"] == name]
            own = [row for row in own if row["degrade"] == NONE and row["train_epoch"] in (row["test_epoch"], "fixed")]
            found.append({"run": one.name, "detector": name, **correlation(own, far)})
    return found


def _count(made: Raced, what: str, number: int = 1) -> None:
    made.fresh[what] = made.fresh.get(what, 0) + number
