"""How far each epoch's fakes are from held-out reals: what `measure` says too, of the very fakes that detectors see."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fakecore.device import derive_seed
from fakecore.progress import progress_bar
from fakegen.quality.distances import frechet_distance, kernel_distance, precision_recall
from fakegen.quality.features import open_features
from fakegen.quality.records import DEFAULT_COUNT
from fakelab.race.cells import key_of, load_cell, save_cell
from fakelab.race.sets import Entrant


def epoch_distances(entrant: Entrant, cells: Path, device: str) -> tuple[dict[int, dict], int]:
    """{epoch: frechet, floor, kernel, precision, recall, features, comparable}, and how many of them were computed now.

    `floor` is the Frechet distance of as many training reals, in the fakes' place.
    """
    facts, found, missing, reals = entrant.run.facts, {}, {}, entrant.source
    assert reals, "the reals are kept until their distances are measured"
    source = {"reals": reals.fingerprint, "seed": facts["seed"], "split": facts["split"]}
    for epoch, pool in entrant.fakes.items():
        key = key_of("distance", pool=pool.key, resolution=entrant.run.preset.resolution, **source)
        if (kept := load_cell(cells, key)) is None:
            missing[epoch] = key
        else:
            found[epoch] = kept[1]
    if not missing:
        return found, 0
    count = min(DEFAULT_COUNT, entrant.learned + entrant.tested)
    space = open_features("auto", reals, device=device)
    random = np.random.default_rng(derive_seed(facts["seed"], "race", "distances"))
    held_out = space(reals.images[random.permutation(np.flatnonzero(reals.splits != "train"))[:DEFAULT_COUNT]])
    floor = frechet_distance(held_out, space(reals.images[random.permutation(reals.train_rows())[:count]]))
    with progress_bar(f"distances of {entrant.name}", len(missing), "epochs") as bar:
        for epoch, key in missing.items():
            fakes = space(entrant.fakes[epoch].images()[:count])
            precision, recall = precision_recall(held_out, fakes)
            numbers = {"frechet": frechet_distance(held_out, fakes), "floor": floor, "precision": precision}
            numbers |= {"kernel": kernel_distance(held_out, fakes)[0], "recall": recall}
            words = {"features": space.name, "comparable": space.comparable}
            found[epoch] = {**numbers, **words, "n_fake": len(fakes), "n_real": len(held_out)}
            save_cell(cells, key, {}, found[epoch])
            bar.advance()
    return found, len(missing)
