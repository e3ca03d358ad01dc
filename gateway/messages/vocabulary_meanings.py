"""What each error of the road means: leaf of a code -> (cause, hint). `vocabulary` makes the codes of them.

Fixed sentences, shown to clients: they never carry data of a message. One leaf may arise at several hops; the sentence
fits them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
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
    "client.invalid_request": (
        "the question to the gateway's monitoring is not valid",
        "compare it with the operational monitoring protocol",
    ),
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
    "ssl_authentication_failed.cannot_create_cert_path.internal_error": (
        "no path leads from the TLS certificate of the provider's gateway to an approved authority, or it has expired",
        "ask the operator of the provider's gateway to renew it",
    ),
    "ssl_authentication_failed.invalid_cert_path.cert_validation": (
        "the TLS certificate of the provider's gateway is not known to be good",
        "ask the operator of the provider's gateway to check its OCSP status",
    ),
    "ssl_authentication_failed.invalid_cert_path.incorrect_validation_info": (
        "the OCSP answer for the TLS certificate of the provider's gateway does not hold",
        "ask the operator of the provider's gateway, whose gateway must fetch a fresh one",
    ),
    "ssl_authentication_failed.internal_error": (
        "there is no OCSP answer for the TLS certificate of the provider's gateway that can be read",
        "try again; if it stays, ask the operator of the provider's gateway",
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
    "cannot_create_cert_path.internal_error": (
        "no path leads from the certificate to an approved authority",
        "check its issuer",
    ),
    "invalid_cert_path.cert_validation": (
        "the certificate or an authority above it is not known to be good",
        "check its OCSP status, and that the signature carries it",
    ),
    "invalid_cert_path.incorrect_validation_info": (
        "the OCSP answer for the certificate or an authority above it does not hold",
        "the signer must fetch a fresh one",
    ),
    "cert_validity_time": ("the certificate is outside its validity", "renew the certificate"),
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
    # Getting time-stamps (X-Road mlog.*, since 7.8).
    "no_timestamping_provider_found": ("no time-stamping authority is approved", "ask the registry to approve one"),
    "malformed_timestamp_server_url": ("the authority's address is not valid", "the registry must correct it"),
    "timestamp_provider_connection_failed": ("the authority can't be reached", "check network and authority"),
    "timestamp_request_timed_out": ("the authority did not answer in time", "check network and authority"),
    "timestamping_non_ok_response": ("the authority answered with an HTTP error", "ask the authority"),
    "reading_timestamp_response_failed": ("what the authority answered is no time-stamp answer", "ask the authority"),
    "timestamp_non_granted_response": ("the authority refused to stamp", "ask the authority"),
    "timestamp_response_object_creation_failed": ("the time-stamp in the answer can't be read", "ask the authority"),
    "tsp_certificate_not_found": (
        "the time-stamp is of another signer than the approved authority",
        "the registry must have the authority's current certificate",
    ),
    "timestamp_response_validation_failed": (
        "the time-stamp does not hold, or is of something else",
        "compare the clocks, then ask the authority",
    ),
    # What a source of the global configuration offers (X-Road global_conf_*, since 7.8).
    "global_conf_download_url_connection_failure": ("the source can't be reached", "check network and address"),
    "global_conf_rolled_back": ("it is older than the accepted one", "look at the source's clock and copies"),
    "global_conf_get_version_failed": ("none of the versions 2 to 6 is offered", "look at the source's address"),
    "global_conf_missing_signed_data": ("the directory and its signature are missing", "ask the registry's operator"),
    "global_conf_missing_signed_data_expiration_date": (
        "the directory has no head, or no signature",
        "ask the registry's operator",
    ),
    "global_conf_header_field_missing": ("a header is missing", "ask the registry's operator"),
    "global_conf_header_field_missing_parameter": ("a header's parameter is missing", "ask the registry's operator"),
    "global_conf_header_field_wrong_value": (
        "a header says what isn't supported, such as SHA-1 signatures",
        "ask the registry's operator",
    ),
    "global_conf_missing_verification_cert": (
        "signed with a key that neither anchor nor accepted configuration names",
        "get the current anchor",
    ),
    "global_conf_signature_decode_failure": ("the signature isn't base64", "ask the registry's operator"),
    "global_conf_signature_verification_failure": (
        "the signature doesn't hold",
        "somebody on the way changes it, or the source is broken",
    ),
    "global_conf_parsing_downloaded_conf_directory_failure": ("not a signed directory", "is it the right address?"),
    "global_conf_part_invalid_instance_identifier": ("a file is of another instance", "ask the registry's operator"),
    "global_conf_part_download_failure": ("a file can't be fetched", "ask the registry's operator"),
    "global_conf_part_downloaded_file_integrity_failure": (
        "a file differs from what was signed",
        "somebody on the way changes it, or the source is broken",
    ),
    # Opening an ASiC container.
    "asic_mime_type_not_found": (
        "the container has no mimetype entry, or is no ZIP archive",
        "export the container again",
    ),
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
