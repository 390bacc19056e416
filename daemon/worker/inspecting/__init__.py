"""Looking into a worker that runs: profiles, and what its memory holds, on the master's order.

`inspections` takes the order and is all that a worker has loaded; a kind of inspection is a module of its own, imported
by the thread that carries it out, which is there only meanwhile. What it finds goes, as JSON lines, into the pipe that
came with the order; a reader that leaves ends it. Standard library only.

    begin {order, pid, python}      at once: the worker has heard
    …                               what the inspection finds: see `sampler`, `memory`
    end {why, …}                    the last line: "time" | "done"; without it, the worker has left
    refused {why}                   the only line: nothing is done
    failed {error}                  the last line: the inspection itself has failed; the worker goes on
"""
