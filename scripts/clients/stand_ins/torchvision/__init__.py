"""Stands in for torchvision, of which scripts want the transforms of validation."""
