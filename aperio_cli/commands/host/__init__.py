"""`aperio host …`: plugins that are kept running."""
