from .demo import run_demo
from .quiz.quiz import Quiz, make_quiz
from .race.race import run_race
from .race.results import Raced

__all__ = [
    "Quiz",
    "Raced",
    "make_quiz",
    "run_demo",
    "run_race",
]
