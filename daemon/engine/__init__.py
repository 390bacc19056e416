"""PEP 3333: the application's side of a request. Standard library only."""
