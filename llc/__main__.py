"""`python -m llc` is the command line."""

from llc.cli import main

if __name__ == "__main__":
    main()
