"""`aperio trust …`: one module a command."""
