"""Where do the clips come from? A model run here (latent.py), or a folder of clips made elsewhere (folder.py)."""
