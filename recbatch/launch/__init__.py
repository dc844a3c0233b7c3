"""Starting work: what a command or a scheduler calls. The same functions serve the command line and ``jobs/``."""
