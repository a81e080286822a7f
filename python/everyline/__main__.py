"""`python -m everyline`, and the command `everyline` of the package: the same as the program of that name."""

import sys

from everyline._native import command


def main() -> None:
    """Runs the command and ends the process with its exit code (`everyline --help` lists them)."""
    sys.exit(command(["everyline", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
