"""How are the world's networks made? One file per network, one loop (`fit`), one order (`stages`)."""
