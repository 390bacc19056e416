"""What is measured: the scoreboard and what is made of it."""
