"""How well do frames match words? Reward models: frozen, differentiable in the frames, one file per family."""
