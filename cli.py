"""Run fakelab from a checkout: `python cli.py COMMAND`."""

from fakelab.app import main

if __name__ == "__main__":
    main()
