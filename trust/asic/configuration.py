"""The configuration that an auditor verifies with: the shared parameters of one or more instances, in an archive.

Follows UG-SIGDOC (`/verificationconf`):

    verificationconf/instance-identifier                          the instance of the gateway that gave it out
    verificationconf/<INSTANCE>/shared-params.xml                 one folder for each instance that it knows
    verificationconf/<INSTANCE>/shared-params.xml.metadata        JSON; nothing here depends on it

It isn't signed: whoever verifies with it must have it from someone they trust, and may compare it with a copy from
another gateway.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote, unquote

from trust.asic.archive import Limits, read_archive
from trust.errors import ConfigurationInvalid, ContainerInvalid
from trust.globalconf import SHARED_PARAMETERS, VERSION, VerifiedConfiguration, build_shared_parameters
from trust.globalconf_xml import parse_shared_parameters
from trust.parameters import SharedParameters

FOLDER: Final = "verificationconf/"
INSTANCE_FILE: Final = "instance-identifier"
PARAMETERS_FILE: Final = "shared-params.xml"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o644 << 16
_LIMITS: Final = Limits(archive_bytes=64 << 20, entries=500)


@dataclass(frozen=True, slots=True)
class InstanceParameters:
    """The shared parameters (XML) of one instance, as its source published them, and what the source says of them."""

    instance: str
    shared_parameters: bytes
    version: int = VERSION
    expires: datetime | None = None
    location: str = ""


@dataclass(frozen=True, slots=True)
class VerificationConfiguration:
    """What containers are verified with: the parameters of the own instance, and of those federated with it.

    As authentic as the place that it was read from.
    """

    instance: str
    parameters: Mapping[str, SharedParameters]

    @classmethod
    def of(cls, *parameters: SharedParameters) -> VerificationConfiguration:
        """The configuration of these instances; the first is the own one."""
        return cls(parameters[0].instance, {of_one.instance: of_one for of_one in parameters})


def instance_parameters(
    configuration: VerifiedConfiguration, shared_parameters: bytes | None = None
) -> InstanceParameters:
    """The parameters of a verified configuration, as they were published if their XML is given, else written anew."""
    directory = configuration.directory
    location = next((part.location for part in directory.parts if part.identifier == SHARED_PARAMETERS), "")
    parameters = configuration.parameters
    if shared_parameters is None:
        return InstanceParameters(
            parameters.instance, build_shared_parameters(parameters), VERSION, configuration.expires, location
        )
    return InstanceParameters(
        parameters.instance, shared_parameters, configuration.version, configuration.expires, location
    )


def build_verification_configuration(instances: Sequence[InstanceParameters]) -> bytes:
    """The archive verificationconf.zip; the first instance is the own one. The same parameters give the same bytes."""
    files = {INSTANCE_FILE: instances[0].instance.encode()}
    for one in instances:
        # X-Road escapes the instance identifier for its folders in the same way.
        path = f"{quote(one.instance, safe='')}/{PARAMETERS_FILE}"
        metadata = {
            "contentIdentifier": SHARED_PARAMETERS,
            "instanceIdentifier": one.instance,
            "contentFileName": PARAMETERS_FILE,
            "contentLocation": one.location,
            "expirationDate": None if one.expires is None else f"{one.expires:%Y-%m-%dT%H:%M:%SZ}",
            "configurationVersion": str(one.version),
        }
        files[path] = one.shared_parameters
        files[path + ".metadata"] = json.dumps({key: value for key, value in metadata.items() if value}).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(FOLDER + name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = _MODE
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()


def read_verification_configuration(archive: bytes) -> VerificationConfiguration:
    """The configuration in an archive. Raises ConfigurationInvalid."""
    try:
        files = read_archive(archive, _LIMITS)
    except ContainerInvalid as error:
        raise ConfigurationInvalid(f"not an archive with a verification configuration: {error}") from None
    return parse_verification_configuration(files)


def parse_verification_configuration(files: Mapping[str, bytes]) -> VerificationConfiguration:
    """The configuration in these files, by path: with the folder `verificationconf/`, or from within it.

    Raises ConfigurationInvalid; says nothing about authenticity.
    """
    inner = {name.removeprefix(FOLDER): content for name, content in files.items()}
    if INSTANCE_FILE not in inner:
        raise ConfigurationInvalid("a verification configuration has a file instance-identifier")
    try:
        own = inner[INSTANCE_FILE].decode().strip()
    except UnicodeDecodeError:
        raise ConfigurationInvalid("instance-identifier is not text") from None
    parameters: dict[str, SharedParameters] = {}
    for name, content in inner.items():
        folder, _, file = name.rpartition("/")
        if file != PARAMETERS_FILE or "/" in folder:
            continue
        found = parse_shared_parameters(content)
        if found.instance != unquote(folder):
            raise ConfigurationInvalid(
                "shared parameters lie in another instance's folder",
                code="global_conf_part_invalid_instance_identifier",
            )
        parameters[found.instance] = found
    if own not in parameters:
        raise ConfigurationInvalid("a verification configuration without its own instance's shared-params.xml")
    return VerificationConfiguration(own, parameters)
