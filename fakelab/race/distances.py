"""Distances of each epoch's fakes to held-out reals, as in `measure`, on the same fakes that the detectors see."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fakecore.device import derive_seed
from fakecore.progress import progress_bar
from fakegen.quality.distances import frechet_distance, kernel_distance, precision_recall
from fakegen.quality.features import choose_features, open_features
from fakegen.quality.records import DEFAULT_COUNT
from fakelab.race.cells import key_of, load_cell, save_cell
from fakelab.race.sets import RaceRun


def epoch_distances(race_run: RaceRun, cells: Path, device: str) -> tuple[dict[int, dict], int]:
    """Return {epoch: frechet, floor, kernel, precision, recall, features, comparable} and how many epochs were computed now.

    `floor` is the Frechet distance of as many training reals to the held-out reals.
    """
    facts, found, missing, reals = race_run.run.facts, {}, {}, race_run.source
    assert reals, "the source is set until the distances are measured"
    features = choose_features(reals)
    source = {"reals": reals.fingerprint, "seed": facts["seed"], "split": facts["split"], "features": features}
    for epoch, pool in race_run.fakes.items():
        key = key_of("distance", pool=pool.key, resolution=race_run.run.preset.resolution, **source)
        if (cell := load_cell(cells, key)) is None:
            missing[epoch] = key
        else:
            found[epoch] = cell[1]
    if not missing:
        return found, 0
    count = min(DEFAULT_COUNT, race_run.n_train + race_run.n_test)
    space = open_features(features, reals, device=device)
    random = np.random.default_rng(derive_seed(facts["seed"], "race", "distances"))
    held_out = space(reals.images[random.permutation(np.flatnonzero(reals.splits != "train"))[:DEFAULT_COUNT]])
    floor, _ = frechet_distance(held_out, space(reals.images[random.permutation(reals.train_rows())[:count]]))
    with progress_bar(f"distances of {race_run.name}", len(missing), "epochs") as bar:
        for epoch, key in missing.items():
            fakes = space(race_run.fakes[epoch].images()[:count])
            precision, recall = precision_recall(held_out, fakes)
            numbers = {"frechet": frechet_distance(held_out, fakes)[0], "floor": floor, "precision": precision}
            numbers |= {"kernel": kernel_distance(held_out, fakes)[0], "recall": recall}
            about = {"features": space.name, "comparable": space.comparable}
            found[epoch] = {**numbers, **about, "n_fake": len(fakes), "n_real": len(held_out)}
            save_cell(cells, key, {}, found[epoch])
            bar.advance()
    return found, len(missing)
