"""Measurements of speed; each module names the command that runs it."""
