"""What should be done: events in, actions out. No processes, no event loop, no clock."""
