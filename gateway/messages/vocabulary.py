"""The road's one table of error codes: where each arises, why, and what to do about it.

Codes follow X-Road's error list in the spelling of 7.8 (`server.serverproxy.access_denied`); until 7.7 the same codes
were written in CamelCase (`Server.ServerProxy.AccessDenied`). Codes marked as ours in docs/errors.md are additions of
this road. A cause and a hint are shown to clients: they are fixed sentences and never carry data of a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final


class Hop(StrEnum):
    """Where on the way of a message something failed."""

    CLIENT = "client"
    CONSUMER_GATEWAY = "consumer gateway"
    PROVIDER_GATEWAY = "provider gateway"
    ADAPTER = "adapter"
    SERVICE = "service"
    SIGNER = "signer"
    VERIFIER = "verifier"


class Vocabulary(StrEnum):
    """How codes are spelled on the wire."""

    SNAKE = "snake"
    CAMEL = "camel"


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One code of the table. `name` is the whole code; `ours` tells that X-Road doesn't know it."""

    name: str
    hop: Hop
    cause: str
    hint: str
    ours: bool = False


# Leaf of a code -> (cause, hint). One leaf may arise at several hops; the sentence fits them all.
_MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
    # The caller's own message (PR-MESS 2, PR-REST 4).
    "bad_request": ("the request is not well formed", "compare it with the road's REST or SOAP message protocol"),
    "invalid_http_method": ("the HTTP method is not allowed here", "send SOAP messages with POST"),
    "invalid_content_type": ("the content type is missing or not supported", "send the content type of the protocol"),
    "missing_soap": ("the message has no SOAP part", "send the SOAP envelope as the body or as the first part"),
    "invalid_soap": ("the body is not a SOAP 1.1 message", "check the envelope and its namespace"),
    "invalid_xml": ("the XML is not well formed or not of the expected schema", "check the message against its schema"),
    "missing_header": ("the SOAP message has no header", "add the header with client, service, id and protocolVersion"),
    "missing_header_field": ("a required header field is missing", "add the header that the message protocol requires"),
    "duplicate_header_field": ("a header that may occur once occurs twice", "send the header once"),
    "missing_body": ("the SOAP message has no body", "add a body with one element named after the service"),
    "invalid_body": ("the SOAP body must hold exactly one element", "use the document/literal wrapped style"),
    "inconsistent_headers": (
        "the body's element does not match the service code",
        "name the element after the service",
    ),
    "invalid_protocol_version": ("the protocol version is not supported", "send protocolVersion 4.0"),
    "invalid_soap_action": ("the SOAPAction header is not valid", "leave it empty or put it into double quotes"),
    "invalid_client_identifier": ("the client identifier is not valid", "send INSTANCE/CLASS/MEMBER/SUBSYSTEM"),
    "invalid_request": ("the request to the road's own service is not valid", "add the parameters that it requires"),
    "not_found": ("what was asked for does not exist", "check the identifiers in the request"),
    "reserved_header": ("a header that only the road may set was sent", "leave the header out"),
    "body_too_large": ("the body is larger than this gateway accepts", "send less, or ask the operator for the limit"),
    "citizen_token_invalid": ("the citizen's token does not hold", "let the citizen log in again"),
    "citizen_issuer_unavailable": ("the citizen's token can't be checked now", "try again later"),
    "representation_refused": (
        "the citizen may not act for the person that they named",
        "name somebody of /api/v1/represented; the city registers who may act for whom",
    ),
    # Routing and peers.
    "unknown_member": (
        "the member or subsystem is not registered here",
        "check the identifier, and that the request goes to the gateway where it is registered",
    ),
    "invalid_security_server": ("the gateway asked for does not serve this provider", "leave out the security server"),
    "ssl_authentication_failed": (
        "the TLS peer could not be authenticated",
        "check the certificate, its registration, and that HTTPS is used where it is required",
    ),
    "network_error": ("the other side could not be reached or broke off", "try again; if it stays, ask its operator"),
    "http_error": ("the other side answered with an unexpected HTTP status", "ask the operator of the other side"),
    "maintenance_mode": ("the provider's gateway is under maintenance", "try again after the maintenance"),
    "global_conf_outdated": ("the global configuration has expired", "the operator must restore the registry's reach"),
    "malformed_global_conf": ("the global configuration is not authentic or not readable", "check the anchor"),
    "malformed_server_conf": ("the gateway's own configuration is not usable", "check the gateway's settings"),
    "client_proxy_version_not_supported": ("the peer gateway is too old for this one", "upgrade the consumer gateway"),
    # Rights.
    "unknown_service": ("the provider has no such service", "check the service code"),
    "service_type": ("the service is of another type", "call REST services over REST and WSDL services over SOAP"),
    "access_denied": ("the client has no access right to the service", "ask the provider to grant it"),
    "service_disabled": ("the provider has switched the service off", "see the provider's notice, try again later"),
    "service_missing_url": ("the service has no address", "the provider must set the service's address"),
    "service_malformed_url": ("the service's address is not valid", "the provider must correct the service's address"),
    "consent_required": ("the service needs the citizen's consent and none was named", "ask the citizen for consent"),
    "consent_invalid": ("the consent does not cover this request", "check client, subject, service and signature"),
    "consent_expired": ("the consent has expired", "ask the citizen to renew it"),
    "consent_withdrawn": ("the citizen has withdrawn the consent", "stop using it; only the citizen can give another"),
    "identity_level_too_low": (
        "the citizen's identity level is too low for the service",
        "let the citizen log in with a stronger means",
    ),
    "subject_required": ("the service needs to know whose data is meant", "send the citizen's token or the subject"),
    "quota_exceeded": (
        "the client has used up its quota for the service",
        "wait, or ask the provider for a larger one",
    ),
    "replayed_message": ("the message was received before", "send each request once, with its own id"),
    # Logging.
    "logging_failed": ("the exchange could not be logged and was stopped", "the operator must check the message log"),
    "timestamping_failed": ("the message log was not time-stamped in time", "the operator must check the TSA"),
    "overloaded": ("the gateway is at its limit", "try again in a moment"),
    "receipt_missing": ("the answer carries no audit receipt and is held back", "ask the provider's operator"),
    "receipt_invalid": ("the answer's audit receipt does not hold", "ask the provider's operator"),
    # Signed messages between gateways.
    "missing_signature": ("the message has no signature", "the sending gateway must sign it"),
    "missing_rest": ("the message has no REST part", "the sending gateway must send one"),
    "invalid_message": ("the message is not well formed", "check the sending side's message format"),
    "mime_parsing_failed": ("the multipart message is not well formed", "check the sending side's message format"),
    "inconsistent_response": ("the answer does not belong to the request and is held back", "ask the provider"),
    "cannot_create_signature": ("the gateway can't sign", "the operator must check key, certificate and OCSP status"),
    "malformed_signature": ("the signature is not of the supported form", "check the signing gateway"),
    "invalid_reference": (
        "the signature does not cover exactly the message's parts",
        "the message was changed on the way",
    ),
    "invalid_signature_value": ("the signature value does not hold", "the message was changed or the key is wrong"),
    "incorrect_certificate": (
        "the certificate is not the sender's signing certificate",
        "check the signer's certificate",
    ),
    "incorrect_validation_info": ("the certificate's OCSP answer does not hold", "the signer must fetch a fresh one"),
    "cert_validation": ("the certificate or its status does not hold", "check its issuer, validity and OCSP status"),
    "cannot_create_cert_path": ("no path leads from the certificate to an approved authority", "check its issuer"),
    "invalid_cert_path": ("the path to the approved authority does not hold", "check the certificate's issuer"),
    "cert_validity_time": ("the certificate is outside its validity", "renew the certificate"),
    "timestamp_validation": ("the time-stamp does not hold", "check the time-stamping authority"),
    "malformed_signature.invalid_hash_chain": ("the hash chain does not hold", "check the signing gateway"),
    "malformed_signature.malformed_hash_chain": ("the hash chain is not well formed", "check the signing gateway"),
    "malformed_signature.invalid_hash_chain_ref": (
        "a part does not match the hash chain",
        "the message was changed on the way",
    ),
    "malformed_signature.hashchain_unused_inputs": (
        "a part is not covered by the hash chain",
        "check the signing gateway",
    ),
    "malformed_signature.invalid_reference": (
        "the hash chain refers to something that the message doesn't have",
        "check the signing gateway",
    ),
    # Whatever goes wrong inside or below.
    "internal_error": ("the request could not be processed", "give the id of this error to the operator"),
    "database_error": ("the gateway's store is not available", "give the id of this error to the operator"),
    "io_error": ("reading or writing failed on the way", "try again; if it stays, give the id to the operator"),
    "unknown_host": ("the service's host name is not known", "the provider must correct the service's address"),
    # The signer's own (X-Road signer.*).
    "key_not_found": ("the key does not exist", "create or load the key"),
    "cert_not_found": ("the certificate does not exist", "import the certificate"),
    "csr_not_found": ("the certificate request does not exist", "create the request again"),
    "token_not_found": ("the key token does not exist", "check the key store's place"),
    "token_not_active": ("the key token is not logged in", "enter the PIN"),
    "token_not_initialized": ("the key token is not initialised", "initialise it"),
    "token_not_available": ("the key token is not reachable", "check the device"),
    "token_read_only": ("the key token is read-only", "use a writable token"),
    "cannot_sign": ("the key refused to sign", "check the token"),
    "unsupported_sign_algorithm": ("the signature algorithm is not supported", "choose a supported one"),
    "cert_exists": ("the certificate is there already", "nothing to do"),
    "wrong_cert_usage": ("the certificate is for another use", "use a certificate of the right kind"),
    "login_failed": ("the login to the token failed", "check the PIN"),
    "logout_failed": ("the logout from the token failed", "check the token"),
    "pin_incorrect": ("the PIN is wrong", "enter the right PIN"),
    "cert_import_failed": ("the certificate could not be imported", "check that it fits the key"),
    "token_pin_policy_failure": ("the PIN is too weak", "choose a PIN that the policy allows"),
    "hsm_non_operational": ("the hardware token does not work", "check the device"),
    "timestamper_failed": ("the time-stamping job failed", "check the time-stamping authority"),
    # Opening an ASiC container.
    "asic_mime_type_not_found": ("the container has no mimetype entry", "export the container again"),
    "asic_invalid_mime_type": ("the container's mimetype is wrong", "export the container again"),
    "asic_signature_not_found": ("the container has no signature", "export the container again"),
    "asic_message_not_found": ("the container has no message", "export the container again"),
    "asic_hash_chain_not_found": ("the container lacks its hash chain", "export the container again"),
    "asic_hash_chain_result_not_found": ("the container lacks its hash chain result", "export the container again"),
    "asic_timestamp_not_found": ("the container has no time-stamp", "export it after it was time-stamped"),
    "asic_manifest_not_found": ("the container has no manifest", "export the container again"),
    "asic_manifest_invalid": ("the container's manifest contradicts its time-stamp", "export the container again"),
    "asic_malformed_zip": ("the container is damaged, or readers could read it differently", "get it again, unchanged"),
    "asic_duplicate_entry": (
        "two files of the container have the same name",
        "get it again, unchanged; don't trust this one",
    ),
    "asic_unsafe_entry_name": (
        "a file of the container has a dangerous name",
        "get it again, unchanged; don't trust this one",
    ),
    "asic_too_large": ("the container, or what it unpacks to, is too large", "ask its sender for a smaller one"),
    "asic_encrypted_entry": (
        "a file of the container is encrypted",
        "decrypt it first, with the tool that encrypted it",
    ),
    "asic_unsupported_compression": (
        "a file of the container is packed in an unusual way",
        "pack with store or deflate",
    ),
    "asic_unsupported_zip": ("the container is of the ZIP64 kind", "pack it without ZIP64"),
}


def _leaves(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_OURS: Final = frozenset(
    _leaves(
        "reserved_header body_too_large citizen_token_invalid citizen_issuer_unavailable consent_required "
        "consent_invalid consent_expired consent_withdrawn identity_level_too_low subject_required quota_exceeded "
        "replayed_message overloaded receipt_missing receipt_invalid timestamp_validation representation_refused "
        "asic_manifest_invalid asic_malformed_zip asic_duplicate_entry asic_unsafe_entry_name asic_too_large "
        "asic_encrypted_entry asic_unsupported_compression asic_unsupported_zip"
    )
)
_SIGNATURE: Final = _leaves(
    "malformed_signature invalid_reference invalid_signature_value incorrect_certificate incorrect_validation_info "
    "cert_validation cannot_create_cert_path invalid_cert_path cert_validity_time timestamp_validation "
    "malformed_signature.invalid_hash_chain malformed_signature.malformed_hash_chain "
    "malformed_signature.invalid_hash_chain_ref malformed_signature.hashchain_unused_inputs "
    "malformed_signature.invalid_reference"
)
_MALFORMED_CALL: Final = _leaves(
    "invalid_http_method invalid_content_type missing_soap invalid_soap invalid_xml missing_header "
    "missing_header_field duplicate_header_field missing_body invalid_body inconsistent_headers "
    "invalid_protocol_version invalid_soap_action invalid_client_identifier invalid_request not_found"
)
_MALFORMED_ANSWER: Final = _leaves(
    "http_error invalid_content_type invalid_message mime_parsing_failed missing_soap invalid_soap invalid_xml "
    "missing_header missing_header_field duplicate_header_field missing_body invalid_body inconsistent_headers "
    "invalid_protocol_version inconsistent_response body_too_large internal_error"
)
_GATEWAY: Final = _leaves(
    "internal_error database_error io_error network_error unknown_member invalid_security_server "
    "ssl_authentication_failed global_conf_outdated malformed_global_conf malformed_server_conf invalid_message "
    "mime_parsing_failed missing_signature missing_soap missing_rest invalid_content_type invalid_http_method "
    "invalid_soap invalid_xml cannot_create_signature logging_failed timestamping_failed overloaded "
    "incorrect_certificate incorrect_validation_info cert_validation not_found invalid_request"
)
_RIGHTS: Final = _leaves(
    "client_proxy_version_not_supported unknown_service service_type access_denied service_disabled "
    "service_missing_url service_malformed_url consent_required consent_invalid consent_expired consent_withdrawn "
    "identity_level_too_low subject_required quota_exceeded replayed_message body_too_large reserved_header "
    "missing_header_field duplicate_header_field invalid_client_identifier invalid_soap_action"
)

# Families in the order of the way of a message: prefix, hop that is named, leaves.
_FAMILIES: Final[tuple[tuple[str, Hop, Iterable[str]], ...]] = (
    (
        "client",
        Hop.CLIENT,
        [
            *_MALFORMED_CALL,
            *("bad_request", "reserved_header", "body_too_large", "citizen_token_invalid", "mime_parsing_failed"),
            "representation_refused",
        ],
    ),
    (
        "server.clientproxy",
        Hop.CONSUMER_GATEWAY,
        [
            *_GATEWAY,
            *("http_error", "maintenance_mode", "inconsistent_response", "quota_exceeded"),
            *("receipt_missing", "receipt_invalid", "citizen_issuer_unavailable", "invalid_client_identifier"),
        ],
    ),
    ("server.clientproxy.signature_verification", Hop.CONSUMER_GATEWAY, _SIGNATURE),
    ("server.clientproxy.service_failed", Hop.PROVIDER_GATEWAY, [*_MALFORMED_ANSWER, "io_error", "network_error"]),
    ("server.serverproxy", Hop.PROVIDER_GATEWAY, [*_GATEWAY, *_RIGHTS]),
    ("server.serverproxy.signature_verification", Hop.PROVIDER_GATEWAY, _SIGNATURE),
    # Not reached: the adapter is down. Reached, but the answer is no good: the service is at fault.
    (
        "server.serverproxy.service_failed",
        Hop.ADAPTER,
        ["unknown_host", "network_error", "io_error", "ssl_authentication_failed"],
    ),
    ("server.serverproxy.service_failed", Hop.SERVICE, _MALFORMED_ANSWER),
    ("server.serverproxy.opmonitor", Hop.PROVIDER_GATEWAY, ["internal_error", "network_error", "io_error"]),
    (
        "signer",
        Hop.SIGNER,
        _leaves(
            "key_not_found cert_not_found csr_not_found token_not_found token_not_active token_not_initialized "
            "token_not_available token_read_only cannot_sign unsupported_sign_algorithm cert_exists wrong_cert_usage "
            "login_failed logout_failed pin_incorrect cert_import_failed token_pin_policy_failure hsm_non_operational "
            "internal_error network_error timestamper_failed"
        ),
    ),
    (
        "",
        Hop.VERIFIER,
        _leaves(
            "asic_mime_type_not_found asic_invalid_mime_type asic_signature_not_found asic_message_not_found "
            "asic_hash_chain_not_found asic_hash_chain_result_not_found asic_timestamp_not_found "
            "asic_manifest_not_found asic_manifest_invalid asic_malformed_zip asic_duplicate_entry "
            "asic_unsafe_entry_name asic_too_large asic_encrypted_entry asic_unsupported_compression "
            "asic_unsupported_zip"
        ),
    ),
)


def _table() -> Mapping[str, ErrorCode]:
    table: dict[str, ErrorCode] = {}
    for prefix, hop, leaves in _FAMILIES:
        for leaf in leaves:
            name = f"{prefix}.{leaf}" if prefix else leaf
            table[name] = ErrorCode(name, hop, *_MEANINGS[leaf], ours=leaf in _OURS)
    return MappingProxyType(table)


ERRORS: Final = _table()

# Parts that the rule "upper-case each word, drop the underscores" doesn't give (X-Road 7.8 change notes).
_IRREGULAR: Final = {
    "clientproxy": "ClientProxy",
    "serverproxy": "ServerProxy",
    "opmonitor": "OpMonitor",
    "io_error": "IOError",
    "global_conf_outdated": "OutdatedGlobalConf",
    "hashchain_unused_inputs": "HashChainUnusedInputs",
    "hsm_non_operational": "HSMNonOperational",
}
_IRREGULAR_BACK: Final = {camel: snake for snake, camel in _IRREGULAR.items()} | {
    "GlobalConfOutdated": "global_conf_outdated"
}
# A dot tells our codes from those of SOAP services (`Server`, `soap:Client`, `CODE`), which are left as they are.
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+|asic_[a-z_]+|Asic[A-Za-z]+")
_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_code(text: str) -> bool:
    """Whether the text has the shape of a code of the road, in either spelling."""
    return len(text) <= 255 and _CODE.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def canonical(code: str) -> str:
    """The 7.8 spelling of a code in either spelling. What is no code of ours (`soap:Server`) comes back as it is."""
    if not is_code(code):
        return code
    return ".".join(_IRREGULAR_BACK.get(part) or _WORD_START.sub("_", part).lower() for part in code.split("."))


@lru_cache(maxsize=1024)
def spell(code: str, vocabulary: Vocabulary) -> str:
    """A code in the spelling wanted. What is no code of the road comes back as it is."""
    if not is_code(code):
        return code
    snake = canonical(code)
    if vocabulary is Vocabulary.SNAKE:
        return snake
    return ".".join(
        _IRREGULAR.get(part) or "".join(word[:1].upper() + word[1:] for word in part.split("_"))
        for part in snake.split(".")
    )


def same_code(one: str, other: str) -> bool:
    """Whether two codes mean the same, whatever their spelling."""
    return one == other or canonical(one) == canonical(other)


def status_of(code: str) -> int:
    """The HTTP status of an error of the road over REST: 500 for `server.`, else 400 (PR-REST 4.7)."""
    return 500 if canonical(code).startswith("server.") else 400


def hop_of(code: str) -> Hop:
    """The hop that a code names; for codes that the table doesn't know, by prefix."""
    snake = canonical(code)
    if known := ERRORS.get(snake):
        return known.hop
    if snake.startswith("server.clientproxy"):
        return Hop.CONSUMER_GATEWAY
    if snake.startswith("server.serverproxy.service_failed"):
        return Hop.SERVICE
    if snake.startswith("server"):
        return Hop.PROVIDER_GATEWAY
    if snake.startswith("signer."):
        return Hop.SIGNER
    return Hop.CLIENT if snake.startswith("client.") else Hop.SERVICE
