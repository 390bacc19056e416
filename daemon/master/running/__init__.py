"""What is done: the event loop that carries out the supervisor's actions, and the processes that it holds."""
