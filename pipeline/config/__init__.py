"""An experiment as a YAML file: read safely, checked strictly."""
