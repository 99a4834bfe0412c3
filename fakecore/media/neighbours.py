"""Find all pairs of points that are near each other, without comparing all pairs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from fakecore.cpus import usable_cpus

_LEAF = 128  # points that are compared with all their candidates in one product of matrices
_QUERIES = 4096  # candidates at a time
_WAITING = 64  # leaves submitted and not yet taken
_SLACK = 1e-6  # of a squared length: rounding in single precision


def near_points(points: np.ndarray, radii: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of indices, (m,) and (m,): once, every pair of `points` (N, D) no further apart than the smaller of their two
    `radii` (N,). Further pairs may be among them: within the larger radius, or too close to it for single precision.

    A k-d tree halves the points at the median of one coordinate after another, so the first columns should vary most. All
    points descend together, and the product of two matrices compares a leaf with all points that reach it.
    """
    # |p - q|^2 <= r^2 as one product: (p, 1, |p|^2/2) . (q, (r^2 - |q|^2)/2, -1) >= 0
    points = (points - points.mean(axis=0)).astype(np.float32)  # centred: less rounding
    halves = 0.5 * (points**2).sum(axis=1)
    squares = radii.astype(np.float32) ** 2
    ones = np.ones(len(points), np.float32)
    members = np.column_stack([points, ones, halves])
    queries = np.column_stack([points, 0.5 * squares - halves, -ones])
    margin = -_SLACK * (float(halves.max(initial=0)) + 1) * points.shape[1]

    def compare(own: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the near pairs of a leaf: its `own` points with each other and with `others`, later ones of the tree."""
        found = []
        for start in range(0, len(others), _QUERIES):
            later = others[start : start + _QUERIES]
            place, query = divmod(np.flatnonzero(members[own] @ queries[later].T >= margin), len(later))
            found.append((own[place], later[query]))
        for start in range(0, len(own), _QUERIES):
            part = own[start : start + _QUERIES]
            place, query = np.nonzero(members[own] @ queries[part].T >= margin)
            query += start
            found.append((own[place[place < query]], own[query[place < query]]))
        first, second = zip(*found, strict=True)
        return np.concatenate(first), np.concatenate(second)

    with ThreadPoolExecutor(usable_cpus()) as pool:
        waiting: list[Future] = []
        for own, others in _leaves(np.ascontiguousarray(points.T), squares):
            waiting.append(pool.submit(compare, own, others))
            if len(waiting) == _WAITING:
                yield waiting.pop(0).result()
        for leaf in waiting:
            yield leaf.result()


def _leaves(coordinates: np.ndarray, squares: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the leaves of the tree over points, by `coordinates` (D, N): the indices of its points, and of those points of
    later leaves that may be as near to one of them as their squared radii, `squares` (N,), allow.
    """
    nothing = np.empty(0, dtype=np.int64)
    # own points; later points; what their radii leave of their squared distances to this node; the next coordinate
    stack = [(np.arange(squares.size), nothing, squares[nothing], 0)]
    while stack:
        own, others, left, depth = stack.pop()
        if len(own) <= _LEAF or depth == len(coordinates):
            yield own, others
            continue
        values = coordinates[depth]
        middle = np.median(values[own])
        below = values[own] <= middle
        lower, upper = own[below], own[~below]
        # Each coordinate is used once on the way down, so squared distances along coordinates add up.
        gaps = values[others] - middle
        rest = left - gaps**2
        side = gaps > 0
        reaches = side | (rest >= 0)
        stack.append((upper, others[reaches], np.where(side, left, rest)[reaches], depth + 1))
        reaches = ~side | (rest >= 0)
        crossing = squares[upper] - (values[upper] - middle) ** 2
        stack.append(
            (
                lower,
                np.concatenate([others[reaches], upper[crossing >= 0]]),
                np.concatenate([np.where(side, rest, left)[reaches], crossing[crossing >= 0]]),
                depth + 1,
            )
        )
