"""Run fakelab from a checkout."""

from fakelab.app import main

if __name__ == "__main__":
    main()
