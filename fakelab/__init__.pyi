from .demo import run_demo
from .race.race import run_race
from .race.results import Raced

__all__ = [
    "Raced",
    "run_demo",
    "run_race",
]
