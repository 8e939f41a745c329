"""What a sweep, a cache of decoded images, and memory cost as there is more of everything."""
