"""Manifests, labels and audio reading: everything between a folder of recordings and a Batch.

First in the flow; nothing here knows a model, an objective or a loss.
"""
