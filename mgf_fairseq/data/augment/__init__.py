"""Augmentation of views for pre-training: speed, room, gain, noise."""
