"""`python -m synthgen` is the command."""

import sys


def main() -> None:
    """The command; Ctrl-C while it is loaded is no error."""
    try:
        from synthgen.cli import main as command
    except KeyboardInterrupt:
        print("synthgen: interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
