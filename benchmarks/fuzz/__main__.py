"""`python -m benchmarks.fuzz`: give damaged files to all that reads files; see `fuzz.py`."""

from benchmarks.fuzz.fuzz import main

if __name__ == "__main__":
    main()
