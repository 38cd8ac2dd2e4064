"""What the host offers to a plugin while it runs."""
