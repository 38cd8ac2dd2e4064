"""go-plugin on the wire: handshake line, channel, mutual TLS."""
