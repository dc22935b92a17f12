"""Releases: pre-trained models as folders with a card and checksums, made, listed and downloaded.

Above the exports; `mgf models` reads them, examples/release/make.sh makes them.
"""
