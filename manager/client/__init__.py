"""`miniwsgictl`: see, scale, reload and stop a running daemon."""
