"""`aperio plugin …`: one module a command."""
