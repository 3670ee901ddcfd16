"""How an LR picture is made from an HR one; one file is one degradation."""
