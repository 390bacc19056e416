"""Answers of the control API as people read them."""
