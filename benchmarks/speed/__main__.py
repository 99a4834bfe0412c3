"""`python -m benchmarks.speed`: compare fakelab with textbook loops; see `speed.py`."""

from benchmarks.speed.speed import main

if __name__ == "__main__":
    main()
