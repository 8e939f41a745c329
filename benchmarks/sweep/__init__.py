"""A sweep of short runs by this program, by a shell loop, and by Hydra with Lightning."""
