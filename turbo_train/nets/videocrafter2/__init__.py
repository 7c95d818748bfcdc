"""VideoCrafter2 (arXiv 2401.09047): its UNet, and how the published checkpoint becomes a Model."""
