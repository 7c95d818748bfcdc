"""Where do published weights come from, where do they lie, and are they what they should be? Free of torch."""
