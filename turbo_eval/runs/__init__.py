"""What can be done with a run's folder after, before and while it is worked on? One module per command, none needs torch."""
