"""Profiles: the lines of several workers, merged, and the files that they become."""
