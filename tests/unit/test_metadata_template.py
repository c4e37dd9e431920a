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
    ("output", "said"),
    [
        ("{", "Expecting property name"),
        ("[1]", "expected an object, found list"),
        ("", "Expecting value"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1e400}', "'1e400' is too great a number"),
        ('{"a": "\\ud800"}', r"a: found '\ud800', expected text without lone surrogates"),
        ('{"a":' * 400 + "1" + "}" * 400, "nested more than 64 deep"),
    ],
)
def test_output_that_is_not_a_json_object_is_refused(output, said):
    message = refused(output)
    assert "does not render to a JSON object" in message
    assert said in message


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
        ("{{ name | tojson(indent=1000000000) }}", "filter 'tojson' is given arguments; expected none"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ " + "+".join("1" * 5000) + " }}", "nested too deeply"),
        ("{{ " + "1" * 5000 + " }}", "cannot be parsed: Exceeds the limit"),
        ("x" * 70_000, "70000 characters"),
    ],
)
def test_what_could_run_code_or_never_end_is_refused(template, said):
    assert said in refused(template, name="x", n=[1])


@pytest.mark.parametrize("template", ["{{ '%1000000000s' % 1 }}", "{{ 'x' | center(1000000000) }}", "{{ 9 ** 9 ** 9 ** 9 }}"])
def test_what_is_refused_is_not_evaluated_while_it_is_judged(template):
    assert "is not allowed" in refused(template)
