from .demo import run_demo
from .race.race import race
from .race.results import Raced

__all__ = [
    "Raced",
    "race",
    "run_demo",
]
