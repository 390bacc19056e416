"""The control API: who may ask, what each path does, and what happened lately."""
