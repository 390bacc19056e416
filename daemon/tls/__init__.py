"""TLS: certificates and keys as master and workers share them, and what is made of them."""
