"""Static files: what is below a prefix of URLs, answered by the server itself. Standard library only."""
