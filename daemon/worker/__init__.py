"""What lives behind the fork: standard library only, so any interpreter can run it."""
