"""Helpers that know nothing of speech: files, processes, threads, random numbers, ranks."""
