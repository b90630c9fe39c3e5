"""Media: the child processes that read cameras, what they are told, and the pool that keeps them."""
