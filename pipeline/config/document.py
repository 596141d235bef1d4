"""Read a YAML file strictly, in bounded memory and time, as a mapping of settings."""

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import RequestError, printable

# Bounds on a file. The largest experiments that people write are a hundred times smaller.
MAX_BYTES, MAX_NODES, MAX_DEPTH = 500_000, 20_000, 32
MAX_DIGITS = 100  # bound on the text of a number
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}
# How numbers are written. In YAML 1.1, 010 is 8, 1:30 is 90, and 1e-3 is a text, which nobody means.
_NUMBERS = {
    "int": r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)",
    "float": r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}


def read_mapping(path: Path, what: str = "an experiment") -> dict[Any, Any]:
    """Return the mapping in a YAML file.

    Args:
        path: The file.
        what: What it must hold, for messages.

    Raises:
        RequestError: The file is missing, is not YAML, holds another value, gives a key twice, or exceeds a bound.
    """
    try:
        document = _Loader(_text_of(path)).get_single_data()
    except FileNotFoundError:
        raise RequestError(f"{what} must be a YAML file, but {path} does not exist.") from None
    except UnicodeDecodeError as error:
        raise _unreadable(what, path, f"it is not UTF-8 (byte {error.start})") from None
    except OSError as error:
        raise _unreadable(what, path, error.strerror or f"{error}") from None
    except yaml.YAMLError as error:
        raise _unreadable(what, path, _reason(error)) from None
    if not isinstance(document, dict):
        found = "nothing" if document is None else f"a value of type {type(document).__name__}"
        raise RequestError(f"{what} must be a mapping of settings, but {path} holds {found}.")
    return document


def _unreadable(what: str, path: Path, reason: str) -> RequestError:
    return RequestError(f"{what} must be a YAML file, but {path} cannot be read: {printable(reason)}.")


def _text_of(path: Path) -> str:
    # The check comes before opening, because opening a FIFO would wait for a writer.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "it must be a regular file")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(0, f"it must have at most {MAX_BYTES} bytes")
    return data.decode("utf-8-sig")


def _reason(error: yaml.YAMLError) -> str:
    """Return an error of PyYAML as one line, with the place in the file."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        text = ", ".join(part for part in (error.context, error.problem) if part)
        return f"{text} (line {mark.line + 1}, column {mark.column + 1})" if mark else text
    return f"{error}".splitlines()[0]


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses keys that are given twice, and files that are too deep or too large.

    An alias counts with everything that it stands for, so a short file cannot stand for a large value. Dates are texts.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag in _TAGS and not tag.endswith((":int", ":float"))]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._composed = 0
        self._sizes: dict[int, int] = {}  # number of values in a complete node, by the identity of the node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, and check it."""
        event: Any = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        self._depth += 1
        self._composed += 1
        if self._depth > MAX_DEPTH:
            raise _problem(f"values must be nested at most {MAX_DEPTH} deep", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not is_alias:
            self._sizes[id(node)] = self._checked_size(node)
        elif id(node) not in self._sizes:
            raise _problem(f"the alias *{event.anchor} must not stand inside its own value", event)
        if max(self._composed, self._sizes[id(node)]) > MAX_NODES:
            raise _problem(f"a file must hold at most {MAX_NODES} values", event)
        return node

    def _checked_size(self, node: Any) -> int:
        if node.tag not in _TAGS:
            raise _problem(f"the tag {node.tag!r:.100} is not known", node)
        if isinstance(node, yaml.ScalarNode):
            _require_plain(node)
            return 1
        if isinstance(node, yaml.MappingNode):
            _require_single_keys(node)
            return 1 + sum(self._sizes[id(part)] for pair in node.value for part in pair)
        return 1 + sum(self._sizes[id(entry)] for entry in node.value)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value. A text that its tag does not allow, such as `!!int x`, is an error of the file too."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError) as error:
            raise _problem(f"{node.value!r:.100} is no {node.tag.rpartition(':')[2]}", node) from error


def _require_single_keys(node: yaml.MappingNode) -> None:
    """Check that no key is given twice. Keys that a merge (`<<`) adds do not count: the mapping may replace them."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
            continue
        if (key.tag, key.value) in lines:
            first = lines[key.tag, key.value]
            raise _problem(f"every key must be given only once, but `{key.value:.100}` is in line {first} too", key)
        lines[key.tag, key.value] = key.start_mark.line + 1


def _require_plain(node: yaml.ScalarNode) -> None:
    if printable(node.value) != node.value:
        raise _problem(f"a text must hold printable characters only, but got {node.value!r:.100}", node)
    if node.tag.endswith((":int", ":float")) and len(node.value) > MAX_DIGITS:
        raise _problem(f"a number must have at most {MAX_DIGITS} digits", node)


def _problem(text: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=place.start_mark)


for _kind, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"({_pattern})$"), [*"-+.0123456789"])
