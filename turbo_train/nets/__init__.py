"""Which networks make clips? Protocols, the classes behind them, and the loaders of teachers and students."""
