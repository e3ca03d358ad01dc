"""The measure of the road's speed (docs/architecture.md): signed exchanges against plain proxying, in one run.

`python -m bench`, or `make bench`. Path (a) is client ► gateway ► gateway ► backend with everything on; path (b) is
the same client, request and backend with two plain aiohttp reverse proxies between them. Each part is a process.
"""
