"""A small Django shop: middleware, sessions and a database, as real ones have."""
