"""What `score --engine ray` does with a job that exists: `python -m benchmarks.scale.driver FOLDER`; to be killed."""

from __future__ import annotations

import sys

from fakedetect.engine.cluster import Resources, judge_parts
from fakedetect.engine.job import Job

if __name__ == "__main__":
    job = Job.open(sys.argv[1])
    finished = job.finished()
    for _ in judge_parts(job, [part for part in range(job.parts) if part not in finished], None, Resources()):
        pass
