"""The plugin as a process: what is executed, how it starts, what it prints, how it ends."""
