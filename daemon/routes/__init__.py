"""routes: which of the application's routes a request is, found without the application's help.

Frameworks know it when they answer: a rule in the environ (Flask, Bottle), a variable of the frame that calls
start_response (Django, CherryPy), an event of their own (Pyramid, Falcon). `frameworks` and `events` know where,
`routed` looks when the head of an answer is begun, `choice.route_of_running` is for who asks about a request that still
runs. Standard library only. An application's objects may be anything: whatever they raise means that there is no route.
"""
