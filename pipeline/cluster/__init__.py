"""Stages on a Ray cluster: the driver that releases them, the workers that run them."""
