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

from gateway.messages.vocabulary_meanings import MEANINGS


class Hop(StrEnum):
    """Where on the way of a message something failed."""

    CLIENT = "client"
    CONSUMER_GATEWAY = "consumer gateway"
    PROVIDER_GATEWAY = "provider gateway"
    ADAPTER = "adapter"
    SERVICE = "service"
    SIGNER = "signer"
    TIMESTAMPING = "time-stamping"
    CONFIGURATION = "global configuration"
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


def _leaves(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_OURS: Final = frozenset(
    _leaves(
        "reserved_header body_too_large citizen_token_invalid citizen_issuer_unavailable consent_required "
        "consent_invalid consent_expired consent_withdrawn identity_level_too_low subject_required quota_exceeded "
        "replayed_message overloaded receipt_missing receipt_invalid representation_refused global_conf_rolled_back "
        "asic_manifest_invalid asic_malformed_zip asic_duplicate_entry asic_unsafe_entry_name asic_too_large "
        "asic_encrypted_entry asic_unsupported_compression asic_unsupported_zip"
    )
)
_SIGNATURE: Final = _leaves(
    "malformed_signature invalid_xml invalid_reference invalid_signature_value incorrect_certificate "
    "cannot_create_cert_path.internal_error cert_validity_time "
    "invalid_cert_path.cert_validation invalid_cert_path.incorrect_validation_info "
    "malformed_signature.invalid_hash_chain malformed_signature.malformed_hash_chain "
    "malformed_signature.invalid_hash_chain_ref malformed_signature.hashchain_unused_inputs "
    "malformed_signature.invalid_reference"
)
# Of the certificate of a provider's gateway; what is wrong with a client's own, X-Road tells no further.
_PEER_CERTIFICATE: Final = _leaves(
    "ssl_authentication_failed.cannot_create_cert_path.internal_error "
    "ssl_authentication_failed.invalid_cert_path.cert_validation "
    "ssl_authentication_failed.invalid_cert_path.incorrect_validation_info ssl_authentication_failed.internal_error"
)
_MALFORMED_CALL: Final = _leaves(
    "invalid_http_method invalid_content_type missing_soap invalid_soap invalid_xml missing_header "
    "missing_header_field duplicate_header_field missing_body invalid_body inconsistent_headers "
    "invalid_protocol_version invalid_soap_action invalid_client_identifier invalid_request not_found"
)
_MALFORMED_ANSWER: Final = _leaves(
    "invalid_content_type invalid_message mime_parsing_failed invalid_soap invalid_xml "
    "missing_header missing_header_field duplicate_header_field missing_body invalid_body inconsistent_headers "
    "invalid_protocol_version inconsistent_response body_too_large"
)
_GATEWAY: Final = _leaves(
    "internal_error database_error io_error network_error unknown_member invalid_security_server "
    "ssl_authentication_failed global_conf_outdated malformed_global_conf malformed_server_conf "
    "missing_signature missing_soap missing_rest cannot_create_signature logging_failed timestamping_failed overloaded"
)
# What a provider's gateway says of a message that it can't read, or a security server of its own certificates.
_PROVIDER: Final = _leaves(
    "invalid_http_method invalid_content_type invalid_message mime_parsing_failed invalid_soap invalid_xml "
    "invalid_request incorrect_certificate incorrect_validation_info cert_validation"
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
            *_PEER_CERTIFICATE,
        ],
    ),
    ("server.clientproxy.signature_verification", Hop.CONSUMER_GATEWAY, _SIGNATURE),
    ("server.clientproxy.service_failed", Hop.PROVIDER_GATEWAY, [*_MALFORMED_ANSWER, "io_error"]),
    ("server.serverproxy", Hop.PROVIDER_GATEWAY, [*_GATEWAY, *_PROVIDER, *_RIGHTS]),
    ("server.serverproxy.signature_verification", Hop.PROVIDER_GATEWAY, _SIGNATURE),
    # Not reached: the adapter is down. Reached, but the answer is no good: the service is at fault.
    (
        "server.serverproxy.service_failed",
        Hop.ADAPTER,
        ["unknown_host", "network_error", "io_error", "ssl_authentication_failed"],
    ),
    (
        "server.serverproxy.service_failed",
        Hop.SERVICE,
        ["http_error", "missing_soap", *_MALFORMED_ANSWER, "internal_error"],
    ),
    (
        "server.serverproxy.opmonitor",
        Hop.PROVIDER_GATEWAY,
        ["internal_error", "network_error", "io_error", "client.invalid_request"],
    ),
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
        "mlog",
        Hop.TIMESTAMPING,
        _leaves(
            "no_timestamping_provider_found malformed_timestamp_server_url timestamp_provider_connection_failed "
            "timestamp_request_timed_out timestamping_non_ok_response reading_timestamp_response_failed "
            "timestamp_non_granted_response timestamp_response_object_creation_failed tsp_certificate_not_found "
            "timestamp_response_validation_failed"
        ),
    ),
    (
        "",
        Hop.CONFIGURATION,
        _leaves(
            "global_conf_outdated malformed_global_conf global_conf_rolled_back "
            "global_conf_download_url_connection_failure global_conf_get_version_failed "
            "global_conf_missing_signed_data global_conf_missing_signed_data_expiration_date "
            "global_conf_header_field_missing global_conf_header_field_missing_parameter "
            "global_conf_header_field_wrong_value global_conf_missing_verification_cert "
            "global_conf_signature_decode_failure global_conf_signature_verification_failure "
            "global_conf_parsing_downloaded_conf_directory_failure global_conf_part_invalid_instance_identifier "
            "global_conf_part_download_failure global_conf_part_downloaded_file_integrity_failure"
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
            table[name] = ErrorCode(name, hop, *MEANINGS[leaf], ours=leaf in _OURS)
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
# A dot, or a family's word, tells our codes from those of SOAP services (`Server`, `soap:Client`, `CODE`), which are
# left as they are.
_CODE: Final = re.compile(
    r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+|asic_[a-z_]+|Asic[A-Za-z]+"
    r"|global_conf_[a-z_]+|GlobalConf[A-Za-z]+|OutdatedGlobalConf|malformed_global_conf|MalformedGlobalConf"
)
_OF_GATEWAYS: Final = ("server.clientproxy.", "server.serverproxy.", "signer.")
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


def is_gateways(code: str) -> bool:
    """Whether a gateway says this, in either spelling, and no service: theirs may hold a dot, too (SOAP 1.1, 4.4.1)."""
    return canonical(code).startswith(_OF_GATEWAYS)


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
