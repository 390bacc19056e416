"""HTTP/1.1 without sockets: bytes in, requests out; a response in, bytes out (RFC 9110, RFC 9112)."""
