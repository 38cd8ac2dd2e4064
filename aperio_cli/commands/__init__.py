"""One file per command: parse, call the stage, show the report."""
