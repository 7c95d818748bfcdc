"""Where do training clips come from? Sources of samples in lanes, whose order no number of processes changes."""
