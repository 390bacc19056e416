"""Certificates as the master has them: read from their files, verified, installed for workers, and renewed."""
