"""Objectives of the adversarial game on logits; one file is one objective."""
