"""``python -m recbatch`` is the command line."""

from recbatch.cli.main import entry

entry()
