"""The command line, one command per file. Heavy libraries are imported inside the commands."""
