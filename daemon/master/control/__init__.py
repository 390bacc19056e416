"""What the control API asks of the daemon and is told by it."""
