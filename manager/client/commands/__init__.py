"""The commands of `miniwsgictl`, one module a kind."""
