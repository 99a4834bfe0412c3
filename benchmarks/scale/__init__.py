"""`score --engine ray`: how fast it is beside other ways, and what kills cost."""
