"""What our code can do that makes a place for data, found in its syntax trees rather than listed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from schemas.objects.object_keys import TENANT_AREAS
from schemas.stores.registry import of_medium

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "tenancy", "producers", "consumers", "inference", "deploy")

_CALLS = {
    "copy",
    "copy2",
    "copyfile",
    "copytree",
    "hardlink_to",
    "makedirs",
    "memfd_create",
    "mkdir",
    "mkdtemp",
    "mkfifo",
    "mkstemp",
    "save",
    "save_file",
    "save_pretrained",
    "SharedMemory",
    "snapshot_download",
    "SpooledTemporaryFile",
    "symlink_to",
    "TemporaryDirectory",
    "TemporaryFile",
    "NamedTemporaryFile",
    "to_disk",
    "touch",
    "truncate",
    "write_bytes",
    "write_text",
}
_ONLY_OF = {"copy": {"shutil"}, "move": {"shutil"}, "save": {"torch", "np", "numpy"}, "connect": {"sqlite3"}}
_CREATING_FLAGS = {"O_CREAT", "O_WRONLY", "O_RDWR"}


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Every module of ours by its dotted name. Nobody changes the trees, which are parsed once in a process."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    dotted = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return tuple((name, ast.parse(path.read_text())) for name, path in zip(dotted, paths, strict=True))


def writing_lines(tree: ast.Module) -> list[int]:
    """The lines that create a file or folder, open one to write, or hand over a function that does."""
    return sorted({node.lineno for node in ast.walk(tree) if isinstance(node, ast.expr) and _writes(node)})


def _writes(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        name, owner = _name(node.func)
        return name == "open" and _opens_to_write(node, owner)
    name, owner = _name(node)
    return owner in _ONLY_OF[name] if name in _ONLY_OF else name in _CALLS and owner != "self"


def _name(function: ast.expr) -> tuple[str, str | None]:
    """A function's name, and the name before the dot."""
    if isinstance(function, ast.Attribute):
        return function.attr, function.value.id if isinstance(function.value, ast.Name) else None
    return (function.id, None) if isinstance(function, ast.Name) else ("", None)


def _opens_to_write(call: ast.Call, owner: str | None) -> bool:
    if owner == "os":
        flags = {
            node.attr for argument in call.args[1:] for node in ast.walk(argument) if isinstance(node, ast.Attribute)
        }
        return bool(flags & _CREATING_FLAGS)
    # Path.open(mode) has it first, open(path, mode) and others second; a mode is a short literal.
    modes = [*call.args[:2], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return any(
        isinstance(mode, ast.Constant)
        and isinstance(mode.value, str)
        and len(mode.value) <= 3
        and set(mode.value) & set("wax+")
        for mode in modes
    )


_BUCKET_ROOTS = {store.where.partition("/")[0] for store in of_medium("object-store", "key-material")}
_BY_HAND = re.compile(rf"(?:{'|'.join(sorted(_BUCKET_ROOTS | set(TENANT_AREAS)))})/[^ ]*")
_KEY_TAKERS = {
    "put",
    "put_chunks",
    "put_file",
    "put_record",
    "get_record",
    "find_record",
    "get_file",
    "erase",
    "versions",
    "uploads",
}


_REMEMBERING = {"alru_cache", "cache", "cached", "cached_property", "lru_cache"}


def keys_by_hand(tree: ast.Module) -> list[int]:
    """Lines with an object key, or the start of one, as a literal: keys are made by ``schemas.objects.object_keys``."""
    lines = [node.lineno for node, text in _texts(tree) if _BY_HAND.fullmatch(text)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func)[0] in _KEY_TAKERS and node.args:
            first = node.args[0].left if isinstance(node.args[0], ast.BinOp) else node.args[0]
            if isinstance(first, ast.JoinedStr) or (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                lines.append(node.lineno)
    return lines


def topics_named(tree: ast.Module) -> set[str]:
    """Every topic that a literal names."""
    return {found for _, text in _texts(tree) for found in re.findall(r"sano\.[a-z]+\.v\d+(?:\.[a-z]+)?", text)}


def topics_by_hand(tree: ast.Module) -> list[int]:
    """Lines that hand a topic's name over as a literal."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name(node.func)[0]
            handed = [keyword.value for keyword in node.keywords if keyword.arg in ("topic", "topics")]
            handed += node.args[:1] if name in ("send", "send_and_wait", "NewTopic", "RawMessage") else []
            if any(
                isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str))
                for value in handed
            ):
                lines.append(node.lineno)
    return lines


def caches(tree: ast.Module) -> list[int]:
    """Lines that remember results for as long as the process lives."""
    decorators = [
        decorator.func if isinstance(decorator, ast.Call) else decorator
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for decorator in node.decorator_list
    ]
    decorators += [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _name(node)[1] == "functools"]
    return [node.lineno for node in decorators if _name(node)[0] in _REMEMBERING]


def signed_urls(tree: ast.Module) -> list[int]:
    """Lines that sign a URL of the object store."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and _name(node)[0].startswith(("generate_presigned", "presign"))
    ]


def _texts(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Every string that is not a docstring; of a formatted one, what stands before the first value."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node, node.value


_TABLES = {
    "Counter",
    "RecentSet",  # ours, a set that is bounded
    "OrderedDict",
    "Queue",
    "WeakKeyDictionary",
    "WeakSet",
    "WeakValueDictionary",
    "bytearray",
    "defaultdict",
    "deque",
    "dict",
    "list",
    "set",
}
_TABLE_OWNERS = {None, "asyncio", "collections", "typing", "weakref"}  # opentelemetry has a Counter too


def tables(tree: ast.Module) -> set[str]:
    """What objects and modules remember things in, as ``Class.attribute`` and ``variable``: whatever is annotated as,
    or set to, a dict, set, list or queue. Constants, in capitals, are left out."""
    found = {
        name
        for name, annotation, value in _assigned(tree.body, of_self=False)
        if not name.strip("_").isupper() and (_says_table(annotation) or _makes_table(value))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            in_methods = [inner for inner in ast.walk(node) if isinstance(inner, ast.stmt)]
            for name, annotation, value in (
                *_assigned(node.body, of_self=False),
                *_assigned(in_methods, of_self=True),
            ):
                if _says_table(annotation) or _makes_table(value):
                    found.add(f"{node.name}.{name}")
    return found


def _assigned(
    statements: Iterable[ast.stmt], *, of_self: bool
) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    """Name, annotation and value of what is assigned to a name, or to an attribute of ``self``."""
    for statement in statements:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        annotation = statement.annotation if isinstance(statement, ast.AnnAssign) else None
        for target in statement.targets if isinstance(statement, ast.Assign) else (statement.target,):
            if of_self and isinstance(target, ast.Attribute) and _name(target)[1] == "self":
                yield target.attr, annotation, statement.value
            if not of_self and isinstance(target, ast.Name):
                yield target.id, annotation, statement.value


def _says_table(annotation: ast.expr | None) -> bool:
    nodes = () if annotation is None else ast.walk(annotation)
    return any(_is_table(node) for node in nodes if isinstance(node, ast.Name | ast.Attribute))


def _makes_table(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Dict | ast.DictComp | ast.List | ast.ListComp | ast.Set | ast.SetComp):
        return True
    if not isinstance(value, ast.Call):
        return False
    factories = [keyword.value for keyword in value.keywords if keyword.arg == "default_factory"]
    made = [factory.body if isinstance(factory, ast.Lambda) else factory for factory in factories]
    return _is_table(value.func) or any(_is_table(factory) or _makes_table(factory) for factory in made)


def _is_table(node: ast.expr) -> bool:
    name, owner = _name(node)
    return name in _TABLES and owner in _TABLE_OWNERS
