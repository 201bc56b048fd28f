"""`python -m callframe` is `callframe`."""

from callframe.cli import main

main(prog_name="callframe")
