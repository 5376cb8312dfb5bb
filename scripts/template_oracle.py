"""scripts/template_oracle.py - renders chat templates with the original, Python's Jinja2, set up as transformers does.

Used by scripts/template_oracle.mjs. stdin: one JSON object {"template", "vars", "now"} per line; stdout: for each one
{"text"} or {"error"}. Needs python3-jinja2.
"""
import datetime
import json
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """transformers' {% generation %}: a block like a call block, which renders its body."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    @staticmethod
    def _body(caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception

for line in sys.stdin:
    case = json.loads(line)
    now = datetime.datetime.fromtimestamp(case["now"])
    env.globals["strftime_now"] = lambda form: now.strftime(form)
    try:
        result = {"text": env.from_string(case["template"]).render(**case["vars"])}
    except Exception as e:  # every kind of refusal counts the same
        result = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(result), flush=True)
