"""The running interpreter → one document a documented module, class, function or method of its
standard library: the corpus of `gingham demo`, there on every machine.

Python modules are parsed, never imported, so that nothing runs. Modules in C have no source: those
are imported (they define names and do no work) and their docstrings read. What a public module
takes over from a private one (`csv.reader` from `_csv`) is documented under its public name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
import sysconfig
import warnings
from collections.abc import Collection, Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

from gingham.document import Document
from gingham.errors import SourceError

# No documentation for users, or so large and so special that it would crowd out the rest.
_SKIPPED = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages", "pip"}
    | {"ensurepip", "pydoc_data", "distutils", "msilib", "tkinter", "turtle", "antigravity", "this"}
    | {"encodings", "macholib", "ntpath", "posixpath", "genericpath", "macurl2path", "nturl2path"}
    | {"posix", "nt", "winreg", "pyexpat", "xxsubtype", "xxlimited", "xxlimited_35"}
)
# Importing these does something: readline sets up the terminal.
_NOT_IMPORTED = frozenset({"readline", "_tkinter"})
_PRIVATE_TESTS = re.compile(r"_test|_ctypes_test|_xx")
# Where `import os` finds os.path, which has no source of its own.
_PATHS = frozenset({os.path.__name__, "genericpath"})
_ELSEWHERE = {"os.path": tuple(sorted(_PATHS, reverse=True))}

_FEWEST_WORDS = 4
_FEWEST_DOCUMENTS = 500
_LONGEST_SIGNATURE = 160
_LONGEST_TEXT = 600  # characters, about 150 tokens: one passage, and quick to encode


class StandardLibrary:
    """The documentation of the standard library of this interpreter, as a stream of documents.

    Attributes:
        modules: modules to read.
        done: modules read so far.
    """

    def __init__(self) -> None:
        self._root = Path(sysconfig.get_path("stdlib"))
        self._native = set(sys.builtin_module_names) | _extension_modules(self._root)
        self._sources = dict(_sources(self._root, ""))
        names = {*self._sources, *self._native, *_ELSEWHERE} - _SKIPPED - _NOT_IMPORTED
        self._names = sorted(name for name in names if "._" not in f".{name}")
        self.modules = len(self._names)
        self.done = 0

    def __iter__(self) -> Iterator[Document]:
        """Every documented public name, module by module in order, each id once.

        Raises:
            SourceError: this interpreter comes without its documentation.
        """
        seen: set[str] = set()
        for name in self._names:
            for module in _ELSEWHERE.get(name, (name,)):
                for document in self._documents(module, name, None):
                    if document.id not in seen:
                        seen.add(document.id)
                        yield document
            self.done += 1
        if len(seen) < _FEWEST_DOCUMENTS:
            raise SourceError(
                f"{self._root}: only {len(seen)} documented names: this Python was installed "
                "without the sources or docstrings of its standard library"
            )

    def _documents(
        self, module: str, public: str, names: Collection[str] | None
    ) -> Iterator[Document]:
        """Documents of the names of a module, told as names of `public`; None is all of them."""
        path = self._sources.get(module)
        if path is None:
            if module in self._native:
                yield from _native_documents(module, public, names)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in old sources
            try:
                tree = ast.parse(path.read_bytes())
            except (OSError, SyntaxError, ValueError):
                return
        if names is None and (text := ast.get_docstring(tree)):
            yield from _document(public, "", "module", public, text)
        for node in _top_level(tree.body):
            if isinstance(node, ast.ImportFrom):
                private = _absolute(node, module, path)
                if _is_private(private) and private != module:
                    taken = {alias.name for alias in node.names}
                    yield from self._documents(private, public, None if "*" in taken else taken)
            elif names is None or getattr(node, "name", None) in names:
                yield from _definition(node, public, public, "function")


def _native_documents(
    module: str, public: str, names: Collection[str] | None
) -> Iterator[Document]:
    if module in _NOT_IMPORTED:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules
        try:
            loaded = importlib.import_module(module)
        except ImportError:
            return
    if module == public:
        yield from _document(public, "", "module", public, loaded.__doc__)
    for name in sorted(vars(loaded) if names is None else names):
        yield from _native_name(loaded, name, public)


def _extension_modules(root: Path) -> set[str]:
    names: set[str] = set()
    for folder in (root / "lib-dynload", Path(sys.base_prefix) / "DLLs"):
        for file in os.listdir(folder) if folder.is_dir() else []:
            suffix = next((end for end in EXTENSION_SUFFIXES if file.endswith(end)), None)
            if suffix and not _PRIVATE_TESTS.match(file):
                names.add(file.removesuffix(suffix))
    return names


def _sources(folder: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Dotted names and paths of the modules below a folder, private ones included."""
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        path = folder / name
        if name == "__init__.py":
            yield package.removesuffix("."), path
        elif name.startswith("__") or package + name.removesuffix(".py") in _SKIPPED - _PATHS:
            continue
        elif name.endswith(".py"):
            yield package + name.removesuffix(".py"), path
        elif name.isidentifier() and (path / "__init__.py").is_file():
            yield from _sources(path, f"{package}{name}.")


def _absolute(node: ast.ImportFrom, module: str, path: Path) -> str:
    """The dotted name of the module that is imported from."""
    if not node.level:
        return node.module or ""
    package = module.split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def _is_private(module: str) -> bool:
    return module.rpartition(".")[2].startswith("_") or module in {"posix", "nt"}


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those in `if` and `try` included, those in functions not."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            handlers = node.handlers if isinstance(node, ast.Try) else []
            yield from _top_level(node.body)
            for handler in handlers:
                yield from _top_level(handler.body)
            yield from _top_level(node.orelse)


def _definition(node: ast.stmt, prefix: str, module: str, kind: str) -> Iterator[Document]:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    if node.name.startswith("_"):
        return
    name = f"{prefix}.{node.name}"
    text = ast.get_docstring(node) or ""
    if not isinstance(node, ast.ClassDef):
        yield from _document(name, f"({ast.unparse(node.args)})", kind, module, text)
        return
    yield from _document(name, _init_signature(node), "class", module, text)
    for child in _top_level(node.body):
        yield from _definition(child, name, module, "method")


def _init_signature(node: ast.ClassDef) -> str:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return f"({ast.unparse(child.args)})"
    return ""


def _native_name(module: ModuleType, name: str, public: str) -> Iterator[Document]:
    value = getattr(module, name, None)
    if name.startswith("_") or value is None or isinstance(value, ModuleType):
        return
    prefix = "" if public == "builtins" else f"{public}."
    if inspect.isclass(value):
        yield from _document(prefix + name, _signature(value), "class", public, value.__doc__)
        # Exceptions and the like add nothing to the methods they inherit.
        for method in sorted(vars(value)):
            if not method.startswith("_") and callable(function := getattr(value, method, None)):
                label = f"{prefix}{name}.{method}"
                text = function.__doc__
                yield from _document(label, _signature(function), "method", public, text)
    elif callable(value):
        yield from _document(prefix + name, _signature(value), "function", public, value.__doc__)


def _signature(value: object) -> str:
    text = getattr(value, "__text_signature__", None)
    return re.sub(r"\(\$\w+(?:, /)?(?:, )?", "(", text) if text else ""


def _document(
    name: str, signature: str, kind: str, module: str, text: str | None
) -> Iterator[Document]:
    # Half of a docstring's value is in its first paragraphs; examples and references come last.
    cleaned = inspect.cleandoc(text) if isinstance(text, str) else ""
    # A class without a docstring is still worth finding by its name and parameters (DictReader).
    said = cleaned or (signature if kind == "class" else "")
    if len(said.split()) < _FEWEST_WORDS:
        return
    signature = re.sub(r"\((?:self|cls)(?:, /)?(?:, )?", "(", signature)
    if len(signature) > _LONGEST_SIGNATURE:
        signature = "(…)"
    where = "" if kind == "module" else f" in module {module}"
    lines = f"{name}{signature}\n{kind}{where}\n{cleaned}".rstrip()
    if len(lines) > _LONGEST_TEXT:
        lines = lines[:_LONGEST_TEXT].rsplit(None, 1)[0] + " …"
    yield Document(name, lines, {"module": module, "kind": kind})
