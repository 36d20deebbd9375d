"""The words of the design as types: values and protocols only, nothing that acts."""
