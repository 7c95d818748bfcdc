"""What objects does a frame show, and how would one describe each? GRiT-B (Wu et al., arXiv 2212.00280)."""
