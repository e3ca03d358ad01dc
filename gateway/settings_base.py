"""What the settings of all processes share: where they are read from, and the kinds of values that they have.

A TOML file, overridden by DATENWEG_* environment variables. A relative path in the file is relative to the file's own
folder.
"""

from __future__ import annotations

import ipaddress
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

ENVIRONMENT_PREFIX = "DATENWEG_"

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]


class InvalidSettings(Exception):
    """The settings can't be used; the text names each setting and what is wrong with it (never its value)."""


class Settings(BaseSettings):
    """What the settings of all processes share. Built directly, nothing is read from the environment."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=ENVIRONMENT_PREFIX)

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is logged")
    shutdown_seconds: Seconds = Field(90, description="how long a stop waits for what was accepted")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    # Settings whose names are X-Road's or of the thing itself, and the value at which each gives up a protection.
    weakened_at: ClassVar[Mapping[str, object]] = {}

    @property
    def insecure_modes(self) -> tuple[str, ...]:
        """The insecure settings in force; each is shouted at start."""
        named = [name for name in type(self).model_fields if name.startswith("insecure_") and getattr(self, name)]
        weak = [name for name, value in self.weakened_at.items() if getattr(self, name) == value]
        return (*named, *(f"{name} = {json.dumps(self.weakened_at[name])}" for name in weak))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The settings in a TOML file, each overridable by DATENWEG_<NAME>. Raises InvalidSettings."""
        try:
            values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidSettings(f"{path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"{path}: not a TOML file: {error}") from None
        values |= EnvSettingsSource(cls)()
        folder = path.resolve().parent
        for name, field in cls.model_fields.items():
            is_path = field.annotation is Path or Path in get_args(field.annotation)
            if is_path and isinstance(values.get(name), str):
                values[name] = folder / values[name]
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InvalidSettings(f"{path}: " + "; ".join(problems_of(error))) from None


def problems_of(error: ValidationError) -> Iterator[str]:
    """One of pydantic's errors each, in our words; never with a value."""
    found = error.errors(include_url=False, include_input=False)
    unknown = [".".join(map(str, each["loc"])) for each in found if each["type"] == "extra_forbidden"]
    for each in found:
        place = ".".join(map(str, each["loc"])) or "settings"
        match each["type"]:
            case "missing":
                yield f"{place}: is missing"
            # A default that follows from a setting which is wrong itself, and named for it.
            case "default_factory_not_called" | "extra_forbidden":
                pass
            case _:
                yield f"{place}: {each['msg'].removeprefix('Value error, ')}"
    if unknown:
        yield f"{', '.join(unknown)}: no setting of this process"


class PlacedSettings(BaseModel):
    """Settings with files of their own, below one folder. The first of them: the others' defaults follow from it."""

    data_directory: Path = Field(description="folder for everything this gateway writes; private to it")


def in_data_directory(name: str) -> Any:
    """A file or folder below the data directory, unless it is set."""
    return Field(default_factory=lambda data: data["data_directory"] / name)


def database_in(name: str) -> Any:
    """A SQLite database below the data directory, unless another is set."""
    return Field(default_factory=lambda data: f"sqlite+aiosqlite:///{data['data_directory'] / name}")


def is_private(url: str) -> bool:
    """Whether nobody on the way can read or change what goes to this address: by TLS, or because there is no way."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
