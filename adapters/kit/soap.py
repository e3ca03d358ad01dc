"""The one door to zeep, typed: calls an operation of a WSDL that ships with the adapter.

zeep builds and reads the messages (SOAP 1.1, document/literal); the way over HTTP, the bounds on the answer and its
check against the schema are ours. The WSDL comes from package data, and zeep may load nothing else: its transport
refuses.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from lxml import etree
from zeep import Client, Settings
from zeep.exceptions import Fault
from zeep.helpers import serialize_object
from zeep.transports import Transport
from zeep.wsdl import Document

from adapters.kit.backend import BackendClient, malformed_answer
from adapters.kit.errors import InternalError
from adapters.kit.problems import INTERNAL
from adapters.kit.xml import MalformedXML, load_wsdl_schema, parse, require_valid, serialise

# zeep is half typed, and wrongly for what it accepts: inside this module it is Any, outside nothing of it shows.
_build_client: Final[Any] = Client
_build_document: Final[Any] = Document
_serialize: Final[Any] = serialize_object
_ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
_LIMIT_BYTES: Final = 1 << 20
# zeep logs values that it can't translate; those are people's data. Its log stays with us.
logging.getLogger("zeep").addHandler(logging.NullHandler())
logging.getLogger("zeep").propagate = False


@dataclass(frozen=True, slots=True)
class SOAPFault(Exception):
    """A fault that the WSDL declares: the local name of its detail element."""

    name: str


@dataclass(frozen=True, slots=True)
class _Reply:
    """What zeep reads of an answer."""

    status_code: int
    content: bytes
    headers: Mapping[str, str]
    encoding: str = "utf-8"


class _NoTransport(Transport):
    """What zeep loads documents with: it hands out the WSDL that it was given and loads nothing else."""

    def __init__(self) -> None:
        # Not calling zeep's constructor: it would open a requests session of its own.
        self._close_session = False
        self.logger = logging.getLogger("zeep.adapters")

    def load(self, url: Any) -> Any:
        if hasattr(url, "read"):
            return url.read()
        raise InternalError(INTERNAL)


class SOAPClient:
    """Calls the operations of one binding. Any number of tasks may call at once."""

    def __init__(self, *, wsdl: bytes, binding: str, path: str, backend: BackendClient) -> None:
        """`binding` is the QName in Clark notation; `path` is where the service lies below the backend's base URL."""
        transport = _NoTransport()
        settings = Settings(strict=True, forbid_dtd=True, forbid_entities=True, forbid_external=True, force_https=False)
        document = _build_document(io.BytesIO(wsdl), transport, settings=settings)
        self._client = _build_client(document, transport=transport, settings=settings)
        self._binding: Any = document.bindings[binding]
        self._namespace = binding[1:].partition("}")[0]
        self._schema = load_wsdl_schema(wsdl)
        self._path = path
        self._backend = backend

    async def call(self, operation: str, arguments: Mapping[str, object]) -> object:
        """The operation's result as plain dicts, lists, decimals and dates; a wrapper around a single part is removed.

        Raises SOAPFault for a declared fault, BackendError for any other failure of the backend.
        """
        message = self._binding.get(operation).create(**arguments)
        headers = {**message.headers, "Content-Type": "text/xml; charset=utf-8"}
        answer = await self._backend.send("POST", self._path, headers=headers, body=serialise(message.content))
        if answer.content_type != "text/xml":
            raise malformed_answer("Content-Type")
        try:
            root = parse(answer.body, max_bytes=_LIMIT_BYTES)
            self._require_envelope(root)
        except MalformedXML:
            raise malformed_answer("envelope") from None
        # zeep parses what the bounded parser read, not the bytes that came.
        reply = _Reply(answer.status, serialise(root), {"Content-Type": "text/xml"})
        try:
            return _serialize(self._binding.process_reply(self._client, self._binding.get(operation), reply), dict)
        except Fault as fault:
            self._raise_fault(fault)
        except Exception:  # noqa: BLE001  # zeep lets errors of lxml, decimal and datetime out of its reader
            raise malformed_answer("envelope") from None

    def _require_envelope(self, root: etree._Element) -> None:
        """SOAP 1.1 section 4: an envelope with one body entry, valid against the WSDL's schema or a fault."""
        body = root.find(f"{{{_ENVELOPE}}}Body")
        if root.tag != f"{{{_ENVELOPE}}}Envelope" or body is None or len(body) != 1:
            raise MalformedXML("not a SOAP 1.1 envelope")
        if body[0].tag != f"{{{_ENVELOPE}}}Fault":
            require_valid(body[0], self._schema)

    def _raise_fault(self, fault: Fault) -> NoReturn:
        detail = fault.detail
        entries = [] if detail is None else [entry for entry in detail if isinstance(entry.tag, str)]
        if len(entries) == 1:
            name = etree.QName(entries[0])
            if name.namespace == self._namespace:
                raise SOAPFault(name.localname) from None
        raise malformed_answer("fault") from None
