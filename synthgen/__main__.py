"""`python -m synthgen` is the command."""

from synthgen.cli import main

main()
