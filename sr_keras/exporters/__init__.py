"""File formats that a network is shipped in; one module is one format, with `save` and `load`."""
