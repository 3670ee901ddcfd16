"""Super-resolution networks: one file is one model, and each has one function, `build`."""
