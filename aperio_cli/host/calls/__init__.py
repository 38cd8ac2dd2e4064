"""The calls of the plugin interface, kind by kind, and what is stamped on their results."""
