"""Families of few-shot tasks, a file each."""
