"""Evaluation: labelled clips and pictures through the real pipeline, and how right its analyzers were about them."""
