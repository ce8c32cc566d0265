"""The command line, for those who run `python cli.py`: see `llc.cli`."""

from llc.cli import main

if __name__ == "__main__":
    main()
