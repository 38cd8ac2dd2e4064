"""This machine: its interpreters, and tools run as children."""
