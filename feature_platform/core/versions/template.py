"""The Jinja2 template of ``metadata.json``, rendered where it can do nothing but place values.

Jinja's sandbox stops access to Python's internals but neither endless loops nor huge strings, so a template is held to a subset: no
calls, assignments, macros, arithmetic that repeats text, or filters outside a short list. It can still take long, so it is rendered in a
bounded process (``adapters.feature_set_store.template_rendering``). What the metadata must contain does not belong here (``metadata``).

Source: https://jinja.palletsprojects.com/en/stable/sandbox/ (security considerations).
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from feature_platform.core.contract import documents
from feature_platform.errors import ContractError

MAX_TEMPLATE_CHARS: Final = 65_536
MAX_OUTPUT_CHARS: Final = 4 * 1024 * 1024
MAX_LOOP_DEPTH: Final = 2
FILTERS: Final = frozenset(
    {"tojson", "default", "d", "upper", "lower", "length", "count", "join", "trim", "first", "last", "sort", "int", "string"}
)
_WITH_ARGUMENTS: Final = frozenset({"default", "d", "join"})
"""Filters that may be given arguments; arguments of the others can repeat text (``tojson(indent=…)``) or reach into values."""

_REFUSED: Final[tuple[tuple[type[nodes.Node], str], ...]] = (
    (nodes.Call, "a call"),
    (nodes.Assign, "'set'"),
    (nodes.AssignBlock, "'set'"),
    (nodes.Macro, "a macro"),
    (nodes.CallBlock, "'call'"),
    (nodes.FilterBlock, "a filter block"),
    (nodes.Include, "'include'"),
    (nodes.Import, "'import'"),
    (nodes.FromImport, "'import'"),
    (nodes.Extends, "'extends'"),
    (nodes.Mul, "'*'"),
    (nodes.Pow, "'**'"),
    (nodes.Mod, "'%'"),
)


def render(template: str, values: Mapping[str, Any], *, file: str) -> dict[str, Any]:
    """Render a template into a JSON object.

    Raises:
        ContractError: The template uses something refused, names an undefined variable, or its output is not a JSON object; the message
            names the file and, where known, the line.
    """
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    faults = _faults(environment, template, known=values)
    if faults:
        raise ContractError(f"Template {file} has {len(faults)} fault(s):", faults)
    try:
        text = environment.from_string(template).render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        known = ", ".join(sorted(values))
        raise ContractError(f"Template {file} could not be rendered:", [f"{error}; it may use: {known}"]) from error
    if len(text) > MAX_OUTPUT_CHARS:
        raise ContractError(f"Template {file} renders too much:", [f"found {len(text)} characters, expected at most {MAX_OUTPUT_CHARS}"])
    try:
        return documents.parse_object(text, file="its output")
    except ContractError as error:
        advice = "put values through the 'tojson' filter"
        raise ContractError(
            f"Template {file} does not render to a JSON object:", [f"{fault}; {advice}" for fault in error.faults]
        ) from error


def _faults(environment: ImmutableSandboxedEnvironment, template: str, *, known: Collection[str]) -> list[str]:
    if len(template) > MAX_TEMPLATE_CHARS:
        return [f"found {len(template)} characters, expected at most {MAX_TEMPLATE_CHARS}"]
    try:
        tree = environment.parse(template)
    except TemplateSyntaxError as error:
        return [f"line {error.lineno}: {error}"]
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, an expression of thousands of terms
        return [f"it cannot be parsed: {error}"]
    try:
        return _tree_faults(tree, known=known)
    except RecursionError as error:
        return [f"it is nested too deeply: {error}"]


def _tree_faults(tree: nodes.Template, *, known: Collection[str]) -> list[str]:
    faults = [
        f"line {node.lineno}: {what} is not allowed; expected only values, 'for', 'if' and the filters {', '.join(sorted(FILTERS))}"
        for kind, what in _REFUSED
        for node in tree.find_all(kind)
    ]
    faults += [
        f"line {node.lineno}: filter {node.name!r} is not allowed; expected one of {', '.join(sorted(FILTERS))}"
        for node in tree.find_all(nodes.Filter)
        if node.name not in FILTERS
    ]
    faults += [
        f"line {node.lineno}: filter {node.name!r} is given arguments; expected none"
        for node in tree.find_all(nodes.Filter)
        if node.name in FILTERS - _WITH_ARGUMENTS and (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)
    ]
    faults += [
        f"line {node.lineno}: {node.attr!r} reaches into Python; expected a plain field"
        for node in tree.find_all(nodes.Getattr)
        if node.attr.startswith("_")
    ]
    if _loop_depth(tree) > MAX_LOOP_DEPTH:
        faults.append(f"loops are nested {_loop_depth(tree)} deep; expected at most {MAX_LOOP_DEPTH}")
    if any(loop.recursive for loop in tree.find_all(nodes.For)):
        faults.append("a loop is recursive; expected plain loops")
    if faults:
        return faults  # what follows compiles the template, which evaluates its constant parts
    undefined = sorted(meta.find_undeclared_variables(tree) - set(known))
    return [f"{name!r} is undefined; it may use: {', '.join(sorted(known))}" for name in undefined]


def _loop_depth(node: nodes.Node) -> int:
    inside = max((_loop_depth(child) for child in node.iter_child_nodes()), default=0)
    return inside + isinstance(node, nodes.For)
