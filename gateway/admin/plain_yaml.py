"""YAML as far as it is JSON in other words: no types but JSON's, bounded in size, depth and what its merges add up to.

OpenAPI 3.0.4 section 4.2 allows no other tags. The library's constructors for those of YAML 1.1 raise whatever a value
makes them stumble over, and read some numbers in quadratic time; they aren't used.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = _TAG + "merge"
_TAGS: Final = (None, "!", f"{_TAG}str", f"{_TAG}map", f"{_TAG}seq")
# Integers are decimal here, times and sexagesimal numbers are text, as in YAML 1.2.
_REPLACED: Final = tuple(_TAG + name for name in ("int", "float", "timestamp", "value"))
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]{1,32}\.[0-9]{0,32}|\.[0-9]{1,32})(?:[eE][-+]?[0-9]{1,3})?|[-+]?\.inf|\.nan")


class NotPlain(ValueError):
    """The text isn't such YAML."""


class _Loader(yaml.CSafeLoader):
    """The library's, without the types that JSON doesn't have."""

    max_nodes = 0

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._seen: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merges (`<<`) are counted before they are made: a few that merge each other would fill any memory.

        Two equal keys are refused (YAML 1.2 section 3.2.1.3), which the library doesn't; merges may repeat them.
        """
        if node not in self._seen:
            self._seen.add(node)
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) != len(keys):
                raise NotPlain("a key twice")
        for key, value in node.value:
            if key.tag != _MERGE:
                continue
            for other in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                if isinstance(other, yaml.MappingNode):
                    self.flatten_mapping(other)
                    self.max_nodes -= len(other.value)
            if self.max_nodes < 0:
                raise NotPlain("too many merged values")
        super().flatten_mapping(node)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(rf"(?:{_INTEGER.pattern})$"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", re.compile(rf"(?:{_FLOAT.pattern})$"), list("-+0123456789."))


def load_plain_yaml(text: str, *, max_nodes: int, max_depth: int) -> Any:
    """The one document in `text` as dictionaries, lists, texts, numbers, truth values and None.

    An alias stands for the very object that it names. Raises NotPlain (a ValueError), RecursionError, yaml.YAMLError.
    """
    # libyaml's composer recurses in C, without a limit: look at the depth in its flat stream of events first.
    depth = 0
    for number, event in enumerate(yaml.parse(text, yaml.CSafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > max_depth or number > 2 * max_nodes:
            raise NotPlain("too many or too deeply nested values")
        if getattr(event, "tag", None) not in _TAGS:
            raise NotPlain("a type that JSON doesn't have")
    loader = _Loader(text)
    loader.max_nodes = max_nodes
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
