"""What happened, provably: the message log and the access log of one gateway.

Cores (no I/O): merkle, tiles, note, checkpoint, cosignature, leaf, record, tag, batch. Shell: everything else.
"""
