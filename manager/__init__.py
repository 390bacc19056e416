"""How a running daemon is managed: the control API and its client."""
