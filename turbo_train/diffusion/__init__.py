"""What are the equations of diffusion, consistency and guidance? Tensors in, tensors out; torch and nothing of ours.

Convention (T2V-Turbo eaae323): alpha_t = sqrt(abar_t), sigma_t = sqrt(1 - abar_t), x_t = alpha_t x_0 + sigma_t eps.
Times are integers 0..999. Everything here is computed in float32 at least, whatever the networks run in.
Shape suffixes: B clips, C channels, T frames, H W height and width, E embedding.
"""
