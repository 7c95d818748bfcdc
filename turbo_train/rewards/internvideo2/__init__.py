"""InternVideo2 Stage-2 1B: how well does a clip match a text? Its score's branches alone, in plain PyTorch."""
