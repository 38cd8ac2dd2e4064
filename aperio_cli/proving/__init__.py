"""Does a bundle prove it: signatures, certificates, statements, against trusted roots."""
