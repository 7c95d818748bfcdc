"""What would one say of a picture? Tag2Text with Swin-B (Huang et al., arXiv 2303.05657)."""
