"""What can be done with a run's folder beside making clips? One module per command; none needs torch."""
