"""Containers: one signed message with its proofs in a file that strangers' tools verify.

Follows ETSI EN 319 162-1 (ASiC-E) and X-Road's UG-SIGDOC.
"""

from trust.asic.archive import Limits, read_archive
from trust.asic.build import write_container
from trust.asic.configuration import (
    InstanceParameters,
    VerificationConfiguration,
    build_verification_configuration,
    instance_parameters,
    parse_verification_configuration,
    read_verification_configuration,
)
from trust.asic.model import MIME_TYPE, Container
from trust.asic.read import DEFAULT_LIMITS, read_container
from trust.asic.sender import ClaimedOrigin, read_origin
from trust.asic.time_stamp import StampForm
from trust.asic.verify import (
    ContainerVerifier,
    SignatureForm,
    UnverifiedAttachment,
    VerifiedContainer,
    verify_container,
)

__all__ = [
    "DEFAULT_LIMITS",
    "MIME_TYPE",
    "ClaimedOrigin",
    "Container",
    "ContainerVerifier",
    "InstanceParameters",
    "Limits",
    "SignatureForm",
    "StampForm",
    "UnverifiedAttachment",
    "VerificationConfiguration",
    "VerifiedContainer",
    "build_verification_configuration",
    "instance_parameters",
    "parse_verification_configuration",
    "read_archive",
    "read_container",
    "read_origin",
    "read_verification_configuration",
    "verify_container",
    "write_container",
]
