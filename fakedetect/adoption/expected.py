"""Compare scores with those that the original program gave."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fakecore.errors import UserError

_PATHS = ("path", "file", "file_name", "filename", "image", "name")
_SCORES = ("score", "p_fake", "probability", "prob", "logit", "pred", "prediction", "output")
_FORMS = ("p_fake", "1 - p_fake", "logit", "-logit")


@dataclass(frozen=True)
class Expected:
    """Scores of the original program: `scores` (N,), NaN for images that it did not score."""

    scores: np.ndarray

    def difference(self, rows: np.ndarray, logits: np.ndarray) -> float:
        """Return the mean difference of these rows' logits from the scores, whose form is found out; infinity without any."""
        own = np.isfinite(self.scores[rows])
        if not own.any():
            return float("inf")
        return min(float(np.abs(form - self.scores[rows][own]).mean()) for form in _forms(logits[own]).values())

    def agreement(self, rows: np.ndarray, logits: np.ndarray) -> dict:
        """Return what the scores are, on how many images they were compared, and the mean and largest difference."""
        own = np.isfinite(self.scores[rows])
        expected = self.scores[rows][own]
        apart = {name: np.abs(form - expected) for name, form in _forms(logits[own]).items()}
        form = min(apart, key=lambda name: float(apart[name].mean()))
        return {
            "images": int(own.sum()),
            "form": form,
            "mean": float(apart[form].mean()),
            "max": float(apart[form].max()),
        }


def _forms(logits: np.ndarray) -> dict[str, np.ndarray]:
    p_fake = np.exp(-np.logaddexp(0, -logits))
    return dict(zip(_FORMS, (p_fake, 1 - p_fake, logits, -logits), strict=True))


def read_expected(path: Path, paths: list[str]) -> Expected:
    """Read a CSV with a column of paths or names and one of scores, for the images `paths`.

    Raises UserError for a file without such columns, or with scores of none of the images.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            name = next((one for one in columns if one.lower() in _PATHS), None)
            score = next((one for one in columns if one.lower() in _SCORES), None)
            if name is None or score is None:
                expected = f"a column {' or '.join(_PATHS[:3])} and a column {' or '.join(_SCORES[:4])}"
                raise UserError(f"--expect {path} cannot be used", got=", ".join(columns), expected=expected)
            found = {row[name]: float(row[score]) for row in reader}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"--expect {path} cannot be read", got=str(error)[:100], expected="a CSV of scores") from None
    scores, values = np.full(len(paths), np.nan), list(found.values())
    for parts in (0, 3, 2, 1):  # whole paths, then as much of their ends as tells the images apart
        theirs, ours = _by_end(list(found), parts), _by_end(paths, parts)
        for end in theirs.keys() & ours.keys():
            if np.isnan(scores[ours[end]]):
                scores[ours[end]] = values[theirs[end]]
    if not np.isfinite(scores).any():
        name = Path(paths[0]).name
        several = sum(Path(path).name == name for path in paths) > 1
        shown = "/".join(Path(paths[0]).parts[-2:]) if several else name
        got, expected = next(iter(found), "an empty file"), f"names such as {shown}"
        if several:
            expected += f", since several images are called {name}"
        raise UserError(f"--expect {path} has scores of none of the images", got=got, expected=expected)
    return Expected(scores)


def _by_end(paths: list[str], parts: int) -> dict[str, int]:
    """Return the places of paths by their last `parts` (0: all), without ends that several have."""
    ends = [path if not parts else "/".join(Path(path).parts[-parts:]) for path in paths]
    counts = Counter(ends)
    return {end: place for place, end in enumerate(ends) if counts[end] == 1}
