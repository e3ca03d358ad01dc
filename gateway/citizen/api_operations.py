"""How the API's operations become routes: one handler for each operation of the document, one way in for all.

Each request goes the same way: who calls, for whom, then path, query and body against the document. What comes to a
handler is of the document's types; handlers only translate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiohttp import web

from gateway.citizen.api_answers import answer, page
from gateway.citizen.callers import acting_for, caller_of
from gateway.citizen.contract import Contract, Operation, load_contract
from gateway.citizen.sessions import Session
from gateway.citizen.web import CITIZEN, Citizen
from gateway.messages.headers import REPRESENTING

CONTRACT: Final[Contract] = load_contract()


class UnhandledOperation(Exception):
    """The document and the handlers don't agree. Our own fault, seen at start."""


_One = TypeVar("_One")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, held to the document. `session` is that of the person whom it is about."""

    request: web.Request
    citizen: Citizen
    session: Session
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any

    @property
    def person(self) -> str:
        """How the tables name whom the request is about."""
        return self.citizen.person(self.session)

    def answer_page(
        self,
        name: str,
        items: Sequence[_One],
        place: Callable[[_One], tuple[int, str]],
        document: Callable[[_One], dict[str, Any]],
    ) -> web.Response:
        """The part of a list that is asked for, in the order of `place` (`api_answers.page`), under `name`."""
        listed, following = page(items, place, **self.paging)
        return answer(self.request, {name: [document(one) for one in listed], "next": following})

    @property
    def paging(self) -> Mapping[str, Any]:
        """Which part of a list is asked for, as `api_answers.page` takes it."""
        return {"limit": self.query["limit"], "cursor": self.query.get("cursor")}


Handler = Callable[[Call], Awaitable[web.Response]]


class Operations:
    """Collects handlers by operation id."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def handles(self, identifier: str) -> Callable[[Handler], Handler]:
        """Ties a handler to an operation."""

        def tie(handler: Handler) -> Handler:
            self._handlers[identifier] = handler
            return handler

        return tie

    def take(self, others: Operations) -> None:
        """Takes the handlers of another collection, too."""
        self._handlers |= others._handlers

    def routes(self, contract: Contract, *, documented: web.RouteDef) -> list[web.RouteDef]:
        """A route for each operation. Raises UnhandledOperation unless each has one handler and each handler one."""
        wanted = {operation.id: operation for operation in contract.operations if not operation.public}
        if set(wanted) != set(self._handlers):
            raise UnhandledOperation(min(set(wanted) ^ set(self._handlers)))
        routes = [
            web.route(operation.method, operation.path, _guarded(contract, operation, self._handlers[identifier]))
            for identifier, operation in wanted.items()
        ]
        return [documented, *routes]


def _guarded(
    contract: Contract, operation: Operation, handler: Handler
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    represents = REPRESENTING.lower() in operation.header_parameters

    async def handle(request: web.Request) -> web.StreamResponse:
        # 1. Who calls; a session's change also by its CSRF token.
        session = await caller_of(request)
        # 2. For whom: for themselves, but where the document lets somebody be represented.
        session = await acting_for(request, session, allowed=represents)
        # 3. What is asked.
        path = contract.path_of(operation, request.match_info)
        query = contract.query_of(operation, request.query)
        body = contract.body_of(operation, request.content_type, await request.read())
        return await handler(Call(request, request.app[CITIZEN], session, path, query, body))

    return handle
