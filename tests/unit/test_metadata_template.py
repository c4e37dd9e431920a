"""Metadata templates: values are placed, everything else is refused by name."""

import pytest

from feature_platform.core.versions.template import render
from feature_platform.errors import ContractError

FILE = "metadata.json.j2 of fs"


def refused(template, **values):
    with pytest.raises(ContractError) as caught:
        render(template, values, file=FILE)
    assert FILE in str(caught.value)
    return str(caught.value)


def test_places_values():
    template = (
        '{"name": {{ name | tojson }}, "uris": [{% for s in source %}{{ s.uri | tojson }}{% if not loop.last %},{% endif %}{% endfor %}]}'
    )
    assert render(template, {"name": 'a"b', "source": [{"uri": "x"}, {"uri": "y"}]}, file=FILE) == {"name": 'a"b', "uris": ["x", "y"]}


def test_an_undefined_variable_is_named_with_what_there_is():
    assert "'versoin' is undefined; it may use: version" in refused('{"v": {{ versoin | tojson }}}', version="v")


@pytest.mark.parametrize(
    ("output", "said"), [("{", "does not render to JSON"), ("[1]", "does not render to a JSON object"), ("", "does not render to JSON")]
)
def test_output_that_is_not_a_json_object_is_refused(output, said):
    assert said in refused(output)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ ''.__class__ }}", "'__class__' reaches into Python"),
        ("{{ ''['__class__'] }}", "unsafe"),
        ("{{ name | attr('__class__') }}", "filter 'attr' is not allowed"),
        ("{{ cycler.__init__.__globals__ }}", "reaches into Python"),
        ("{{ range(9999999) }}", "a call is not allowed"),
        ("{{ 'x' * 999999999 }}", "'*' is not allowed"),
        ("{{ '%0999999999d' % 1 }}", "'%' is not allowed"),
        ("{% set x = 'a' %}", "'set' is not allowed"),
        ("{% macro m() %}{{ m() }}{% endmacro %}", "a macro is not allowed"),
        ("{% include '/etc/passwd' %}", "'include' is not allowed"),
        ("{{ 'a' | center(99999999) }}", "filter 'center' is not allowed"),
        ("{% for a in n %}{% for b in n %}{% for c in n %}{% endfor %}{% endfor %}{% endfor %}", "nested 3 deep"),
        ("{% for a in n recursive %}{% endfor %}", "recursive"),
        ("{% if %}", "line 1"),
        ("x" * 70_000, "70000 characters"),
    ],
)
def test_what_could_run_code_or_never_end_is_refused(template, said):
    assert said in refused(template, name="x", n=[1])
