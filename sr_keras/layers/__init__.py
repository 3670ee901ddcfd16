"""Keras layers that Keras lacks, registered so that a saved model finds them again."""
