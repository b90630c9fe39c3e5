"""Floor 2: bring frames in, each by one transport. The rest of the code cannot tell which."""
