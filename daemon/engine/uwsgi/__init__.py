"""The uwsgi protocol: what nginx's uwsgi_pass speaks, in front of the same application and with the same answers.

`packet` is its grammar, `request` makes of a packet's variables what HTTP makes of a head, `connection` has the states,
`conversation` is the plain engine's with these instead of HTTP's. All of it is in the engine, and not in daemon.http:
a packet's variables are an environ nearly as they come, and that is the engine's to know.
"""
