"""The same training by this program and by others, side by side: `python -m benchmarks.peers`, see __main__.py."""
