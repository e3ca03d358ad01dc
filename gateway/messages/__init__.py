"""Wire formats of the road, without I/O: bytes and values in, values and bytes out."""
