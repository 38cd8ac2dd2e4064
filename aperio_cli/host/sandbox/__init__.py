"""The sandbox that plugins are started in (docs/explanation/sandbox.md)."""
