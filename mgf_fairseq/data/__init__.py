"""Manifests, labels and audio reading: from files on disk to a batch of waveforms.

First in the flow; nothing here knows a model, an objective or a loss.
"""
