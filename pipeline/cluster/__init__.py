"""Stages on a Ray cluster: the driver that releases them, and the workers that run them."""
