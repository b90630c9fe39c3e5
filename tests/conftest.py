"""What all tests share: where the real weights and clips are, and a real server on a socket."""
