"""Why a daemon is slow, and what is risky about one at rest: evidence is gathered, then judged by pure functions."""
