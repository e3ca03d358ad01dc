"""The citizen's side: identity, consent, the citizen API and the citizen's pages.

Talks to the road as any client does, over HTTP on its own gateway's client port. Nothing imports it but `gateway.app`
and the migrations, which need its tables.
"""
