"""`aperio registry …`: one module a command."""
