"""`python -m fakelab COMMAND`."""

from fakelab.app import main

if __name__ == "__main__":
    main()
