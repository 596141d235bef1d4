"""Inputs, services and helpers that tests share."""
