"""What a line of the conformance table says: who is told, which line of X-Road's list it is of, and whose failure."""

from __future__ import annotations

from enum import Enum, StrEnum

from gateway.messages.faults import Hop


class Form(StrEnum):
    """Who is told."""

    REST = "REST"
    SOAP = "SOAP"
    GATEWAY = "gateway"
    OPERATOR = "operator"


REST, SOAP, GATEWAY = Form.REST, Form.SOAP, Form.GATEWAY
CONSUMER, PROVIDER, SERVICE, ADAPTER = Hop.CONSUMER_GATEWAY, Hop.PROVIDER_GATEWAY, Hop.SERVICE, Hop.ADAPTER


class Row(Enum):
    """The lines of X-Road's error list, in its order."""

    METHOD = "Not POST where only POST is taken"
    CONTENT = "Content type, SOAP and XML of the client"
    HEADER = "The SOAP header's entries"
    BODY = "The SOAP body"
    VERSION_AND_ACTION = "Protocol version and SOAPAction"
    REST = "REST syntax, and the client's identifier"
    ECHO = "A fault that was sent as a request"
    UNKNOWN_MEMBER = "Client or provider that isn't there"
    SECURITY_SERVER = "A security server that doesn't serve the provider"
    TLS = "Who may connect: clients to their gateway, gateways to each other"
    NETWORK = "No gateway of the provider, or one that breaks off"
    HTTP_STATUS = "A gateway that answers with another HTTP status"
    MAINTENANCE = "Maintenance"
    OUTDATED = "An outdated global configuration"
    SIGNER = "Signing"
    LOGGING = "Logging and time-stamping"
    MISSING_PART = "Parts that an answer lacks"
    SIGNATURE_OF_ANSWERS = "The signature of an answer"
    CONSISTENCY = "An answer to something else"
    PEER_VERSION = "A gateway that is too old"
    ROUTED_WRONGLY = "Requests that were routed to the wrong gateway"
    RIGHTS = "Service, type, right, switched off: in this order"
    SERVICE_URL = "The service's address"
    SERVICE = "Calling the service and reading its answer"
    SIGNATURE_OF_REQUESTS = "The signature of a request"
    OTHERS = "Others that X-Road has"
    RELAYED = "Said by X-Road's security servers only"
    CONFIGURATION = "A global configuration that isn't taken"
    TIMESTAMPS = "Time-stamps that aren't given"
    CONTAINERS = "Opening a signed container"
    KEYS = "Commands for keys and certificates"
    OURS = "This road's own"
