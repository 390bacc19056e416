"""The names of variables of the environ by which a request's route, and what it costs, come to where it is counted."""

from __future__ import annotations

import sys

# The application's own word for it, or what was found; "": it was looked for, and there is none.
ROUTE = sys.intern("miniwsgi.route")
# ns that the thread has computed in the application, times the requests that this one stands for; of some of them.
CPU_NS = sys.intern("miniwsgi.cpu_ns")
CPU_OF = sys.intern("miniwsgi.cpu_of")  # how many those are, if more than this one
MOST_CPU_NS = 10**15  # eleven days; the application may put anything there, and more than this is no measure
