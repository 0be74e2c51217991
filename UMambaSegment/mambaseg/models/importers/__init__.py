"""Published checkpoints read safely and described as models."""
