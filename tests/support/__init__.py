"""What tests share: inputs, services and helpers."""
