"""Box as an Aperio connector: business logic only, the SDK speaks to the host."""
