"""The YAML file of an experiment: it is read safely and checked strictly."""
