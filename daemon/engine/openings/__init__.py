"""What comes on a connection before its first request: a PROXY header, a TLS handshake, in this order."""
