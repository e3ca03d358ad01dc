"""A running gateway's global configuration: fetched each round, with those of federated instances, and put into force.

The clients that fetch and verify are `trust`'s; here is what a gateway does with the result, and that it speaks up long
before a configuration lapses (PR-GCONF 2.4: nobody may go on with an expired one).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from gateway.exchange.node import Node
from gateway.logging import describe_error
from gateway.tls_contexts import TLSContexts
from trust.configuration_client import ConfigurationClient
from trust.errors import TrustError
from trust.federation_client import FederationClient
from trust.globalconf import VerifiedConfiguration, VerifiedDirectory

# Registries sign anew each minute and for ten: this much less than that, and several rounds have failed.
WARN_BEFORE: Final = timedelta(minutes=5)


class FollowedConfiguration:
    """What is fetched, and what of it is in force. Used from one event loop."""

    def __init__(self, client: ConfigurationClient, federation: FederationClient) -> None:
        self.client = client
        self.federation = federation
        self._in_force: tuple[VerifiedDirectory, ...] = ()

    async def round(self, node: Node, contexts: TLSContexts) -> None:
        """Asks the sources once, and puts into force what is new.

        A source that refuses or is silent is logged, not raised: the configuration in force stays until it expires.
        """
        try:
            await self.client.refresh()
        except TrustError as error:
            _not_refreshed(node, node.settings.instance, error, node.trust.latest.configuration)
        own = self.client.current
        if own is None:
            return
        others = await self.federation.refresh(own, lambda instance, error: _not_refreshed(node, instance, error, None))
        self._take(node, contexts, own, others)
        left = own.expires - node.clock.now()
        if left < WARN_BEFORE:
            node.log.warning(
                "the global configuration lapses soon and exchanges will stop",
                expires=own.expires.isoformat(),
                age_seconds=round(-left.total_seconds()),
                hint="see `datenweg doctor` for the state of its sources",
            )

    def _take(
        self,
        node: Node,
        contexts: TLSContexts,
        own: VerifiedConfiguration,
        others: tuple[VerifiedConfiguration, ...],
    ) -> None:
        now = node.clock.now()
        current = tuple(other for other in others if other.expires > now)
        wanted = tuple(configuration.directory for configuration in (own, *current))
        if len(wanted) == len(self._in_force) and all(a is b for a, b in zip(wanted, self._in_force, strict=True)):
            return
        node.trust.replace(own, current)
        node.metrics.configuration_accepted(expires=own.expires)
        node.metrics.federations_accepted({other.instance: other.expires for other in current})
        contexts.approve(node.trust.latest.configuration)
        # Last: what wasn't taken up to its end is taken again in the next round.
        self._in_force = wanted


def _not_refreshed(node: Node, instance: str, error: TrustError, in_force: VerifiedConfiguration | None) -> None:
    expires = {} if in_force is None else {"expires": in_force.expires.isoformat()}
    reason = {} if error.__cause__ is None else describe_error(error.__cause__)
    node.log.warning(
        "global configuration not refreshed", server=instance, code=error.code, hint=error.hint, **expires, **reason
    )
