"""Reads an OpenAPI 3 description strictly enough to trust its list of operations (OpenAPI 3.0.4 and 3.1.1, section 4).

Checked: version, info, paths, operations with their responses, unique operationIds, path parameters that the template
names, references inside the document. What doesn't bear on the operations is a warning, as X-Road has it: services that
others describe come with such mistakes. Schemas stay as they are: the gateway carries messages and doesn't validate
them. JSON or YAML; bounded in size, depth and number of nodes, aliases counted each time they are used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.admin.errors import InvalidDescription
from gateway.admin.plain_yaml import load_plain_yaml
from gateway.messages.descriptions import MAX_DESCRIPTION, MAX_DESCRIPTION_NODES

MAX_BYTES: Final = MAX_DESCRIPTION
_MAX_NODES: Final = MAX_DESCRIPTION_NODES
_MAX_DEPTH: Final = 64
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
# RFC 6901 section 4; longer ones name nothing in a document of this size.
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,6}")
_STATUS: Final = re.compile(r"[1-5](?:[0-9]{2}|XX)|default")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a REST service: what the citizen app calls below the service's path."""

    method: str
    path: str
    operation_id: str | None

    @property
    def glob(self) -> str:
        """The path as access rights match it."""
        return glob_of(self.path)


@dataclass(frozen=True, slots=True)
class OpenAPIDescription:
    """A checked description. `warnings` are the mistakes that leave its operations as they are."""

    title: str
    version: str
    operations: tuple[Operation, ...]
    server: str = ""
    warnings: tuple[str, ...] = ()


def glob_of(template: str) -> str:
    """A path template as access rights match it: a parameter is whatever stands in its place within a segment."""
    return "/".join(_glob_of_segment(segment) for segment in template.split("/"))


def _glob_of_segment(segment: str) -> str:
    # From the first to the last parameter of a segment: a glob's `*` leaves nothing of a segment for what follows it.
    begin, end = segment.find("{"), segment.rfind("}")
    literals = [segment[:begin], segment[end + 1 :]] if 0 <= begin < end else [segment]
    return "*".join(re.sub(r"([*\\])", r"\\\1", literal) for literal in literals)


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Info(_Part):
    title: str = ""
    # Without quotes YAML makes a number of it.
    version: str | int | float = ""


class _Reference(_Part):
    ref: str = Field(alias="$ref")


class _Parameter(_Part):
    name: str
    location: Literal["query", "header", "path", "cookie"] = Field(alias="in")
    required: bool = False


class _Response(_Part):
    description: str | None = None


class _Operation(_Part):
    operation_id: str | None = Field(None, alias="operationId")
    parameters: list[_Reference | _Parameter] = []
    responses: dict[str, _Reference | _Response] = {}


class _PathItem(_Part):
    parameters: list[_Reference | _Parameter] = []
    get: _Operation | None = None
    put: _Operation | None = None
    post: _Operation | None = None
    delete: _Operation | None = None
    options: _Operation | None = None
    head: _Operation | None = None
    patch: _Operation | None = None
    trace: _Operation | None = None

    def operations(self) -> Iterator[tuple[str, _Operation]]:
        for method in _METHODS:
            operation: _Operation | None = getattr(self, method)
            if operation is not None:
                yield method, operation


class _Server(_Part):
    url: Any = ""


class _Document(_Part):
    openapi: str = Field(pattern=r"^3\.[01]\.\d+$")
    info: _Info
    paths: dict[str, _PathItem] = {}
    servers: list[_Server] = []


def parse_openapi(data: bytes) -> OpenAPIDescription:
    """The description in `data` (JSON or YAML), without mistakes. Raises InvalidDescription, which names the place."""
    description = read_openapi(data)
    if description.warnings:
        raise InvalidDescription(description.warnings[0])
    return description


def read_openapi(data: bytes) -> OpenAPIDescription:
    """The description in `data` (JSON or YAML), with its mistakes. Raises InvalidDescription, which names the place."""
    tree = _load(data)
    warnings: list[str] = []
    try:
        document = _Document.model_validate(tree)
        operations = tuple(_operations(document, tree, warnings))
    except ValidationError as error:
        first = error.errors()[0]
        place = "/".join(map(str, first["loc"])) or "document"
        raise InvalidDescription(f"OpenAPI: {place}: {first['msg']}") from None
    title, version = document.info.title, str(document.info.version)
    info = (("title", title), ("version", version))
    warnings += [f"OpenAPI: info/{name} is missing" for name, text in info if not text]
    if not operations:
        warnings.append("OpenAPI: no operation under `paths`")
    warnings += _used_twice(operations)
    for pointer in sorted(set(_references(tree))):
        try:
            _resolve(tree, pointer)
        except InvalidDescription as error:
            warnings.append(str(error))
    server = document.servers[0].url if document.servers else ""
    return OpenAPIDescription(
        title, version, operations, server if isinstance(server, str) else "", tuple(dict.fromkeys(warnings))
    )


def _load(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise InvalidDescription(f"OpenAPI: larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
        if text.lstrip().startswith("{"):
            tree = json.loads(text, object_pairs_hook=_once)
        else:
            tree = load_plain_yaml(text, max_nodes=_MAX_NODES, max_depth=_MAX_DEPTH)
    except (ValueError, RecursionError, yaml.YAMLError):
        raise InvalidDescription("OpenAPI: neither JSON nor YAML, or a name twice in one object") from None
    # A few aliases of aliases stand for more nodes than memory holds: count them as a reader meets them.
    waiting = [(tree, 0)]
    seen = 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        if seen > _MAX_NODES or depth > _MAX_DEPTH:
            raise InvalidDescription("OpenAPI: too many or too deeply nested values")
        if isinstance(node, dict):
            waiting.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            waiting.extend((child, depth + 1) for child in node)
    return tree


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; readers take either of two members with one name (RFC 8259 section 4). Raises ValueError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _operations(document: _Document, tree: Any, warnings: list[str]) -> Iterator[Operation]:
    for path, item in document.paths.items():
        if path.startswith("x-"):  # section 4.9: extensions may stand beside the paths
            continue
        if not path.startswith("/"):
            raise InvalidDescription(f"OpenAPI: paths/{path}: a path starts with '/'")
        for method, operation in item.operations():
            place = f"OpenAPI: paths/{path}/{method}"
            if not operation.responses:
                warnings.append(f"{place}: an operation has at least one response")
            for status, response in operation.responses.items():
                if not _STATUS.fullmatch(status):
                    warnings.append(f"{place}: {status!r} is not a response status")
                elif isinstance(response, _Response) and response.description is None:
                    warnings.append(f"{place}/responses/{status} has no description")
            parameters = [_resolved(tree, parameter) for parameter in item.parameters + operation.parameters]
            named = {parameter.name for parameter in parameters if parameter and parameter.location == "path"}
            if missing := set(_PLACEHOLDER.findall(path)) - named:
                warnings.append(f"{place}: path parameter {min(missing)!r} is not declared")
            yield Operation(method.upper(), path, operation.operation_id)


def _used_twice(operations: tuple[Operation, ...]) -> Iterator[str]:
    seen: set[str] = set()
    for operation in operations:
        if operation.operation_id is None:
            continue
        if operation.operation_id in seen:
            yield f"OpenAPI: operationId {operation.operation_id!r} is used twice"
        seen.add(operation.operation_id)


def _resolved(tree: Any, parameter: _Reference | _Parameter) -> _Parameter | None:
    """The parameter, None where a reference leads nowhere (which is told of all references)."""
    if isinstance(parameter, _Parameter):
        return parameter
    with suppress(InvalidDescription):
        return _Parameter.model_validate(_resolve(tree, parameter.ref))
    return None


def _references(tree: object) -> Iterator[str]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _resolve(tree: object, pointer: str) -> Any:
    """What a local reference names (RFC 6901). References to other documents aren't followed: nothing is fetched."""
    if not pointer.startswith("#/"):
        raise InvalidDescription(f"OpenAPI: {pointer!r} leaves the document; put everything into one file")
    node = tree
    for part in pointer[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and _INDEX.fullmatch(key) and int(key) < len(node):
            node = node[int(key)]
        else:
            raise InvalidDescription(f"OpenAPI: nothing is at {pointer!r}")
    return node
