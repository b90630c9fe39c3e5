"""Floor 2: take pictures, results and events out, each by one transport."""
